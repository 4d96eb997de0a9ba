"""Reports over finished or broken run folders: one page for several runs, and the cards that go with a model or a data set."""

from plaudit.evaluation.runs.page import runs_page
from plaudit.evaluation.runs.reading import RunFiles, read_run, run_folders

__all__ = ["RunFiles", "read_run", "run_folders", "runs_page"]
