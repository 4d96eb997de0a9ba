"""Its presence puts tests/ on the import path, so that every folder of tests can use small_networks.py."""
