"""What is wrong with a dataset before anything is trained on it: duplicates, leakage between splits, empty pairs, lengths."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from plaudit.data.items import Item
from plaudit.data.language import guess
from plaudit.data.near import similar_pairs
from plaudit.data.split import answers, home_key, normal, prompt_key
from plaudit.data.template import Tokenizer
from plaudit.schema import JSON, Label, Message, Prompt, Ranking, content_hash

EXAMPLES = 3
SIMILAR = 0.8
"""The share of word triples in common from which two items count as similar."""


@dataclass(frozen=True)
class Lengths:
    """Minimum, median, 95th percentile and maximum, in `unit`."""

    unit: str
    min: float
    median: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: Sequence[int], unit: str) -> Lengths:
        low, middle, high, top = np.percentile(values, [0, 50, 95, 100]) if len(values) else (0, 0, 0, 0)
        return cls(unit, float(low), float(middle), float(high), float(top))

    def __str__(self) -> str:
        return f"{self.min:g} / {self.median:g} / {self.p95:g} / {self.max:g} {self.unit} (min / median / p95 / max)"


@dataclass
class DataReport:
    """Counts over all splits. `examples` has up to three shortened texts for each finding."""

    items: dict[str, int] = field(default_factory=dict)
    """Split -> items."""
    prompts: int = 0
    """Different prompts, as they are."""
    duplicates: int = 0
    """Items whose prompt and answers came up before, letter by letter."""
    near_duplicates: int = 0
    """Items that came up before but for case, blanks or the form of characters."""
    similar: int = 0
    """Further items of which at least 80 % of the word triples are those of an earlier one. Only where asked for."""
    leaked_prompts: int = 0
    """Prompts (but for case and blanks) in more than one split."""
    leaked_items: dict[str, int] = field(default_factory=dict)
    """Split -> its items with a leaked prompt."""
    equal_sides: int = 0
    """Rankings with two equal answers."""
    near_equal_sides: int = 0
    """Rankings with two answers that differ in case and blanks only."""
    contradictions: int = 0
    """Pairs that another pair of the same prompt puts the other way round; answers that have two different labels."""
    control_tokens: int = 0
    """Items whose text holds one of the tokenizer's special tokens, which would act as one. Needs a tokenizer."""
    lengths: dict[str, Lengths] = field(default_factory=dict)
    """`prompt` and `answer`: in tokens where a tokenizer was given, else in characters."""
    languages: dict[str, dict[str, int]] = field(default_factory=dict)
    """Split -> guessed language -> items, the commonest first. Only where asked for."""
    examples: dict[str, list[str]] = field(default_factory=dict)

    def to_json(self) -> JSON:
        """A plain dict."""
        plain: JSON = json.loads(json.dumps(asdict(self)))
        return plain

    @property
    def clean(self) -> bool:
        """True where nothing was found."""
        return not any(count for count, *_ in self._findings())

    def lines(self) -> list[str]:
        """What a person should read: sizes, lengths, and each finding with an example."""
        sizes = ", ".join(f"{name} {count:,}" for name, count in self.items.items())
        out = [f"{sum(self.items.values()):,} items ({sizes}), {self.prompts:,} different prompts"]
        out += [f"{kind} length: {figures}" for kind, figures in self.lengths.items()]
        for split, found in self.languages.items():
            shares = ", ".join(f"{name} {count / sum(found.values()):.0%}" for name, count in list(found.items())[:5])
            out.append(f"language of {split} (a guess; und: undetermined): {shares}")
        for count, name, meaning in self._findings():
            if count:
                shown = self.examples.get(name, [""])[0]
                out.append(f"{count:,} {meaning}" + (f", for example: {shown}" if shown else ""))
        return out if not self.clean else [*out, "no duplicates, no leakage, no equal answers"]

    def _findings(self) -> Iterable[tuple[int, str, str]]:
        where = ", ".join(f"{name} {count}" for name, count in self.leaked_items.items())
        return (
            (self.duplicates, "duplicates", "exact duplicates"),
            (self.near_duplicates, "near_duplicates", "near duplicates (case, blanks)"),
            (self.similar, "similar", f"further items of which {SIMILAR:.0%} or more is in an earlier one"),
            (self.leaked_prompts, "leaked_prompts", f"prompts in more than one split ({where} items)"),
            (self.equal_sides, "equal_sides", "rankings with equal answers"),
            (self.near_equal_sides, "near_equal_sides", "rankings whose answers differ in case or blanks only"),
            (self.contradictions, "contradictions", "pairs or labels that another contradicts"),
            (self.control_tokens, "control_tokens", "items with a special token of the tokenizer in their text"),
        )


