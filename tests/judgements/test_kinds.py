"""Every kind of judgement: forms in and out, and its conversions worked by hand."""

import random

import pytest
from judged_world import ASK, SAID, act, pair

from plaudit.judgements import correction, ranking, rating, rubric, span, text, thumb
from plaudit.judgements.base import Kind
from plaudit.judgements.span import sentences
from plaudit.registry import find, names
from plaudit.schema import Completion, Prompt, UserError

KINDS = names("judgements")
A = 20 / 26.5  # the prior mean of an unknown annotator's accuracy
FORMS = {
    "pairwise": [{"choice": "both_bad", "aspects": {"polite": "a"}, "reasons": ["too long"], "comment": "没用"}],
    "ranking": [{"order": [[1], [0, 2]]}, {"order": ["1", [0, "2"]]}],
    "rating": [{"stars": "4"}, {"aspects": {"helpful": 5}}, {"stars": 1, "aspects": {"safe": 2}, "comment": "why"}],
    "thumb": [{"value": 1}, {"value": "0", "reasons": ["lazy"]}, {"value": True}],
    "correction": [{"text": "It left us today. مرحبا 👍"}],
    "span": [{"spans": []}, {"spans": [{"start": "0", "end": 3, "tag": "wrong"}]}],
    "rubric": [{"criteria": {"polite": True, "cites": None, "short": "no"}}],
    "text": [{"text": "It does not say when."}],
}
BAD = [
    ("pairwise", {"choice": "a", "aspects": {"x": "c"}}, "'x' of a pairwise judgement must be one of a, b, tie"),
    ("pairwise", {"choice": "both_bad", "strength": 1}, "a tie has no strength"),
    ("ranking", {"order": [[0], [0, 1]]}, "names place 0 twice"),
    ("ranking", {"order": [[0]]}, "two answers at least"),
    ("ranking", {"order": [0, 26]}, "places from 0 to 25"),
    ("ranking", {"order": "01"}, "must be a list of places"),
    ("rating", {}, "'stars' .* from 1 to 5, got nothing"),
    ("rating", {"stars": 6}, "from 1 to 5, got 6"),
    ("rating", {"aspects": {"overall": 3}}, "what 'stars' says"),
    ("rating", {"aspects": {"": 3}}, "names of 1 to 100 letters"),
    ("rating", {"aspects": {f"a{i}": 3 for i in range(51)}}, "at most 50 names"),
    ("thumb", {"value": 2}, "from 0 to 1, got 2"),
    ("thumb", {}, "got nothing"),
    ("thumb", {"value": 1, "reasons": "lazy"}, "a list of at most 50 short texts"),
    ("correction", {"text": " \n"}, "must be text, got a blank"),
    ("correction", {"text": "a" * 100_001}, "at most 100,000 letters, got 100,001"),
    ("correction", {"text": "a\ud800"}, "send UTF-8"),
    ("correction", {"text": "a\0b"}, "send UTF-8"),
    ("span", {"spans": [{"start": 3, "end": 3, "tag": "wrong"}]}, "'end' .* from 4"),
    ("span", {"spans": [{"start": 0, "end": 3, "tag": "odd"}]}, "must be one of wrong, unsupported, unsafe, great"),
    ("span", {"spans": ["x"]}, "is a mapping"),
    ("rubric", {"criteria": {}}, "must say of each criterion"),
    ("rubric", {"criteria": {"polite": 1}}, "must be true, false or null"),
    ("text", {"text": 3}, "must be text, got int"),
    ("text", {"text": "x", "<script>": 1}, "no field '<script>'"),
]


@pytest.mark.parametrize("name", KINDS)
def test_a_form_read_twice_is_the_same(name):
    kind = find("judgements", name)
    assert isinstance(kind, Kind) and kind.name == name and kind.makes in kind.targets
    for form in FORMS[name]:
        read = kind.read(form)
        assert kind.read(read) == read
        assert set(kind.texts) <= {"text", "comment"}


@pytest.mark.parametrize(("name", "form", "says"), BAD)
def test_a_wrong_form_is_said_in_one_sentence(name, form, says):
    with pytest.raises(UserError, match=says) as caught:
        find("judgements", name).read(form)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_what_is_not_asked_for_is_refused():
    with pytest.raises(UserError, match="thumb judgements make labels, demonstrations, not rankings"):
        thumb.convert([], SAID, ASK, into="rankings")


