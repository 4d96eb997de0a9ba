"""The pages, one file for each group of screens; each has a `router`."""
