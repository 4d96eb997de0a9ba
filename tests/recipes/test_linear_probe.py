"""The probe of features: its folds, what it sees where answers of one prompt are on both sides, and what it reads."""

from __future__ import annotations

import pytest
import torch

from plaudit.data.template import encode_answer
from plaudit.models.load import load
from plaudit.schema import Prompt, Ranking


@pytest.fixture(scope="module")
def recipe(load_recipe):
    return load_recipe("linear_probe")


def test_a_preference_that_stands_in_the_features_is_found_on_new_prompts(recipe):
    train, test = torch.randn(80, 12), torch.randn(40, 12)
    train[:, 3], test[:, 3] = train[:, 3].abs() + 0.5, test[:, 3].abs() + 0.5
    assert recipe.probe(train, [f"prompt {i // 4}" for i in range(80)], test)[0] > 0.9


def test_answers_that_are_known_by_heart_show_in_folds_by_pair_alone(recipe):
    torch.manual_seed(0)
    own = torch.randn(40, 200).repeat_interleave(4, 0)  # four pairs of a prompt have the same features, and nothing else
    new, by_pair = recipe.probe(own, [f"prompt {i // 4}" for i in range(160)], torch.randn(400, 200))
    assert by_pair > 0.95 and new == pytest.approx(0.5, abs=0.12)


def test_no_group_stands_on_both_sides_of_a_fold(recipe, monkeypatch):
    seen = []
    monkeypatch.setattr(recipe, "weights", lambda x, decay: seen.append(set(x[:, 0].tolist())) or torch.zeros(1))
    groups = [i // 3 for i in range(30)]
    recipe.folded(torch.tensor(groups).float()[:, None], groups, 1.0)
    assert len(seen) == 5 and all(len(one) == 8 for one in seen)  # two of ten groups are held out, whole
    assert {group for one in seen for group in one} == set(range(10))


def test_features_are_the_last_state_and_the_mean_over_the_answer(recipe):
    loaded = load("tiny")
    pair = Ranking(Prompt(text="Where?"), (" There it is.", " No."), (0, 1))
    row = encode_answer(loaded.tokenizer, pair.prompt, pair.answers[0])
    with torch.no_grad():
        hidden = loaded.model(torch.tensor([row.ids]), output_hidden_states=True).hidden_states[-1][0]
    features = recipe.Features(loaded)
    expected = torch.cat([hidden[-1], hidden[row.prompt_length :].mean(0)])
    (first,) = features.differences([pair])
    assert torch.allclose(features.seen[pair.prompt.id, " There it is."], expected, atol=1e-6)
    assert torch.allclose(first, expected - features.seen[pair.prompt.id, " No."], atol=1e-6)