def test_thumbs_become_labels_and_demonstrations():
    acts = [act("thumb", {"value": 1}, 0), act("thumb", {"value": 0}, 1), act("thumb", {"value": 1}, 3, who="bob")]
    labels = thumb.convert(acts, SAID, ASK)
    assert [(row.answer, row.value) for row in labels.rows] == [(SAID[i].text, v) for i, v in ((0, 1.0), (1, 0.0), (3, 1.0))]
    assert [row.weight for row in labels.rows] == pytest.approx([2 * A - 1] * 3)  # one vote of an unknown annotator
    assert labels.kind == "labels" and labels.lineage == tuple((one.id,) for one in acts)
    liked = thumb.convert(acts, SAID, ASK, into="demonstrations")
    assert [(row.prompt, row.answer) for row in liked.rows] == [(ASK[0], SAID[0].text), (ASK[1], SAID[3].text)]
    assert liked.counts["not_liked"] == 1 and liked.feedback_ids == (acts[0].id, acts[2].id)
    even = thumb.convert([act("thumb", {"value": 1}, 0), act("thumb", {"value": 0}, 0, who="bob")], SAID, ASK)
    assert (even.rows, even.counts["tied"]) == ([], 2)
    # With given accuracies .9 and .6 the odds are 9 to 1 against 1.5 to 1.
    told = thumb.convert(
        [act("thumb", {"value": 1}, 0), act("thumb", {"value": 0}, 0, who="bob")],
        SAID,
        ASK,
        accuracies={"human:ada": 0.9, "human:bob": 0.6},
    )
    assert told.rows[0].value == 1.0 and told.rows[0].weight == pytest.approx(2 * 6 / 7 - 1)


def test_rankings_become_rows_and_pairs():
    one = act("ranking", {"order": [[2], [0, 1]]}, 0, 1, 2)
    rows = ranking.convert([one], SAID, ASK)
    first = min(SAID[:2], key=lambda answer: answer.id)
    assert rows.rows[0].answers == (SAID[2].text, first.text) and rows.counts["as_good_as_another"] == 1
    pairs = ranking.convert([one], SAID, ASK, into="pairs")
    assert {row.answers for row in pairs.rows} == {(SAID[2].text, SAID[0].text), (SAID[2].text, SAID[1].text)}
    assert all(row.probability == pytest.approx(A) and row.weight == pytest.approx(2 / 3) for row in pairs.rows)
    assert pairs.counts["tied"] == 1 and pairs.kind == "rankings"
    against = act(
        "ranking", {"order": [0, 1, 2]}, 0, 1, 2, who="bob"
    )  # agrees on nothing with the first but what is tied there
    both = ranking.convert([one, against], SAID, ASK, into="pairs")
    assert [row.answers for row in both.rows] == [(SAID[0].text, SAID[1].text)]
    tied = ranking.convert([act("ranking", {"order": [[0, 1, 2]]}, 0, 1, 2)], SAID, ASK)
    assert (tied.rows, tied.counts["tied"]) == ([], 1)
    weak = ranking.convert([against], SAID, ASK, accuracies={"human:bob": 0.5})
    assert weak.rows[0].weight == 0.0  # who guesses teaches nothing
    with pytest.raises(UserError, match="ranks place 2, but 2 answers were shown"):
        ranking.convert([act("ranking", {"order": [0, 2]}, 0, 1)], SAID, ASK)


def test_ratings_become_labels_aspects_and_pairs_with_margin():
    acts = [
        act("rating", {"stars": 5, "aspects": {"safe": 4}}, 0),
        act("rating", {"stars": 3}, 1),
        act("rating", {"stars": 3, "aspects": {"safe": 2}}, 2),
    ]
    labels = rating.convert(acts, SAID, ASK)
    assert len(labels.rows) == 3
    by_text = {row.answer: row.value for row in labels.rows}
    assert by_text[SAID[0].text] == pytest.approx(5) and by_text[SAID[1].text] == pytest.approx(3)
    pairs = rating.convert(acts, SAID, ASK, into="rankings")
    assert {row.answers for row in pairs.rows} == {(SAID[0].text, SAID[i].text) for i in (1, 2)}
    assert all(row.margin == pytest.approx(2) for row in pairs.rows) and pairs.counts["too_close"] == 1
    # One rating each, errors of about one star: Phi(2 / sqrt 2) = .921, a little more since nothing was off the score.
    assert all(0.92 < row.probability < 0.95 for row in pairs.rows)
    aspects = rating.convert(acts, SAID, ASK, into="aspects")
    assert {row.answer: row.scores for row in aspects.rows}[SAID[0].text] == pytest.approx({"overall": 5.0, "safe": 4.0})
    assert {row.answer: row.scores for row in aspects.rows}[SAID[1].text] == pytest.approx({"overall": 3.0})
    safe = rating.convert(acts, SAID, ASK, aspect="safe")
    assert len(safe.rows) == 2 and safe.counts["without_the_aspect"] == 1


