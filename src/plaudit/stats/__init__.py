"""Statistics of evaluation and agreement: numpy in, plain floats out. No torch.

Scores and values are 1-D arrays, one entry per prompt, unless a docstring says otherwise. A mistake in the shape or range
of an argument raises ValueError. Intervals are `Interval(mean, low, high)`.
"""

from plaudit.stats.agreement import (
    AgreementFigures,
    Level,
    agreement,
    alpha_interval,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    percent_agreement,
)
from plaudit.stats.annotators import (
    ClassConsensus,
    Consensus,
    RatingConsensus,
    Verdict,
    dawid_skene,
    gold_test,
    one_coin_dawid_skene,
    rating_consensus,
)
from plaudit.stats.arrays import Floats, Interval
from plaudit.stats.ceilings import accuracy_ceiling, ceiling, ceiling_from_flip_rate, expected_calibration_error
from plaudit.stats.comparisons import bootstrap_mean, paired_bootstrap, paired_difference, wilson, win_rate, wins
from plaudit.stats.label_errors import LabelErrors, confident_learning, score_temperature
from plaudit.stats.ratings import bradley_terry, bradley_terry_intervals, elo, spearman
from plaudit.stats.worth import (
    POINTS_PER_DOUBLING,
    LearningCurve,
    half_width,
    learning_curve,
    majority_accuracy,
    pairs_for_half_width,
)

__all__ = [
    "POINTS_PER_DOUBLING",
    "AgreementFigures",
    "ClassConsensus",
    "Consensus",
    "Floats",
    "Interval",
    "LabelErrors",
    "LearningCurve",
    "Level",
    "RatingConsensus",
    "Verdict",
    "accuracy_ceiling",
    "agreement",
    "alpha_interval",
    "bootstrap_mean",
    "bradley_terry",
    "bradley_terry_intervals",
    "ceiling",
    "ceiling_from_flip_rate",
    "cohen_kappa",
    "confident_learning",
    "dawid_skene",
    "elo",
    "expected_calibration_error",
    "fleiss_kappa",
    "gold_test",
    "gwet_ac1",
    "half_width",
    "krippendorff_alpha",
    "learning_curve",
    "majority_accuracy",
    "one_coin_dawid_skene",
    "paired_bootstrap",
    "paired_difference",
    "pairs_for_half_width",
    "percent_agreement",
    "rating_consensus",
    "score_temperature",
    "spearman",
    "wilson",
    "win_rate",
    "wins",
]
