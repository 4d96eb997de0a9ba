"""The findings as one offline page: a card for each rule with its figure, its plot, its causes and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plaudit.evaluation.doctor.evidence import Evidence, Points
from plaudit.evaluation.doctor.finding import ORDER, Finding, Rule
from plaudit.evaluation.report import Curve, document, heading, write_page
from plaudit.evaluation.report.curves import chart
from plaudit.evaluation.report.words import figure, safe

WORDS = {"act": "Act", "watch": "Watch", "unknown": "Not measured", "ok": "In order"}
UNITS = {
    "kl_answer": "nats per answer",
    **dict.fromkeys(("loss", "eval_loss", "value_loss"), "as the algorithm defines it"),
    **dict.fromkeys(("eval_reward", "eval_independent", "reward", "reward_std"), "points"),
    **dict.fromkeys(("truncated", "eval_truncated", "empty"), "share of answers"),
    **dict.fromkeys(("eval_accuracy", "train_accuracy"), "share right"),
    **dict.fromkeys(("grad_norm", "critic_grad_norm"), "length of the gradient"),
    "clip_fraction": "share of tokens",
    "zero_signal": "share of prompts",
    "repetition": "share of 4-grams that came before",
    "distinct_2": "share of word pairs that differ",
    "explained_variance": "share of the returns' variance",
    "reward_length": "correlation",
    "kl_token": "nats per token",
    "approx_kl": "nats per token",
    "entropy": "nats per token",
    "sampler_gap": "nats per token",
    "eval_length": "tokens",
    "length": "tokens",
    "eval_chosen_logp": "nats",
}


def write(path: Path, evidence: Evidence, rules: Sequence[Rule], findings: Sequence[Finding]) -> Path:
    """Write the page; UserError where the place cannot be written."""
    pairs = [
        (rule, one) for rule, one in zip(rules, findings, strict=True) if one.status != "unknown" or evidence.kind in rule.kinds
    ]
    facts = [("Looked at", evidence.path), ("Kind", f"{evidence.kind} of {evidence.origin}")]
    facts += [(WORDS[status], str(sum(one.status == status for _, one in pairs))) for status in ORDER]
    sections = []
    for status in ORDER:
        cards = [_card(evidence, rule, one) for rule, one in pairs if one.status == status]
        if cards:
            sections.append((status, WORDS[status], "".join(cards)))
    return write_page(path, document("Doctor", heading("Doctor", facts), "", sections))


def _card(evidence: Evidence, rule: Rule, found: Finding) -> str:
    ends = f" [{figure(found.interval[0])}, {figure(found.interval[1])}]" if found.interval else ""
    parts = [f"<h3>{safe(rule.about)} <code>{safe(rule.name)}</code></h3>"]
    parts += [f"<p><strong>{figure(found.value)}</strong>{ends}</p>"] if found.value is not None else []
    parts += [f'<p class="small">{safe(found.threshold)}. Source: {safe(found.source)}.</p>']
    if found.causes:
        items = "".join(f"<li>{safe(cause)}</li>" for cause in found.causes)
        parts.append(f"<p>{'Missing' if found.status == 'unknown' else 'Likely causes'}:</p><ol>{items}</ol>")
    if found.next:
        parts.append(f"<p><strong>Next:</strong> {safe(found.next)}</p>")
    plots = [] if found.status == "unknown" else [chart(_curve(name, points)) for name, points in plotted(evidence, rule)]
    parts += [f'<div class="charts">{"".join(plots)}</div>'] if plots else []
    return f'<article class="finding">{"".join(parts)}</article>'


def plotted(evidence: Evidence, rule: Rule) -> list[tuple[str, Points]]:
    """The rule's series that are there. Evaluations prompt by prompt give their means."""
    proxy, independent = evidence.proxy_and_independent()
    own = {"eval_reward": proxy, "eval_independent": independent}
    found = [(name, own.get(name) or evidence.points(name)) for name in rule.metrics]
    return [(name, points) for name, points in found if points]


def _curve(name: str, points: Points) -> Curve:
    return Curve(name.replace("_", " "), UNITS.get(name, ""), points)