def test_a_strict_and_a_lenient_rater_mean_the_same():
    """Ada gives two stars more than Bob to everything, and they rated different answers of the last prompt."""
    prompts = [Prompt(text=f"q{i}") for i in range(31)]
    said = [Completion(p.id, f"{p.text}{j}", (), (j,), (0.0,), "stop", index=j) for p in prompts for j in range(2)]
    acts = []
    for i in range(30):
        for j in range(2):
            acts.append(act("rating", {"stars": 3 + (i + j) % 3}, said[2 * i + j]))
            acts.append(act("rating", {"stars": 1 + (i + j) % 3}, said[2 * i + j], who="bob"))
    acts += [act("rating", {"stars": 4}, said[60]), act("rating", {"stars": 3}, said[61], who="bob")]
    last = {row.answer: row.value for row in rating.convert(acts, said, prompts).rows if row.prompt == prompts[30]}
    assert last["q301"] > last["q300"] + 0.5  # three strict stars are more than four lenient ones


def test_corrections_become_demonstrations_and_pairs():
    same, better = act("correction", {"text": SAID[1].text}, 1), act("correction", {"text": "It left us today."}, 0)
    rows = correction.convert([same, better], SAID, ASK)
    assert {(row.answer, row.weight) for row in rows.rows} == {(SAID[1].text, 1.0), ("It left us today.", 1.0)}
    pairs = correction.convert([same, better], SAID, ASK, into="rankings", accuracies={"human:ada": 0.9})
    assert [(row.answers, row.probability) for row in pairs.rows] == [(("It left us today.", SAID[0].text), 0.9)]
    assert pairs.counts["unchanged"] == 1 and pairs.feedback_ids == (better.id,)
    erased = act("correction", {"reasons": ["wrong"]}, 0)
    assert correction.convert([erased], SAID, ASK).counts["missing"] == 1


def test_sentences_end_where_people_end_them():
    told = "It costs 3.50 euro. Really?! Yes.\n\n  - ok\n他说：好。真的"
    assert [told[a:b] for a, b in sentences(told)] == ["It costs 3.50 euro.", "Really?!", "Yes.", "- ok", "他说：好。", "真的"]
    assert sentences(" \n ") == [] and sentences("!" * 100_000) == [(0, 100_000)]
    assert len(sentences("a." * 50_000)) == 1


def test_spans_become_steps_and_labels():
    begin, end = len("Answer 0. "), len(SAID[0].text)
    marked = act(
        "span", {"spans": [{"start": begin, "end": begin + 2, "tag": "wrong"}, {"start": 0, "end": 6, "tag": "great"}]}, 0
    )
    steps = span.convert([marked], SAID, ASK)
    assert steps.rows[0].steps == ("Answer 0.", "It is good.") and steps.kind == "steps"
    assert steps.rows[0].labels == pytest.approx((A, 1 - A))
    between = act("span", {"spans": [{"start": begin - 1, "end": begin, "tag": "wrong"}]}, 0)  # the blank touches no sentence
    assert span.convert([between], SAID, ASK).rows[0].labels == pytest.approx((A, A))
    clean = act("span", {"spans": []}, 1)
    labels = span.convert([marked, clean], SAID, ASK, into="labels")
    assert {row.answer: row.value for row in labels.rows} == {SAID[0].text: 0.0, SAID[1].text: 1.0}
    with pytest.raises(UserError, match=f"a mark ends at letter {end + 1}, but the answer has {end}"):
        span.convert([act("span", {"spans": [{"start": 0, "end": end + 1, "tag": "wrong"}]}, 0)], SAID, ASK)


def test_rubrics_become_labels_and_aspects():
    one = act("rubric", {"criteria": {"polite": True, "cites": False, "code": None}}, 0)
    label = rubric.convert([one], SAID, ASK).rows[0]
    assert label.value == pytest.approx((A + (1 - A)) / 2)
    heavy = rubric.convert([one], SAID, ASK, weights={"polite": 3.0}).rows[0]
    assert heavy.value == pytest.approx((3 * A + (1 - A)) / 4)
    assert rubric.convert([one], SAID, ASK, into="aspects").rows[0].scores == pytest.approx({"polite": A, "cites": 1 - A})
    idle = rubric.convert([act("rubric", {"criteria": {"code": None}}, 0)], SAID, ASK)
    assert (idle.rows, idle.counts["none_applies"]) == ([], 1)


def test_texts_become_prompts_for_a_revision():
    acts = [act("text", {"text": "When?"}, 0), act("text", {"text": "Too short."}, 3)]
    plain, turns = text.convert(acts, SAID, ASK).rows
    assert plain.text == f"{ASK[0].text}{SAID[0].text}\n\nWhen?\n\n{text.ASK}\n\n"
    assert [one.role for one in turns.messages] == ["user", "assistant", "user"]
    assert turns.messages[2].content == f"Too short.\n\n{text.ASK}" and turns.meta["completion_id"] == SAID[3].id


