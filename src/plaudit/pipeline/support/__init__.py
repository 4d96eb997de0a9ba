"""The world of the demo: customers of a small online shop, answers of uneven quality, and a rubric that tells them apart.

Nothing here needs torch. `questions` asks, `demonstrations` answers as real agents do, `score` judges.
"""

from plaudit.pipeline.support.demonstrations import demonstrations
from plaudit.pipeline.support.questions import INTENTS, questions
from plaudit.pipeline.support.rubric import RUBRIC_TEXT, RubricScore, explain, score

__all__ = ["INTENTS", "RUBRIC_TEXT", "RubricScore", "demonstrations", "explain", "questions", "score"]
