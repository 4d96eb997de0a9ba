"""One difficulty each. A new rule is a file with a `RULE`, and a line under `plaudit.doctor` in an entry-point table."""