EVERY = {
    "pairwise": (pair("a"), pair("a", who="bob"), pair("b", who="eve", reason="adjudication")),
    "ranking": tuple(
        act("ranking", {"order": order}, 0, 1, who=who, reason=reason)
        for order, who, reason in (([0, 1], "ada", "random"), ([0, 1], "bob", "random"), ([1, 0], "eve", "adjudication"))
    ),
    "rating": tuple(
        act("rating", {"stars": stars}, 0, who=who, reason=reason)
        for stars, who, reason in ((5, "ada", "random"), (4, "bob", "random"), (1, "eve", "adjudication"))
    ),
    "thumb": tuple(
        act("thumb", {"value": v}, 0, who=who, reason=reason)
        for v, who, reason in ((1, "ada", "random"), (1, "bob", "random"), (0, "eve", "adjudication"))
    ),
    "correction": tuple(
        act("correction", {"text": t}, 0, who=who, reason=reason)
        for t, who, reason in (("x", "ada", "random"), ("y", "bob", "random"), ("z", "eve", "adjudication"))
    ),
    "span": tuple(
        act("span", {"spans": s}, 0, who=who, reason=reason)
        for s, who, reason in (
            ([], "ada", "random"),
            ([], "bob", "random"),
            ([{"start": 0, "end": 20, "tag": "wrong"}], "eve", "adjudication"),
        )
    ),
    "rubric": tuple(
        act("rubric", {"criteria": {"polite": met}}, 0, who=who, reason=reason)
        for met, who, reason in ((True, "ada", "random"), (True, "bob", "random"), (False, "eve", "adjudication"))
    ),
    "text": tuple(
        act("text", {"text": t}, 0, who=who, reason=reason)
        for t, who, reason in (("x", "ada", "random"), ("y", "bob", "random"), ("z", "eve", "adjudication"))
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_an_adjudication_overrules_the_others_and_they_are_counted(name):
    kind = find("judgements", name)
    for into in kind.targets:
        done = kind.convert(list(EVERY[name]), SAID, ASK, into=into)
        assert done.counts["overruled"] == 2
        assert all(ids == (EVERY[name][2].id,) for ids in done.lineage)
        for row in done.rows:
            if into in ("rankings", "pairs") and name in ("pairwise", "ranking"):
                assert row.answers == (SAID[1].text, SAID[0].text) and row.probability == 1.0
            elif into == "labels":
                assert row.value == (1.0 if name == "rating" else 0.0) and row.weight == 1.0
            elif into == "steps":
                assert row.labels == (0.0, 0.0)
            elif name == "correction" and into == "demonstrations":
                assert (row.answer, row.weight) == ("z", 1.0)


@pytest.mark.parametrize("name", KINDS)
def test_of_two_adjudications_the_later_decides(name):
    kind = find("judgements", name)
    raw, _, final = EVERY[name]
    on = (SAID[0], SAID[1])[: len(raw.assignment.completion_ids)]
    for early, late in (("2026-11-01", "2026-11-02"), ("2026-11-02", "2026-11-01")):
        yes = act(name, raw.judgement, *on, who="eve", reason="adjudication", created_at=early)
        no = act(name, final.judgement, *on, who="max", reason="adjudication", created_at=late)
        for into in kind.targets:
            done = kind.convert([yes, no], SAID, ASK, into=into)
            assert all(ids == (max(yes, no, key=lambda one: one.created_at).id,) for ids in done.lineage)


@pytest.mark.parametrize("name", KINDS)
def test_order_and_superseded_acts_change_nothing(name):
    kind = find("judgements", name)
    first, second, _ = EVERY[name]
    edited = act(name, second.judgement, *(SAID[0], SAID[1])[: len(first.assignment.completion_ids)], supersedes=first.id)
    acts = [first, edited, second, act("unknown", {}, 0)]
    shuffled = acts[:]
    random.Random(1).shuffle(shuffled)
    for into in kind.targets:
        done, again = (kind.convert(each, SAID, ASK, into=into) for each in (acts, shuffled))
        assert done.rows == again.rows and done.counts == again.counts and done.lineage == again.lineage
        assert done.rows == kind.convert([edited, second], SAID, ASK, into=into).rows
        assert (done.counts["superseded"], done.counts["other_kind"]) == (1, 1) and first.id not in done.feedback_ids
        assert len(done.lineage) == len(done.rows)
        gone = kind.convert(acts, SAID[1:] if len(first.assignment.completion_ids) == 1 else SAID[2:], ASK, into=into)
        assert (gone.rows, gone.counts["missing"]) == ([], 2)
