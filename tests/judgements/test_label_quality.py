"""The report on labels finds what was planted: careless annotators, a biased judge, wrong labels, groups left out."""

import json
import random
from dataclasses import replace

import pytest
from judged_world import ASK, SAID, act, pair

from plaudit.judgements.base import Ballot
from plaudit.judgements.conversion import convert_all, reliability
from plaudit.judgements.disagreements import disagreements
from plaudit.judgements.quality import assess, assess_ballots
from plaudit.judgements.quality.advice import more_labels
from plaudit.judgements.quality.agreement import banded
from plaudit.judgements.quality.annotators import longest_by_chance
from plaudit.judgements.quality.aspects import aspect_worths
from plaudit.judgements.quality.people import coverages
from plaudit.schema import UserError, content_hash
from plaudit.stats import Interval


def votes(skills, items=200, seed=0, source="human", left=True):
    """Ballots on pairs whose first answer is better for even items; each annotator is right with their skill."""
    rng = random.Random(seed)
    found = []
    for who, skill in skills.items():
        for i in range(items):
            right = "first" if i % 2 == 0 else "second"
            said = right if rng.random() < skill else {"first": "second", "second": "first"}[right]
            shown_left = rng.random() < 0.5 if left else None
            found.append(
                Ballot("pairwise", f"x{i}|y{i}", f"{source}:{who}", said, preference=True, left=shown_left, act=f"{who}{i}")
            )
    return found


def named(quality):
    return {one.name.split(":")[1]: one for one in quality.annotators}


def test_careless_annotators_are_found_and_careful_ones_are_not():
    quality = assess_ballots(votes({"ada": 0.9, "ben": 0.85, "cleo": 0.9, "dan": 0.5}), resamples=50)
    found = named(quality)
    assert any("of another opinion" in flag for flag in found["dan"].flags)
    assert not found["ada"].flags and not found["ben"].flags and not found["cleo"].flags
    assert found["dan"].accuracy < 0.6 < 0.8 < found["ada"].accuracy
    assert any("check with them" in line and "dan" in line for line in quality.lines())


def test_sides_streaks_speed_and_repeats_are_seen():
    acts = [
        *(
            Ballot("pairwise", f"{i}", "human:left", "first" if i % 2 else "second", preference=True, left=True, seconds=9.0)
            for i in range(60)
        ),
        *(
            Ballot("pairwise", f"{i}", "human:fast", "first", preference=True, left=i % 2 == 0, seconds=3.0, words=90)
            for i in range(60)
        ),
        *(Ballot("pairwise", f"{i % 30}", "human:moody", "first" if i < 30 else "second", preference=True) for i in range(60)),
    ]
    found = named(assess_ballots(acts, resamples=20))
    assert found["left"].streak == 60 and {"prefers the left side", "the same side 60 times on end"} <= set(found["left"].flags)
    # 90 words at 15 a second take 6 s; the median was 3.
    assert found["fast"].too_fast == 60 and any("too fast" in flag for flag in found["fast"].flags)
    assert (found["left"].too_fast, found["left"].seconds) == (0, 9.0)
    assert found["moody"].repeats.mean == 0 and any("second time" in flag for flag in found["moody"].flags)
    assert longest_by_chance(1) == 12 and longest_by_chance(1000) == 20  # 1000 * 2^-20 < .001


def test_agreement_with_the_others_leaves_oneself_out():
    said = {"ada": "first first second", "ben": "second second first", "cleo": "second second second"}
    acts = [
        Ballot("pairwise", f"{i}", f"human:{who}", value, preference=True)
        for who, values in said.items()
        for i, value in enumerate(values.split())
    ]
    found = named(assess_ballots(acts, resamples=20))
    # Ada: the others agree on items 0 and 1, against her; on item 2 they are split. Cleo: the others are split everywhere.
    assert (found["ada"].compared, found["ada"].agrees.mean) == (2, 0.0)
    assert (found["ben"].compared, found["ben"].agrees.mean) == (1, 0.0)
    assert (found["cleo"].compared, found["cleo"].agrees) == (0, None)


def test_streaks_of_a_fair_coin_are_no_streaks():
    rng = random.Random(0)
    flagged = 0
    for _ in range(200):
        run = longest = 0
        last = None
        for _ in range(300):
            side = rng.random() < 0.5
            run = run + 1 if side == last else 1
            last, longest = side, max(longest, run)
        flagged += longest >= longest_by_chance(300)
    assert flagged <= 2


