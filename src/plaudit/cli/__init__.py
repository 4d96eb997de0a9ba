"""The command line: one file per verb. Everything slow is imported inside the verbs."""
