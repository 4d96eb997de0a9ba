"""Tasks as small files: what is asked, what a right answer is, how it is scored. `builtin/` holds those of our own making."""

from plaudit.evaluation.tasks.running import Outcome, outcome
from plaudit.evaluation.tasks.task import BUILT_IN, GROUPS, Task, read_task, task_names

__all__ = ["BUILT_IN", "GROUPS", "Outcome", "Task", "outcome", "read_task", "task_names"]
