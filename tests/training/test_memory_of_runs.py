"""What is in memory at the same time: only what the present part of a step needs."""

from __future__ import annotations

import weakref

import pytest
import torch

from plaudit.config import load
from plaudit.models.base import AdapterConfig, Base
from plaudit.models.heads import scalar_head
from plaudit.models.lean import Cast
from plaudit.models.load import load as load_model
from plaudit.models.network import Network
from plaudit.models.scorer import save_reward
from plaudit.training.build import build
from plaudit.training.folder import RunFolder
from plaudit.training.progress import Silent
from plaudit.training.run import sections, settled
from resident import MAPS, resident
from small_networks import BATCHES, learner, rollouts, weights
from training_runs import SHARED, own, write_data


def run(tmp_path, monkeypatch, verb, look, *more):
    """A small run; `look(loop)` is called before each step and behind it. The loop at its end."""
    write_data(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    classes, defaults = sections(verb)
    words = {word.partition("=")[0]: word for word in (*SHARED, *own(verb), "max_steps=2", "eval_steps=1", *more)}
    options = settled(verb, load(classes, None, list(words.values()), defaults), None)
    with RunFolder(tmp_path / "here" / "run", options.flat(), resume=False) as folder:
        loop = build(verb, options, folder, Silent())
        step = loop.learner.step

        def looked(batch):
            look(loop)
            told = step(batch)
            look(loop)
            return told

        loop.learner.step = looked
        assert loop.run() == "finished"
        return loop


@pytest.mark.parametrize("verb", ["ppo", "grpo"])
def test_the_engine_holds_nothing_while_the_learner_steps(verb, tmp_path, monkeypatch):
    """Evaluations and the second round of a step (`filter_groups`) sample before and between, so weights come again."""
    found = []

    def look(loop):
        engine = loop.source.engine
        found.append((engine.loaded, len(engine.decoder.weights.layers), engine.cache.keys.numel()))

    run(tmp_path, monkeypatch, verb, look)
    assert found == [(False, 0, 0)] * 4


@pytest.mark.skipif(not MAPS.exists(), reason="only Linux says what is in memory")
def test_reference_and_reward_model_are_not_in_memory_while_networks_are_trained(tmp_path, monkeypatch):
    """They are parked in the run's folder, and read when they are asked."""
    made = load_model("tiny")
    judge = Base(made.model, made.tokenizer, made.digest, "tiny", AdapterConfig())
    save_reward(tmp_path / "judge", Network("reward", judge, head=scalar_head(judge.width)))
    found = []

    def look(loop):
        bases = [loop.learner.reference.base, loop.source.rewards.rewards[0].scorer.network.base]
        clip = type(loop.learner)._clip

        def clipped(network):
            found.append([resident(next(base.model.parameters())) for base in bases])
            return clip(loop.learner, network)

        loop.learner._clip = clipped

    words = ("use_peft=false", f"reward_model_path={tmp_path / 'judge'}", "reward_funcs=[]")
    loop = run(tmp_path, monkeypatch, "ppo", look, *words)
    assert found and all(both == [0, 0] for both in found)
    assert loop.learner.reference.base.parked


def test_casts_are_made_where_those_of_the_network_before_were():
    one, two = Cast(), Cast()
    first, second = torch.randn(8, 4), torch.randn(8, 4)
    place = one(first, torch.bfloat16).data_ptr()
    two.take_from(one)
    again = two(second, torch.bfloat16)
    assert again.data_ptr() == place and torch.equal(again, second.bfloat16()) and not one._made
    assert torch.equal(one(first, torch.bfloat16), first.bfloat16()) and torch.equal(again, second.bfloat16())


class Watched(Cast):
    """Notes at each cast how many of all casts there are hold something."""

    def __init__(self, all_of_them, seen):
        super().__init__()
        self.all, self.seen = all_of_them, seen

    def __call__(self, weight, dtype):
        made = super().__call__(weight, dtype)
        self.seen.append(sum(bool(cast._made) for cast in self.all))
        return made


@pytest.mark.parametrize("minis", [1, 2])
def test_weights_are_cast_for_one_network_at_a_time_and_the_numbers_stay(minis):
    settings = {
        "full": True,
        "dtype": torch.float32,
        "autocast": True,
        "micro_batch": 2,
        "options": {"num_mini_batches": minis},
    }
    made, twin = (learner("ppo", **settings) for _ in range(2))
    seen, casts = [], []
    for network in (*made.networks.values(), made.reference):
        network.base.cast = Watched(casts, seen)
        network.base.cast.collecting = network.whole
        casts.append(network.base.cast)
    object.__setattr__(twin.asked, "make_room", lambda network: None)
    for seed in range(2):
        batch = rollouts(6, seed, torch.float32)
        assert made.step(batch) == twin.step(batch)
    assert set(seen) == {1}, "at most one network has casts whenever one is asked for"
    assert all(network.base.cast._made for network in twin.networks.values())
    assert torch.equal(weights(made), weights(twin))


def test_what_a_network_made_is_gone_when_the_next_is_run():
    """Its graph would hold casts of its weights."""
    made = learner("ppo", full=True, dtype=torch.float32, autocast=True, micro_batch=2)
    forward, before, alive = made.asked.forward, [], []

    def watched(network, role, *more, **how):
        alive.extend(role for of, one in before if of != role and one() is not None)
        found = forward(network, role, *more, **how)
        if torch.is_grad_enabled():
            before.append((role, weakref.ref(found)))
        return found

    object.__setattr__(made.asked, "forward", watched)
    made.step(rollouts(6, dtype=torch.float32))
    assert {role for role, _ in before} == {"policy", "critic"} and not alive


def test_a_single_network_keeps_its_casts_beside_the_reference():
    """Nothing would be won: they are wanted again for the next batch."""
    made = learner("dpo", full=True, dtype=torch.float32, autocast=True)
    made.step(BATCHES["dpo"](4, dtype=torch.float32))
    assert made.networks["policy"].base.cast._made and made.reference.base.cast._made