def test_gold_questions_are_what_adjudications_settle():
    gold = [Ballot("pairwise", f"{i}", "human:admin", "first", preference=True, settles=True) for i in range(20)]
    good = [Ballot("pairwise", f"{i}", "human:good", "first", preference=True) for i in range(20)]
    poor = [Ballot("pairwise", f"{i}", "human:poor", "second", preference=True) for i in range(6)]
    quality = assess_ballots([*gold, *good, *poor], resamples=20)
    found = named(quality)
    assert "admin" not in found and quality.acts == 26 and quality.adjudications == 20
    assert (found["good"].gold.mean, found["good"].gold_answers, found["good"].gold_verdict) == (1.0, 20, "good")
    assert found["poor"].gold_verdict == "poor" and any("gold" in flag for flag in found["poor"].flags)
    assert found["good"].accuracy > 20 / 26.5 > found["poor"].accuracy  # a settled item is known


def test_bands_fit_the_question():
    like = Ballot("pairwise", "", "", "first", preference=True)
    bands = {a: banded(like, Interval(a, a, a), None, 300)[0] for a in (0.55, 0.63, 0.7, 0.8, 0.95)}
    assert list(bands.values()) == ["noise", "weak", "usual", "good", "suspicious"]
    assert banded(like, Interval(0.7, 0.6, 0.8), None, 49)[0] == "unknown"
    assert "provisional" in banded(like, Interval(0.7, 0.6, 0.8), None, 100)[1]
    stars, fact = Ballot("rating", "", "", 3, "ordinal"), Ballot("rubric: cites", "", "", "met")
    assert banded(stars, None, Interval(0.4, 0.4, 0.4), 300)[0] == "usual"  # alpha .4 is agreement .7
    assert banded(fact, None, Interval(0.4, 0.4, 0.4), 300)[0] == "low"
    assert banded(fact, None, Interval(0.7, 0.7, 0.7), 300)[0] == "tentative"
    assert banded(fact, None, None, 0)[0] == "unknown"


def test_a_judge_model_is_marked_and_measured_against_people():
    people = votes({"ada": 0.9, "ben": 0.9, "cleo": 0.9})
    judge = votes({"gpt": 0.7}, source="judge", seed=5)
    quality = assess_ballots([*people, *judge], resamples=50)
    (found,) = quality.judges
    assert (found.name, found.compared) == ("judge:gpt", 200)
    assert 0.6 < found.agrees.mean < 0.8 < found.people.mean
    assert named(quality)["gpt"].accuracy == pytest.approx(0.7, abs=0.07)
    # The judge's votes do not touch what is said of people.
    alone = assess_ballots(people, resamples=50)
    assert quality.questions == alone.questions and quality.ceilings == alone.ceilings
    assert any(line.startswith("judge model judge:gpt: agrees with people") for line in quality.lines())
    assert any("judge:gpt (a judge model)" in line for line in quality.lines())
    assert assess_ballots(judge, resamples=20).questions[0].items == 200  # judge models alone: theirs


def test_wrong_labels_come_first_among_the_suspects():
    ballots = votes({"ada": 0.98, "ben": 0.98, "cleo": 0.98})
    planted = {i: one for i, one in enumerate(ballots) if one.annotator == "human:ada" and int(one.act[3:]) in range(0, 20, 2)}
    for i, one in planted.items():
        ballots[i] = Ballot(**{**vars(one), "value": "second"})
    errors = assess_ballots(ballots, resamples=20).errors
    first = {one.act for one in errors.suspects}
    assert {f"ada{i}" for i in range(0, 20, 2)} <= first and len(first) < 30
    assert errors.examined == 600 and errors.share == pytest.approx(len(first) / 600, abs=0.02)


def test_scores_help_where_nobody_else_voted():
    ballots = votes({"ada": 0.9}, items=300)
    wrong = {one.act for one in ballots if one.value != ("first" if int(one.act[3:]) % 2 == 0 else "second")}
    scores = {f"{side}{i}": (2.0 if (side == "x") == (i % 2 == 0) else 0.0) for i in range(300) for side in "xy"}
    assert assess_ballots(ballots, resamples=20).errors.share is None
    errors = assess_ballots(ballots, scores=scores, resamples=20).errors
    assert {one.act for one in errors.suspects} == wrong and errors.with_scores == 300
    backwards = {name: -score for name, score in scores.items()}
    assert assess_ballots(ballots, scores=backwards, resamples=20).errors.examined == 0  # scores that contradict say nothing


