"""Written code run against its tests behind walls: rows and answers become programs (rows.py), programs verdicts (running.py).

`inside/` runs behind the walls, in processes of its own, and imports the standard library only.
"""