def check(
    splits: Mapping[str, Sequence[Item]] | Sequence[Item],
    tokenizer: Tokenizer | None = None,
    *,
    closely: bool = False,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> DataReport:
    """Look over named splits, `{"train": [...], "test": [...]}`, or one list (called `data`).

    `closely` also looks for similar items and guesses languages, which takes a second for some thousand items; `told(done,
    total)` is called as that goes.
    """
    named = splits if isinstance(splits, Mapping) else {"data": splits}
    everything = [item for items in named.values() for item in items]
    report = DataReport(items={name: len(items) for name, items in named.items()})
    report.prompts = len({_prompt(item).id for item in everything})
    _duplicates(everything, report)
    _leakage(named, report)
    _pairs([item for item in everything if isinstance(item, Ranking)], report)
    _labels([item for item in everything if isinstance(item, Label)], report)
    if closely:
        _similar(everything, report, told)
        for name, items in named.items():
            report.languages[name] = dict(Counter(guess("\n".join(_texts(item))) for item in items).most_common())
    _lengths(everything, tokenizer, report)
    if tokenizer is not None:
        special = re.compile("|".join(re.escape(token) for token in sorted(tokenizer.all_special_tokens)) or r"(?!)")
        for item in everything:
            if special.search("\n".join(_texts(item))):
                report.control_tokens += 1
                _example(report, "control_tokens", item)
    return report


def _duplicates(items: Sequence[Item], report: DataReport) -> None:
    exact, near = set(), set()
    for item in items:
        name = content_hash([_prompt(item).id, [a if isinstance(a, str) else _pairs_of(a) for a in answers(item)]])
        loose = content_hash([prompt_key(item), [normal(answer) for answer in answers(item)]])
        if name in exact:
            report.duplicates += 1
            _example(report, "duplicates", item)
        elif loose in near:
            report.near_duplicates += 1
            _example(report, "near_duplicates", item)
        exact.add(name)
        near.add(loose)


def _leakage(named: Mapping[str, Sequence[Item]], report: DataReport) -> None:
    homes: dict[str, set[str]] = defaultdict(set)
    for name, items in named.items():
        for item in items:
            for key in {prompt_key(item), home_key(item)}:
                homes[key].add(name)
    leaked = {key for key, names in homes.items() if len(names) > 1}
    report.leaked_prompts = len(leaked)
    for name, items in named.items():
        found = [item for item in items if leaked & {prompt_key(item), home_key(item)}]
        if found:
            report.leaked_items[name] = len(found)
            _example(report, "leaked_prompts", found[0])


def _pairs(rankings: Sequence[Ranking], report: DataReport) -> None:
    order: dict[tuple[str, str, str], int] = defaultdict(int)
    for item in rankings:
        if len(set(item.answers)) < len(item.answers):
            report.equal_sides += 1
            _example(report, "equal_sides", item)
        elif len({normal(answer) for answer in item.answers}) < len(item.answers):
            report.near_equal_sides += 1
            _example(report, "near_equal_sides", item)
        elif len(item.answers) == 2:
            order[(prompt_key(item), *(normal(answer) for answer in item.answers))] += 1  # type: ignore[index]
    for item in rankings:
        if len(item.answers) == 2:
            better, worse = (normal(answer) for answer in item.answers)
            if better != worse and (prompt_key(item), worse, better) in order:
                report.contradictions += 1
                _example(report, "contradictions", item)


def _labels(labels: Sequence[Label], report: DataReport) -> None:
    values: dict[tuple[str, str], set[float]] = defaultdict(set)
    for item in labels:
        values[prompt_key(item), normal(item.answer)].add(item.value)
    for item in labels:
        if len(values[prompt_key(item), normal(item.answer)]) > 1:
            report.contradictions += 1
            _example(report, "contradictions", item)


def _similar(items: Sequence[Item], report: DataReport, told: Callable[[int, int], None]) -> None:
    """Similar items that are no duplicates: those are counted already. Both sides of a pair count as one text."""
    texts = ["\n".join(_texts(item)) for item in items]
    seen: set[str] = set()
    fresh = [i for i, text in enumerate(texts) if (name := normal(text)) not in seen and not seen.add(name)]  # type: ignore[func-returns-value]
    for _, later, _ in similar_pairs([texts[i] for i in fresh], SIMILAR, told):
        report.similar += 1
        _example(report, "similar", items[fresh[later]])


def _lengths(items: Sequence[Item], tokenizer: Tokenizer | None, report: DataReport) -> None:
    """Of the texts themselves: what a template adds does not count."""

    def size(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if tokenizer else len(text)

    unit = "tokens" if tokenizer else "characters"
    prompts = {_prompt(item).id: _prompt(item) for item in items}.values()
    report.lengths["prompt"] = Lengths.of([size(_text(_content(prompt))) for prompt in prompts], unit)
    replies = [size(_text(answer)) for item in items for answer in answers(item)]
    if replies:
        report.lengths["answer"] = Lengths.of(replies, unit)


def _prompt(item: Item) -> Prompt:
    return item if isinstance(item, Prompt) else item.prompt


def _content(prompt: Prompt) -> str | tuple[Message, ...]:
    return prompt.messages if prompt.text is None else prompt.text


def _texts(item: Item) -> list[str]:
    return [_text(_content(_prompt(item))), *(_text(answer) for answer in answers(item))]


def _text(content: str | Sequence[Message]) -> str:
    return content if isinstance(content, str) else "\n".join(turn.content for turn in content)


def _pairs_of(turns: Sequence[Message]) -> list[list[str]]:
    return [[turn.role, turn.content] for turn in turns]


def _example(report: DataReport, finding: str, item: Item) -> None:
    shown = report.examples.setdefault(finding, [])
    if len(shown) < EXAMPLES:
        shown.append(_short(" | ".join(_texts(item))))


def _short(text: str, width: int = 120) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"