def test_ceilings_bound_what_is_measured():
    """Half of the items are a coin flip, half are plain: the bound is above what can be reached (docs/quality.md)."""
    plain, hard = votes({"ada": 0.95, "ben": 0.95, "cleo": 0.95}, 600), votes({"ada": 0.5, "ben": 0.5, "cleo": 0.5}, 600, 1)
    mixed = plain + [Ballot(**{**vars(one), "item": f"hard{one.item}"}) for one in hard]
    found = assess_ballots(mixed, resamples=100).ceilings
    assert found.bound.mean == pytest.approx(0.82, abs=0.02) and found.measured.mean == pytest.approx(0.70, abs=0.03)
    assert found.bound.low < found.bound.mean < found.bound.high


def test_whom_the_labels_stand_for():
    ballots = votes({"ada": 1, "ben": 1}, 30) + votes({"gpt": 1}, 30, source="judge")
    groups = {"ada": {"language": "en"}, "human:ben": {"language": "zh", "trade": "support"}, "gpt": {"language": "fr"}}
    language, trade = coverages(ballots, groups, {"language": {"en": 1, "zh": 6, "ar": 3}})
    assert {row.group: (row.share, row.served) for row in language.groups} == {
        "en": (0.5, 0.1),
        "zh": (0.5, 0.6),
        "ar": (0, 0.3),
    }
    assert language.coverage == pytest.approx(0.1 + 0.5) and language.missing == ("ar",) and language.undeclared == 0
    assert (trade.undeclared, trade.coverage) == (30, None)
    with pytest.raises(UserError, match="by language must be 0 or more"):
        coverages(ballots, groups, {"language": {"en": 0}})


def test_a_judges_votes_from_a_file_count_one_each():
    """Rows of a file have no acts; they are no pairs of one large ranking: ten agreements are Wilson's ten of ten."""
    people = votes({"ada": 1.0}, items=10)
    file = [replace(one, annotator="judge:small", act="") for one in people]
    (judge,) = assess_ballots([*people, *file], resamples=20).judges
    assert judge.compared == 10 and judge.agrees.low == pytest.approx(0.7224, abs=1e-4)


def test_an_aspect_is_held_against_what_others_prefer_by_hand():
    """On p both preferences go with what the other person gave (1); on q the other person's stars are equal (1/2): 1.5 of 2."""

    def stars(aspect, who, prompt_id, **given):
        question = "rating" if aspect is None else f"rating: {aspect}"
        return [Ballot(question, one, f"human:{who}", n, "ordinal", prompt_id=prompt_id) for one, n in given.items()]

    def preferred(who, value):
        return Ballot("pairwise", "x1|x2", f"human:{who}", value, preference=True, prompt_id="p")

    ballots = [
        *(preferred("ada", "first"), preferred("ben", "second"), preferred("dan", "tie")),
        *stars("helpful", "ben", "p", x1=5, x2=2),
        *stars("helpful", "ada", "p", x1=1, x2=4),
        *stars(None, "cleo", "q", y1=4, y2=2),
        *stars("helpful", "cleo", "q", y1=5, y2=1),
        *stars("helpful", "ada", "q", y1=3, y2=3),
        *stars("safe", "cleo", "q", y1=5, y2=1),
        *stars("helpful", "small", "q", y1=1, y2=5),
    ]
    ballots[-2:] = [replace(one, annotator="judge:small") for one in ballots[-2:]]
    helpful, safe = aspect_worths(ballots)
    assert (helpful.aspect, helpful.prompts, helpful.goes_with.mean) == ("helpful", 2, 0.75)
    assert (safe.aspect, safe.prompts, safe.goes_with) == ("safe", 0, None), "nobody else rated it: that is only the halo"


