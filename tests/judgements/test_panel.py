"""The simulated panel errs as often as it says, and always alike."""

import random
from dataclasses import replace

import pytest

from plaudit.judgements.pairwise import assignments, convert
from plaudit.judgements.panel import DEFAULT, Annotator, Panel, flipped_share
from plaudit.judgements.quality import assess
from plaudit.schema import Assignment, Completion, Prompt, UserError
from plaudit.store import Store

PROMPTS = [Prompt(text=f"question {i}") for i in range(1000)]
SAID = [
    Completion(p.id, f"{i}", (1,), tuple(range(1 + (7 * i + n) % 5)), (0.0,), "stop", index=i)
    for n, p in enumerate(PROMPTS)
    for i in range(4)
]
rng = random.Random(0)
GOLD = {c.id: rng.random() for c in SAID}
ASKED = assignments(SAID, per_prompt=4, seed=0)


def test_the_default_panel_flips_one_label_in_four():
    panel = Panel(seed=1)
    assert panel.flip_rate == pytest.approx(0.25)  # by hand: (.1 + .2 + .25 + .3 + .4) / 5
    acts = panel.judge_all(ASKED, GOLD)
    share, n = flipped_share(acts, GOLD)
    assert n == 4000 and share == pytest.approx(0.25, abs=0.021)  # three standard errors
    assert {act.source for act in acts} == {"simulated"} and all(act.annotator.startswith("simulated-") for act in acts)


def test_each_annotator_is_as_reliable_as_stated_and_does_its_share():
    acts = Panel(seed=2).judge_all(ASKED, GOLD, votes=2)
    for annotator in DEFAULT:
        mine = [act for act in acts if act.annotator == annotator.name]
        share, n = flipped_share(mine, GOLD)
        assert n == pytest.approx(1600, rel=0.1) and share == pytest.approx(1 - annotator.reliability, abs=0.04)


def test_noise_depends_on_seed_annotator_and_pair_alone():
    panel = Panel(seed=3)
    acts = panel.judge_all(ASKED[:200], GOLD)
    assert panel.judge_all(ASKED[:200][::-1], GOLD) == acts[::-1]
    assert [panel.judge(act.assignment, GOLD) for act in acts] == acts
    assert Panel(seed=4).judge_all(ASKED[:200], GOLD) != acts
    shifted = {one: 3 * score - 5 for one, score in GOLD.items()}  # only the order of the gold scores counts
    assert panel.judge_all(ASKED[:200], shifted) == acts


def test_equal_gold_is_a_tie():
    asked = ASKED[0]
    gold = dict(zip(asked.completion_ids, (0.5, 0.55), strict=True))
    assert Panel(tolerance=0.06).judge(asked, gold).judgement == {"choice": "tie", "strength": 0}
    assert Panel(tolerance=0.04).judge(asked, gold).judgement["choice"] != "tie"


def test_biases_do_what_they_say():
    lengths = {c.id: len(c.tokens) for c in SAID}
    left = Annotator("simulated-left", 0.8, side_bias=0.4)
    long = Annotator("simulated-long", 0.9, length_bias=0.5)
    assert left.flip_rate == pytest.approx(0.6 * 0.2 + 0.2)
    acts = Panel((left,)).judge_all(ASKED, GOLD)
    # Left is chosen in .4 of the cases outright, and in half of the rest.
    assert sum(act.judgement["choice"] == "a" for act in acts) / 4000 == pytest.approx(0.7, abs=0.03)
    assert flipped_share(acts, GOLD)[0] == pytest.approx(left.flip_rate, abs=0.03)
    assert assess(acts).side_bias and assess(Panel().judge_all(ASKED, GOLD)).left.mean == pytest.approx(0.5, abs=0.025)
    acts = Panel((long,)).judge_all(ASKED, GOLD, lengths=lengths)
    uneven = [act for act in acts if len({lengths[one] for one in act.assignment.completion_ids}) == 2]
    longer = [lengths[act.assignment.completion_ids["ab".index(act.judgement["choice"])]] for act in uneven]
    share = sum(
        mine == max(lengths[one] for one in act.assignment.completion_ids) for mine, act in zip(longer, uneven, strict=True)
    )
    assert share / len(uneven) == pytest.approx(0.75, abs=0.03)
    with pytest.raises(UserError, match="give the lengths"):
        Panel((replace(long, length_bias=1.0),)).judge(ASKED[0], GOLD)


def test_several_votes_per_pair_make_better_labels_and_the_report_finds_who_is_good():
    acts = Panel(seed=5).judge_all(ASKED[:1500], GOLD, votes=5)
    made = convert(acts, SAID, PROMPTS)
    right = [GOLD[row.meta["chosen_id"]] > GOLD[row.meta["rejected_id"]] for row in made.rows]
    votes = convert(acts, SAID, PROMPTS, aggregate="majority").rows
    majority = [GOLD[row.meta["chosen_id"]] > GOLD[row.meta["rejected_id"]] for row in votes]
    assert sum(right) / len(right) > sum(majority) / len(majority) > 0.85
    # The probability is calibrated: on average it is the share of pairs that are right.
    assert sum(row.probability for row in made.rows) / len(right) == pytest.approx(sum(right) / len(right), abs=0.02)
    quality = assess(acts)
    found = {one.name: one.accuracy for one in quality.annotators}
    for annotator in DEFAULT:
        assert found[f"simulated:{annotator.name}"] == pytest.approx(annotator.reliability, abs=0.03)


def test_simulated_acts_pass_through_the_store(tmp_path):
    acts = Panel(seed=6).judge_all(ASKED[:40], GOLD, votes=2)
    with Store(tmp_path / "plaudit.db") as store:
        store.add_prompts(PROMPTS[:10])
        store.add_completions(SAID[:40])
        assert (store.add_feedback(acts), store.add_feedback(acts)) == (80, 0)
        made = convert(store.feedback(), store.completions(), store.prompts())
        assert made == convert(acts, SAID, PROMPTS) and made.rows
        kept = store.dataset(store.snapshot("rankings", made.rows, made.feedback_ids))
        assert (list(kept.rows), kept.feedback_ids) == (made.rows, made.feedback_ids)


def test_a_panel_that_cannot_be_is_said():
    with pytest.raises(UserError, match="reliability"):
        Annotator("x", 1.2)
    with pytest.raises(UserError, match="at most 1"):
        Annotator("x", 0.5, side_bias=-0.7, length_bias=0.4)
    with pytest.raises(UserError, match="name of its own"):
        Panel((Annotator("x", 0.5), Annotator("x", 0.6)))
    with pytest.raises(UserError, match="unscored"):
        Panel().judge(ASKED[0], {})
    with pytest.raises(UserError, match="got thumb"):
        Panel().judge(Assignment(ASKED[0].prompt_id, ASKED[0].completion_ids, kind="thumb"), GOLD)
    with pytest.raises(UserError, match="within 1 and 5"):
        Panel().judge_all(ASKED, GOLD, votes=6)
