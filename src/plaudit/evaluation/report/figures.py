"""The head of the report: win rates on one axis, the other figures beside what they must be read against, stage times."""

from __future__ import annotations

from collections.abc import Mapping

from plaudit.evaluation.report.parts import Headline, Interval, RewardModel
from plaudit.evaluation.report.words import DASH, duration, figure, known, percent, safe


def win_rates(headline: Headline) -> str:
    """Rows of a forest plot, one per opponent: the rate, its interval, and where one half lies. Empty if none was measured."""
    rows = [("against SFT", headline.win_rate), ("against the untouched model", headline.win_rate_vs_base)]
    drawn = "".join(_rate_row(name, rate) for name, rate in rows if rate is not None and known(rate.value))
    if not drawn:
        return ""
    axis = "".join(f'<span style="left:{at}%">{at}%</span>' for at in (0, 25, 50, 75, 100))
    return (
        f'<div class="rates"><h3>Win rate of PPO</h3>{drawn}<div class="rate axis" aria-hidden="true"><i></i><b></b>'
        f'<div class="track">{axis}</div></div><p class="small">A dot is the rate on '
        f"{figure(headline.n_prompts)} held-out prompts, its bar the 95% interval. The line at 50% is a draw.</p></div>"
    )


def _rate_row(name: str, rate: Interval) -> str:
    low, high, value = (min(1.0, max(0.0, x)) * 100 if known(x) else 50.0 for x in (rate.low, rate.high, rate.value))
    said = f"{percent(rate.value)}, interval {percent(rate.low)} to {percent(rate.high)}"
    clear = "" if rate.low > 0.5 or rate.high < 0.5 else " unclear"
    return (
        f'<div class="rate{clear}"><span class="name">{safe(name)}</span><b>{percent(rate.value)}</b>'
        f'<div class="track" role="img" aria-label="{safe(name)}: {said}" title="{said}"><span class="half"></span>'
        f'<span class="bar" style="left:{low:.1f}%;width:{max(0.0, high - low):.1f}%"></span>'
        f'<span class="point" style="left:{value:.1f}%"></span></div></div>'
    )


def tiles(headline: Headline) -> str:
    """The other headline figures, each with the figure it must be read against."""
    shown = [
        ("Gold score", _change(figure(headline.gold_before), figure(headline.gold_after)), _gold_note(headline)),
        ("Reward model accuracy", _accuracy(headline.reward_model), _accuracy_note(headline.reward_model)),
        ("KL to the reference", figure(headline.kl), "nats per answer at the end"),
        (
            "Answers cut off",
            _change(percent(headline.truncated_before), percent(headline.truncated_after)),
            "ran into the length limit, before and after",
        ),
    ]
    return (
        '<dl class="tiles">'
        + "".join(f'<div><dt>{n}</dt><dd><b>{v}</b><span class="note">{t}</span></dd></div>' for n, v, t in shown)
        + "</dl>"
    )


def _change(before: str, after: str) -> str:
    return DASH if before == after == DASH else f'<i>{before}<span class="to"> → </span></i>{after}'


def _gold_note(headline: Headline) -> str:
    base = f"; untouched model {figure(headline.gold_base)}" if known(headline.gold_base) else ""
    return f"rubric without noise, SFT and then PPO{base}"


def _accuracy(model: RewardModel | None) -> str:
    return percent(model.accuracy) if model else DASH


def _accuracy_note(model: RewardModel | None) -> str:
    if model is None:
        return "not measured"
    pairs = f" on {figure(model.n)} held-out pairs" if model.n else ""
    return f"{pairs.strip()}; length alone {percent(model.length_baseline)}, noise ceiling {percent(model.ceiling)}".lstrip(
        "; "
    )


def timings(seconds: Mapping[str, float]) -> str:
    """Stages as a table whose bars show their share of the whole."""
    finite = {stage: value for stage, value in seconds.items() if known(value)}
    total, longest = sum(finite.values()), max(finite.values(), default=0.0)
    rows = []
    for stage, value in seconds.items():
        share = value / total if known(value) and total > 0 else None
        width = 100 * value / longest if known(value) and longest > 0 else 0.0
        bar = f'<td class="bar-cell" aria-hidden="true"><span class="bar" style="width:{width:.1f}%"></span></td>'
        said = f'<td class="num">{duration(value)}</td><td class="num">{percent(share)}</td>'
        rows.append(f'<tr><th scope="row">{safe(stage)}</th>{bar}{said}</tr>')
    return (
        '<table class="timings"><thead><tr><th scope="col">Stage</th><td></td><th scope="col" class="num">Time</th>'
        f'<th scope="col" class="num">Share</th></tr></thead><tbody>{"".join(rows)}</tbody>'
        f'<tfoot><tr><th scope="row">All</th><td></td><td class="num">{duration(total)}</td><td></td></tr></tfoot></table>'
    )
