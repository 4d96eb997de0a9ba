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
from plaudit.stats.best_of_n import GaoFit, TurningPoint, best_of_n, fit_gao, kl_of_best_of_n, pass_at_k, turning_point
from plaudit.stats.calibration import Bin, brier, calibration_error, log_loss, reliability
from plaudit.stats.ceilings import accuracy_ceiling, ceiling, ceiling_from_flip_rate, expected_calibration_error
from plaudit.stats.comparisons import bootstrap_mean, paired_bootstrap, paired_difference, wilson, win_rate, wins
from plaudit.stats.label_errors import LabelErrors, confident_learning, score_temperature
from plaudit.stats.length_control import LengthControlled, length_controlled
from plaudit.stats.ratings import bradley_terry, bradley_terry_intervals, elo, ranks, spearman
from plaudit.stats.sample_size import Decision, decision, detectable_win_rate, pairs_for_win_rate
from plaudit.stats.significance import McNemar, holm, mcnemar, permutation_test, sign_test
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
    "Bin",
    "ClassConsensus",
    "Consensus",
    "Decision",
    "Floats",
    "GaoFit",
    "Interval",
    "LabelErrors",
    "LearningCurve",
    "LengthControlled",
    "Level",
    "McNemar",
    "RatingConsensus",
    "TurningPoint",
    "Verdict",
    "accuracy_ceiling",
    "agreement",
    "alpha_interval",
    "best_of_n",
    "bootstrap_mean",
    "bradley_terry",
    "bradley_terry_intervals",
    "brier",
    "calibration_error",
    "ceiling",
    "ceiling_from_flip_rate",
    "cohen_kappa",
    "confident_learning",
    "dawid_skene",
    "decision",
    "detectable_win_rate",
    "elo",
    "expected_calibration_error",
    "fit_gao",
    "fleiss_kappa",
    "gold_test",
    "gwet_ac1",
    "half_width",
    "holm",
    "kl_of_best_of_n",
    "krippendorff_alpha",
    "learning_curve",
    "length_controlled",
    "log_loss",
    "majority_accuracy",
    "mcnemar",
    "one_coin_dawid_skene",
    "paired_bootstrap",
    "paired_difference",
    "pairs_for_half_width",
    "pairs_for_win_rate",
    "pass_at_k",
    "percent_agreement",
    "permutation_test",
    "ranks",
    "rating_consensus",
    "reliability",
    "score_temperature",
    "sign_test",
    "spearman",
    "turning_point",
    "wilson",
    "win_rate",
    "wins",
]
