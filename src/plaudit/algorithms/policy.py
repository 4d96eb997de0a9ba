"""What algorithms that learn from their own samples have in common: their options, the ratio, and what is logged of it."""

from __future__ import annotations

from collections.abc import Mapping

from plaudit.algorithms.base import Moments, Tensor
from plaudit.core import masked
from plaudit.core.batch import Batch, Outputs

GAP = "sampling/sampling_logp_difference"


def old_logp(outputs: Outputs, batch: Batch) -> Tensor:
    """Log-probabilities before the update, [R, T]: as annotated, or, where a batch is used once, those of this very pass."""
    assert outputs.logp is not None
    return batch["old"] if "old" in batch.streams else outputs.logp.detach()


def answers(batch: Batch) -> Tensor:
    """Mask [R, T] of the tokens of sampled answers: not those of pre-training rows beside them (side `ptx`)."""
    return batch.mask * (1 - batch["ptx"])[:, None] if "ptx" in batch.sides else batch.mask


def sampled(batch: Batch) -> Tensor:
    """[R]: 1 on sampled answers, 0 on pre-training rows beside them."""
    return 1 - batch["ptx"] if "ptx" in batch.sides else batch.mask.new_ones(len(batch))


def sampler_gap(batch: Batch, total: masked.Total) -> dict[str, float]:
    """|log-probability of the sampler - of the trainer| over answer tokens, in nats: mean and maximum, before the update."""
    if "sampler" not in batch.streams or "old" not in batch.streams:
        return {}
    mask = answers(batch)
    gap = (batch["sampler"] - batch["old"]).abs() * mask
    return {f"{GAP}/mean": float(masked.mean(gap, mask, total)), f"{GAP}/max": float(gap.max())}


def sampler_gap_now(outputs: Outputs, batch: Batch) -> dict[str, Moments]:
    """The same where a batch is used once and nothing was annotated: against the log-probabilities of this very pass."""
    if "sampler" not in batch.streams or "old" in batch.streams:
        return {}
    assert outputs.logp is not None
    return {GAP: Moments.of((batch["sampler"] - outputs.logp.detach()).abs(), batch.mask)}


def ratio_metrics(
    outputs: Outputs, batch: Batch, low: float, high: float, advantage: Tensor, clipped: Tensor | None = None
) -> dict[str, Moments]:
    """TRL's names: how often the ratio left [1 - low, 1 + high] where that cuts the gradient; the entropy; the ratio.

    `clipped` [R, T], or [R, 1] of whole answers, is the log ratio that is clipped, where it is not that of each token.
    """
    assert outputs.logp is not None
    mask, log_ratio = batch.mask, outputs.logp.detach() - old_logp(outputs, batch)
    bound = (log_ratio if clipped is None else clipped.detach().expand_as(log_ratio)).exp()
    ratio, advantage = log_ratio.exp(), advantage.expand_as(log_ratio)
    cut_low = ((bound < 1 - low) & (advantage < 0)).to(mask.dtype)
    cut_high = ((bound > 1 + high) & (advantage > 0)).to(mask.dtype)
    found = {
        "clip_ratio/low_mean": Moments.of(cut_low, mask),
        "clip_ratio/high_mean": Moments.of(cut_high, mask),
        "clip_ratio/region_mean": Moments.of(cut_low + cut_high, mask),
        "policy/approxkl_avg": Moments.of(0.5 * log_ratio**2, mask),
        "val/ratio": Moments.of(ratio, mask),
    }
    if outputs.entropy is not None:
        found["entropy"] = Moments.of(outputs.entropy, mask)
    return {**found, **sampler_gap_now(outputs, batch)}


def summarise(moments: Mapping[str, Moments]) -> dict[str, float]:
    """Means; of the ratio its variance too, of the sampler's gap its maximum."""
    means = {name: moment.mean for name, moment in moments.items() if name != GAP}
    if "val/ratio" in moments:
        means["val/ratio_var"] = moments["val/ratio"].variance
    if GAP in moments:
        means |= {f"{GAP}/mean": moments[GAP].mean, f"{GAP}/max": moments[GAP].high}
    return means


def reward_metrics(batch: Batch, advantage: Tensor, total: masked.Total) -> dict[str, float]:
    """Mean and deviation over answers of the advantage [R], before the update."""
    rows = advantage.new_ones(len(batch))
    return {
        "advantage/mean": float(masked.mean(advantage, rows, total)),
        "advantage/std": float(masked.variance(advantage, rows, total).sqrt()),
    }
