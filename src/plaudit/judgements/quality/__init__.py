"""How good the labels are: agreement, annotators, label errors, what a reward model can reach, whom the labels stand for."""

from plaudit.judgements.quality.agreement import Agreement
from plaudit.judgements.quality.annotators import AnnotatorQuality
from plaudit.judgements.quality.report import Quality, assess, assess_ballots

__all__ = ["Agreement", "AnnotatorQuality", "Quality", "assess", "assess_ballots"]