def test_more_labels():
    few, many = more_labels(200, 0.75), more_labels(20_000, 0.75)
    assert "known only within" in few.says and few.three == pytest.approx(0.75**3 + 3 * 0.75**2 * 0.25)
    assert "bring less than" in many.says and not many.measured
    assert few.gain.mean == pytest.approx(0.011 * 0.5849625)  # log2(300 / 200)
    steep = more_labels(2000, 0.75, curve=[(500, 0.55, 5000), (1000, 0.60, 5000), (2000, 0.65, 5000)])
    assert steep.measured and steep.gain.mean == pytest.approx(0.05 * 0.0703893, rel=1e-3) and steep.accuracy == 0.65
    assert more_labels(0, 0.75) is None


ACTS = [
    pair("a", seconds=1.0),
    pair("b", who="ben"),
    pair("a", 0, 2),
    pair("a", 0, 2, who="ben"),
    pair("b", 0, 1, who="gpt", source="judge"),
    act("thumb", {"value": 1}, 3),
    act("thumb", {"value": 0}, 3, who="ben"),
    act("rating", {"stars": 5, "aspects": {"safe": 4}}, 0),
    act("rating", {"stars": 2}, 0, who="ben"),
    act("rating", {"stars": 2}, 1),
    act("ranking", {"order": [0, 1, 2]}, 3, 4, 5),
    act("correction", {"text": "better"}, 5),
    act("span", {"spans": [{"start": 0, "end": 4, "tag": "wrong"}]}, 0),
    act("rubric", {"criteria": {"polite": True}}, 0),
    act("text", {"text": "When?"}, 0),
]


def test_all_kinds_go_through_one_report():
    quality = assess(ACTS, SAID, resamples=20)
    assert [one.question for one in quality.questions] == [
        "pairwise",
        "thumb",
        "rating",
        "rating: safe",
        "ranking",
        "span",
        "rubric: polite",
    ]
    assert (quality.acts, quality.without_answers, quality.sources) == (13, 2, {"human": 12, "judge": 1})
    first = quality.questions[0]
    assert (first.items, first.items_judged_twice, first.percent.mean) == (2, 2, 0.5)
    assert named(quality)["ada"].too_fast == 1
    again = json.loads(json.dumps(quality.to_json(), allow_nan=False))
    assert again["questions"][0]["percent"]["mean"] == 0.5 and set(again["questions"][0]["percent"]) == {"mean", "low", "high"}
    assert all(isinstance(line, str) for line in quality.lines())


def test_disagreements_are_queued_by_how_open_they_are():
    found = disagreements(ACTS, SAID)
    assert {(one.question, one.kind) for one in found} == {("pairwise", "pairwise"), ("thumb", "thumb"), ("rating", "rating")}
    first = next(one for one in found if one.question == "pairwise")
    assert (
        first.values == (("human:ada", first.values[0][1]), ("human:ben", first.values[1][1])) and len(first.feedback_ids) == 2
    )
    assert first.entropy == pytest.approx(1.0, abs=0.01) and set(first.completion_ids) == {SAID[0].id, SAID[1].id}
    settled = [*ACTS, pair("a", who="eve", reason="adjudication")]
    assert "pairwise" not in {one.question for one in disagreements(settled, SAID)}
    assert found == sorted(found, key=lambda one: (-one.entropy, one.question, one.unit))


def test_every_data_set_at_once_with_the_acts_behind_each_row(tmp_path):
    sets = convert_all(ACTS, SAID, ASK)
    assert set(sets) == {"rankings", "demonstrations", "steps", "aspects", "prompts"}  # the thumbs were even: no labels
    assert reliability(ACTS, SAID)["human:ada"] != pytest.approx(20 / 26.5, abs=1e-6)
    for name, made in sets.items():
        assert made.kind == name and len(made.lineage) == len(made.rows)
        assert set(made.feedback_ids) == {identity for ids in made.lineage for identity in ids} <= {one.id for one in ACTS}
    assert convert_all(ACTS[::-1], SAID, ASK)["rankings"].rows == sets["rankings"].rows
    from plaudit.store import Store

    with Store(tmp_path / "store.sqlite") as store:
        store.add_prompts(ASK)
        store.add_completions(SAID)
        store.add_feedback(ACTS)
        made = convert_all(store.feedback(), store.completions(), store.prompts())
        digest = store.snapshot("rankings", made["rankings"].rows, made["rankings"].feedback_ids)
        kept = store.dataset(digest)
        assert list(kept.rows) == made["rankings"].rows and kept.feedback_ids == made["rankings"].feedback_ids
        assert store.snapshot("rankings", kept.rows, kept.feedback_ids) == digest != content_hash([])
