"""The card of reward models that are right, that count words, that were trained on the labels, and that are too sure."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest

from plaudit.cli.main import main
from plaudit.evaluation.card import CardConfig, card_page, make_card
from plaudit.evaluation.card.making import calibration, disagreement
from plaudit.evaluation.card.pairs import scored_pairs
from plaudit.schema import Message, Prompt, Ranking, UserError

pytest.importorskip("sklearn")
TOPICS = [
    "shipping parcel courier",
    "refund money bank",
    "password login account",
    "colour size shirt",
    "garden plant seed",
    "music song guitar",
]
GOOD = "I will help you with that today. First check your order, then call us before noon."
FILL = "and this goes on for a while with words that add nothing "


def world(n=240, seed=0, longer=0.6):
    """Pairs in which the good answer says so in words of its own, and is the longer one in 60 of 100."""
    rng, items = np.random.default_rng(seed), []
    for i in range(n):
        topic = TOPICS[i % 6].split()
        prompt = Prompt(
            messages=(Message("user", f"My {topic[i % 3]} {topic[(i + 1) % 3]} {topic[(i + 2) % 3]} fails, case {i}?"),)
        )
        extra = [FILL * int(rng.integers(1, 4)), ""] if rng.random() < longer else ["", FILL * int(rng.integers(1, 4))]
        good, bad = (f"{extra[0]}{GOOD} Ref {i}.", f"{extra[1]}No idea, go away. Ref {i}.")
        meta = {"annotator": f"person-{i % 3}", "source": "web" if i % 2 else "shop"}
        items.append(Ranking(prompt, (good, bad), margin=float(1 + i % 3), meta=meta))
    return items


def judge(noise=0.0, scale=5.0, length=0.0, seed=0):
    """A scorer: good words, less where they are broken; words counted; noise by the text."""

    def score(prompts, answers):
        found = []
        for prompt, text in zip(prompts, answers, strict=True):
            case = prompt.messages[0].content.split()[-1].rstrip("?")
            chance = np.random.default_rng([seed, zlib.crc32(text.encode())]) if noise else None
            value = scale * (
                ("help you with that today" in text) + (f"Ref {case}." in text) - text.count("cannot") - text.count("never")
            )
            value -= scale * (text.count("Ref") > 1) + 0.5 * scale * ("I will not" in text or "last check" in text)
            value += length * len(text.split()) + (noise * chance.normal() if chance is not None else 0.0)
            found.append(float(value))
        return found

    return score


def states(card):
    return {reason.rule: reason.state for reason in card.reasons}


def test_a_sound_reward_model_passes_the_gate():
    card = make_card("sound", "pairs", world(), judge(), CardConfig(label_agreement=1.0, probe_answers=40))
    told = states(card)
    assert not card.shut, [r for r in card.reasons if r.state == "act"]
    assert told["accuracy"] == told["lead over length"] == told["ceiling"] == "ok"
    assert card.figures["baselines"]["length"]["accuracy"] == pytest.approx(0.6, abs=0.08)
    assert card.figures["baselines"]["tfidf"]["accuracy"] > 0.95, "these pairs can be told apart by their words"
    cuts = card.figures["slices"]
    assert {"annotator", "source", "label strength", "kind of prompt", "length of the chosen answer"} <= set(cuts)
    assert sum(part["pairs"] for part in cuts["annotator"]) == 240
    assert {part["part"].split(", ")[0] for part in cuts["kind of prompt"]} <= {
        word for topic in TOPICS for word in topic.split()
    }


def test_a_reward_model_that_counts_words_is_found_out():
    def words(prompts, answers):
        return [0.05 * len(text.split()) for text in answers]

    card = make_card("words", "pairs", world(), words, CardConfig(probe_answers=40))
    told = states(card)
    assert card.shut and told["lead over length"] == "act" and told["length correlation"] == "act"
    assert told["probe: padding"] == "watch" and told["probe: three times over"] == "act"
    assert card.figures["length_correlation"]["spearman"] == pytest.approx(1, abs=0.01)
    assert card.figures["lead_over_length"]["accuracy"] == pytest.approx(0, abs=0.01)
    assert card.worst and card.worst[0]["score_rejected"] > card.worst[0]["score_chosen"]


def test_chance_and_more_than_the_labels_allow_shut_the_gate():
    chance = make_card("chance", "pairs", world(), judge(scale=0, noise=1), CardConfig(probe_answers=10))
    assert chance.shut and states(chance)["accuracy"] == "act"
    leak = make_card("leak", "pairs", world(), judge(), CardConfig(label_agreement=0.63, probe_answers=10))
    assert leak.shut and states(leak)["ceiling"] == "act" and leak.figures["ceiling"] == pytest.approx(0.755, abs=1e-3)


def test_calibration_by_hand_and_the_temperature_of_one_that_is_too_sure():
    rng = np.random.default_rng(0)
    gap = rng.normal(0, 1.5, 2000)
    truth = rng.random(2000) < 1 / (1 + np.exp(-gap))
    gap = np.where(truth, gap, -gap)  # the label is what came out

    def pairs(factor):
        items = [Ranking(Prompt(text=str(i)), ("a", "b")) for i in range(len(gap))]
        scores = [*(gap * factor).tolist(), *[0.0] * len(gap)]
        return scored_pairs(items, lambda prompts, answers: scores)

    honest, sure = calibration(pairs(1.0)), calibration(pairs(3.0))
    assert honest["ece_ci"][0] < 0.02 and honest["temperature"] == pytest.approx(1, abs=0.1)
    assert sure["ece_ci"][0] > 0.05 and sure["temperature"] == pytest.approx(3, abs=0.3)
    assert sure["log_loss"] > honest["log_loss"]


def test_an_ensemble_disagrees_where_it_is_wrong():
    pairs = scored_pairs(world(), judge(noise=1.5, scale=0.7))
    told = disagreement(pairs, judge(noise=1.5, scale=0.7, seed=1))
    assert told["deviation_of_gaps_where_wrong"] > told["deviation_of_gaps_where_right"]
    itself = disagreement(pairs, judge(noise=1.5, scale=0.7))
    assert itself["same_choice"] == 1 and itself["spearman"] == pytest.approx(1)


def test_pairs_without_scores_are_counted_and_none_at_all_is_an_error():
    items = world(20)
    half = scored_pairs(items, lambda prompts, answers: [None if i % 4 == 0 else 1.0 for i in range(len(answers))])
    assert len(half) + half.left_out == 20 and half.left_out == 5
    with pytest.raises(UserError, match="none of the pairs"):
        scored_pairs(items, lambda prompts, answers: [None] * len(answers))


def test_hostile_answers_stay_text_on_the_page():
    evil = "<script>alert(1)</script>\u202e"
    items = [
        Ranking(Prompt(text=f"{evil} {i}"), (f"x {evil}", f"{evil} y"), meta={"source": f"{evil}{i % 2}"}) for i in range(30)
    ]
    scores = np.random.default_rng(0).normal(size=60).tolist()
    page = card_page(make_card(evil, evil, items, lambda prompts, answers: scores[: len(answers)], CardConfig(probe_answers=5)))
    assert "<script>alert" not in page and "\u202e" not in page and "&lt;script&gt;alert(1)" in page


@pytest.fixture(scope="module")
def reward_folder(tmp_path_factory):
    """A reward model of random weights: near chance by construction."""
    import torch

    from plaudit.models.base import AdapterConfig, Base
    from plaudit.models.heads import scalar_head
    from plaudit.models.load import load
    from plaudit.models.network import Network
    from plaudit.models.scorer import save_reward

    folder = tmp_path_factory.mktemp("reward")
    loaded = load("tiny")
    base = Base(loaded.model, loaded.tokenizer, loaded.digest, "tiny", AdapterConfig())
    head = scalar_head(base.width)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(0))
    save_reward(folder / "model", Network("reward", base, head=head))
    return folder / "model"


def test_the_verb_stops_a_pipeline_and_writes_the_page(reward_folder, tmp_path, capsys):
    rows = [
        {"prompt": f"Question {i}?", "chosen": f"Good answer {i * 7 % 30}.", "rejected": f"Bad {i * 11 % 30}."}
        for i in range(30)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["card", str(reward_folder), str(tmp_path / "pairs.jsonl"), "minimum_accuracy=0.99", "probe_answers=4"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--also", str(reward_folder), "--json", "--output", str(tmp_path / "card.html")])
    told = json.loads(capsys.readouterr().out)
    assert end.value.code == 1 and told["gate"] == "shut" and told["reasons"][0]["state"] == "act"
    assert told["disagreement"][str(reward_folder)]["same_choice"] == 1
    assert "Gate shut" in (tmp_path / "card.html").read_text()
    with pytest.raises(SystemExit) as end:
        main(["card", str(tmp_path), str(tmp_path / "pairs.jsonl")])
    assert end.value.code == 2 and "reward_model_path" in capsys.readouterr().err
