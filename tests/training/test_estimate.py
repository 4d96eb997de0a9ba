"""The cost model: bytes and FLOPs against what runs, for every algorithm; hints; what is assumed; errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from flop_counting import counter
from plaudit.config import load, options
from plaudit.core.batch import from_rows
from plaudit.models.adapters import AdapterConfig
from plaudit.models.base import Base
from plaudit.models.load import cast
from plaudit.models.machine import device
from plaudit.models.network import Network
from plaudit.schema import UserError
from plaudit.training.build import algorithm_class, build
from plaudit.training.estimate import fleet as fleets
from plaudit.training.estimate import hints, passes, seconds
from plaudit.training.estimate.estimate import case, estimate
from plaudit.training.estimate.fleet import Fleet, Role
from plaudit.training.estimate.gpus import GPUS, priced
from plaudit.training.estimate.memory import layer_activations
from plaudit.training.estimate.parts import Counts, Work
from plaudit.training.estimate.rates import Rates
from plaudit.training.folder import RunFolder
from plaudit.training.options import OptimizerConfig
from plaudit.training.progress import Silent
from plaudit.training.run import sections, settled
from training_runs import SHARED, VERBS, own, write_data


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder below the data, as the words of `training_runs` want it."""
    write_data(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "here"


def resolved(verb, *more):
    classes, defaults = sections(verb)
    given = {word.partition("=")[0]: word for word in (*SHARED, *own(verb), *more)}
    given = {name: word for name, word in given.items() if not name.startswith("ptx_")}  # rows that are not counted
    return settled(verb, load(classes, None, list(given.values()), defaults), None)


RATES = Rates("made up", "fp32", 1, 1e9, 1e9, 1e-9, 1e-3, 2e-9, 2e-3, 3e-9, 4e-9, 5e-9, 6e-9)


@pytest.mark.parametrize(("verb", "peft"), [(verb, number % 2 == 0) for number, verb in enumerate(VERBS)])
def test_the_work_of_a_step_is_what_torch_counts(verb, peft, place):
    """One step of every registered algorithm, with adapters or without, within 15 percent: only matrix products of layers and
    heads are counted, and the inputs of the lowest adapted layer need no gradient."""
    asked = resolved(verb, f"use_peft={str(peft).lower()}", "eval_fraction=0.2")
    with RunFolder(place / "run", asked.flat(), resume=False) as folder:
        loop = build(verb, asked, folder, Silent())
        one = case(verb, asked, loop=loop)
        batch = loop.source.at(0, loop.learner).batch.to(loop.learner.device)
        one.meal.batches[:] = [batch]
        with counter() as counting:
            loop.learner.step(batch)
    said = sum(work.flops for work in one.step if work.phase in ("scoring", "update"))
    least = 0.7 if peft else 0.85  # of two layers, the lower one is half
    assert least * said <= counting.get_total_flops() <= 1.15 * said


@pytest.mark.parametrize("verb", VERBS)
def test_every_algorithm_is_estimated_from_its_file(verb, place):
    found = estimate(verb, resolved(verb), measure=False)
    assert found.counts == Counts(5, 4, 6)  # before, at 2, at 4 and at the end; saved at 0 too
    assert found.memory.total > 4 * 4 * found.parameters and found.tokens > 50
    assert all(count > 0 for count in found.flops.values())
    assert found.here is None and len(found.others) == len(GPUS)
    assert ("rollout: decode" in found.flops) == (algorithm_class(verb).eats == "prompts")


@pytest.mark.parametrize("optim", ["adamw_torch", "sgd", "adafactor", "muon"])
@pytest.mark.parametrize("peft", [False, True])
def test_numbers_and_optimiser_states_are_those_of_the_networks(optim, peft, place):
    """Exact for AdamW, SGD and Muon but for their step counts (4 bytes each); Adafactor's rows and columns within a tenth."""
    asked = resolved("ppo", f"use_peft={str(peft).lower()}", f"optim={optim}", "eval_fraction=0")
    with RunFolder(place / "run", asked.flat(), resume=False) as folder:
        loop = build("ppo", asked, folder, Silent())
        one = case("ppo", asked, loop=loop)
        loop.learner.step(loop.source.at(0, loop.learner).batch.to(loop.learner.device))
    for role in one.fleet.roles:
        network, optimizer = loop.learner.networks[role.name], loop.learner.optimizers[role.name]
        assert role.trained == sum(p.numel() for p in network.parameters().values())
        states = optimizer.state()
        real = sum(state.numel() * state.element_size() for name, state in states.items() if not name.startswith("step."))
        told = fleets.optimizer_bytes(asked[OptimizerConfig], one.model, role)
        assert told == real if optim != "adafactor" else abs(told - real) < 0.2 * real


def test_while_it_samples_a_run_holds_no_gradients(place, monkeypatch):
    asked = resolved("ppo", "use_peft=true", "eval_fraction=0")
    with RunFolder(place / "run", asked.flat(), resume=False) as folder:
        loop = build("ppo", asked, folder, Silent())
        learner, engine, seen = loop.learner, loop.source.engine, []
        trained = [p for network in learner.networks.values() for p in network.parameters().values()]
        generate = engine.generate

        def watched(*given):
            seen.append([p.grad is None for p in trained])
            return generate(*given)

        monkeypatch.setattr(engine, "generate", watched)
        learner.step(loop.source.at(0, learner).batch.to(learner.device))
        assert any(p.grad is not None for p in trained)
        loop.source.at(1, learner)
    assert len(seen) == 2 and all(map(all, seen))


def kept(network, batch) -> int:
    """Bytes that autograd keeps for the backward pass, weights left out."""
    seen: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in network.base.model.parameters()}

    def pack(x):
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        found = network(batch, {"value"})
    assert found.value is not None
    return sum(seen.values())


@pytest.mark.parametrize("lean", [True, False])
@pytest.mark.parametrize(("lora", "half"), [(True, True), (False, True), (True, False), (False, False)])
def test_a_layer_keeps_what_the_formula_says(lora, half, lean):
    """The difference of models of 3 layers and of 1, against the formula: exactly, of transformers' layers within a fifth."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from plaudit.models.heads import scalar_head
    from plaudit.models.outline import Outline
    from plaudit.models.tiny import tiny_tokenizer

    rows, width, sizes = 4, 48, []
    for layers in (1, 3):
        config = LlamaConfig(
            vocab_size=64,
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=layers,
            num_attention_heads=6,
            num_key_value_heads=2,
            pad_token_id=0,
        )
        model = cast(LlamaForCausalLM(config), torch.bfloat16 if lora and half else torch.float32)
        base = Base(model, tiny_tokenizer(), "", "x", AdapterConfig(use_peft=lora, lora_r=4))
        if lora:
            base.add_adapter("a", seed=0)
        made = Network("a", base, adapter="a" if lora else None, whole=not lora, head=scalar_head(192), autocast=half)
        if not lean:
            base._known = False
        assert (base.lean is not None) is lean
        base.cast.collecting = True
        sizes.append(kept(made, from_rows([[1] * width] * rows, [[0] + [1] * (width - 1)] * rows)))
    shape = Outline("x", config, None)
    role = Role("a", frozenset({"value"}), 0, not lora)
    batch = from_rows([[1] * width] * rows, [[0] + [1] * (width - 1)] * rows)
    laid = passes.one(batch, passes.Cut(rows, False, False, lean=lean))
    columns = shape.columns(AdapterConfig(use_peft=True, lora_r=4)) if lora else 0
    assert columns == 7 * 4 * lora
    told = layer_activations(Fleet(shape, (role,), (), False, False, lora, 0, lean, columns=columns), laid, bf16=half)
    if half and not lora and not lean:  # the weights' own copies are counted apart
        told += 2 * shape.shape.layer
    assert told == pytest.approx((sizes[1] - sizes[0]) / 2, rel=1e-3 if lean else 0.2)


@pytest.mark.parametrize("verb", ["sft", "ppo"])
def test_hints_come_true(verb, place):
    """Each hint's figures are those of a run with its options, and lower than without it."""
    more = ["per_device_train_batch_size=8", "max_completion_length=32", "rollout_slots=16"]
    known = options(sections(verb)[0])
    asked = resolved(verb, *[word for word in more if word.partition("=")[0] in known])
    found = estimate(verb, asked, measure=False)
    wanted = {"use_peft", "optim"} | ({"gradient_checkpointing"} if device().type == "cpu" else set())  # a GPU keeps no scores
    assert {hint.change.partition("=")[0] for hint in found.hints} >= wanted
    for hint in found.hints:
        change = {name: yaml.safe_load(value) for name, _, value in (word.partition("=") for word in hint.change.split())}
        again = estimate(verb, asked.replace(**change), measure=False)
        assert hint.memory < found.memory.total
        assert again.memory.total == pytest.approx(hint.memory, rel=0.02)


def test_seconds_by_hand(place):
    """A pass costs its FLOPs at the rates of its kind, and what every pass costs besides."""
    of = seconds.measured(RATES, layers=2)
    assert of(Work("scoring", "", "forward", 1e6, 1e6, 2)) == pytest.approx(1e-3 + 3e-3 + 2e-3)
    assert of(Work("update", "", "train", 1e6, 1e6, 1, parameters=1e6)) == pytest.approx(2e-3 + 4e-3 + 2e-3 + 5e-3)
    two = Rates(**{**RATES.__dict__, "decode_layer": ((4, 1.0), (16, 2.0)), "decode_rest": ((4, 1.0), (16, 3.0))})
    assert [two.step(2, rows) for rows in (4, 10, 16, 22)] == [3.0, 5.0, 7.0, 9.0]
    # 1e9 FLOPs at 40 % of 1e12, or 2 passes of 2 layers of 20 kernels of 8 us, whichever is more
    slow = GPUS[0].__class__("x", 1e12, 1e11, 1e12, 1e9, 1.0)
    sheet = seconds.from_data_sheet(slow, 2, 1000, 10, bf16=True)
    assert sheet(Work("scoring", "", "forward", 1e9, 0, 2)) == pytest.approx(2.5e-3)
    assert sheet(Work("scoring", "", "forward", 1e6, 0, 2)) == pytest.approx(2 * 2 * 20 * 8e-6)


def test_a_missing_file_is_assumed_and_said(place):
    found = estimate("sft", resolved("sft", "train_file=nowhere.jsonl", "max_length=64"), measure=False)
    assert found.tokens == 4 * 64
    assert any("train_file nowhere.jsonl is not there: every row is taken to have 64 tokens" in note for note in found.notes)
    online = estimate("grpo", resolved("grpo", "train_file=nowhere.jsonl", "reward_model_path=later/model"), measure=False)
    assert online.tokens == 4 * 2 * (64 + 6)
    assert any("later/model is not there yet" in note for note in online.notes)
    assert "reward: reward model" in online.flops


def test_without_steps_time_is_that_of_one(place):
    classes, defaults = sections("sft")
    words = ["train_file=nowhere.jsonl", "output_dir=run", "model_name_or_path=tiny"]
    found = estimate("sft", load(classes, None, words, defaults), measure=False)
    assert found.counts.steps is None
    assert any("time is that of one step" in note for note in found.notes)


def test_packing_and_sharing_change_the_passes(place):
    batch = from_rows([[1] * 6, [1, 1, 1, 1, 2, 2, 2, 2]], [[0] * 4 + [1] * 2, [0] * 4 + [1] * 4], group=[0, 0])
    plain = passes.one(batch, passes.Cut(2, False, False))
    assert (plain.rows, plain.width, plain.tokens, plain.pairs, plain.logits) == (2, 8, 16, 128, 6)
    assert passes.one(batch, passes.Cut(2, False, True)).pairs == 14 * 14
    shared = passes.one(batch, passes.Cut(2, True, False))
    assert (shared.rows, shared.width) == (1, 4 + 2 + 4)


def test_shared_beginnings_stand_in_each_row_where_attention_is_one_kernel():
    """Of three rows of 43 tokens that begin alike; without the kernel one line of 49 is less (`Layout.grid`)."""
    batch = from_rows([[1] * 40 + [n] * 3 for n in (2, 3, 4)], [[0] * 40 + [1] * 3] * 3, group=[0] * 3)
    found = [passes.one(batch, passes.Cut(3, True, False, lean=True, fused=fused)) for fused in (False, True)]
    assert [(one.rows, one.width, one.tokens) for one in found] == [(1, 64, 49), (3, 64, 49)]


def test_the_independent_reward_model_is_counted(place):
    """It is in memory as a reward model is, and scores evaluations only, at the price of a reward model of the same kind."""
    words = ["use_peft=false", "eval_fraction=0.2", "reward_model_path=later/a"]
    plain = estimate("grpo", resolved("grpo", *words), measure=False)
    more = estimate("grpo", resolved("grpo", *words, "independent_reward_model_path=later/b"), measure=False)
    assert more.memory.parts["independent reward model"] == 4 * plain.parameters
    assert more.memory.total - plain.memory.total == 4 * plain.parameters
    new = {name: count for name, count in more.flops.items() if name not in plain.flops}
    assert new == {"evaluation: independent reward model": more.flops["evaluation: reward model"]}
    assert all(more.flops[name] == count for name, count in plain.flops.items())
    assert any("independent_reward_model_path later/b is not there yet" in note for note in more.notes)
    far = [sum(place.total for place in one.others) for one in (plain, more)]
    assert far[0] < far[1], "evaluations take longer"


def test_adapters_on_one_foreign_base_have_it_once(place):
    """As they are loaded: the second reward model, and the independent one, put their adapter on the first one's base."""
    for name in "abc":
        Path(name).mkdir()
        about = {"base": "tiny", "base_digest": "", "adapter": True, "mean": 0.0, "deviation": 1.0, "lora": {"lora_r": 4}}
        Path(name, "reward.json").write_text(json.dumps(about))
    words = ["use_peft=false", "reward_model_path=[a,b]", "independent_reward_model_path=c"]
    found = case("grpo", resolved("grpo", *words)).fleet
    base, adapter = found.model.parameters, found.judges[0].adapter
    assert adapter > 0 and [(one.own, one.adapter) for one in found.judges] == [(base, adapter), (0, adapter)]
    assert found.independent is not None and (found.independent.own, found.independent.adapter) == (0, adapter)


@pytest.mark.parametrize(
    ("verb", "kwargs", "words"),
    [
        ("sft", {"answer_tokens": 5}, "learns from those in its file"),
        ("grpo", {"answer_tokens": 99}, "between 1 and 6 tokens"),
        ("sft", {"prices": ["H100"]}, "NAME=DOLLARS_PER_HOUR"),
        ("sft", {"prices": ["X1=2"]}, "X1 is not one of here, T4"),
        ("sft", {"prices": ["L4=-2"]}, "0 or more"),
    ],
)
def test_what_cannot_be_estimated_is_said(verb, kwargs, words, place):
    with pytest.raises(UserError, match=words):
        estimate(verb, resolved(verb), measure=False, **kwargs)


def test_prices_are_the_users(place):
    table, here = priced(["H100=9.5", "here=0.25"])
    assert {gpu.name: gpu.price for gpu in table}["H100"] == 9.5 and here == 0.25


def test_more_tokens_answered_take_longer(place):
    few, many = (estimate("grpo", resolved("grpo"), measure=False, answer_tokens=n) for n in (2, 6))
    assert few.flops["rollout: decode"] < many.flops["rollout: decode"] / 4
    assert few.flops["rollout: prefill"] == many.flops["rollout: prefill"]


def wide(folder: Path) -> Path:
    """A random Llama of 19 M numbers with the tiny tokenizer, saved as a model folder."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from plaudit.models.folder import save_model
    from plaudit.models.tiny import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=512,
        pad_token_id=3,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(LlamaForCausalLM(config), tokenizer, folder / "wide")
    return folder / "wide"


@pytest.mark.slow
@pytest.mark.parametrize("peft", [False, True])
def test_the_peak_of_a_run_is_near_the_estimate(peft, nursery, place):
    """A child process's peak beside what the same run takes on the tiny model, which is libraries alone: 0.7 to 1.4 times."""
    rows = [{"prompt": "Where is it? " * 4, "completion": " It is on its way." * 6} for _ in range(12)]
    (place / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = wide(place)
    words = [*SHARED, f"use_peft={str(peft).lower()}", "train_file=long.jsonl", "eval_fraction=0", "max_steps=2"]
    peaks = {}
    for name in ("tiny", str(model)):
        out = place / Path(name).name / "run"
        given = [w for w in words if not w.startswith(("model_name", "output_dir", "max_steps=5"))]
        given += [f"model_name_or_path={name}", f"output_dir={out}", "max_length=128"]
        done = nursery.run("train", "sft", *{w.partition("=")[0]: w for w in given}.values(), cwd=place)
        assert done.code == 0, done.err
        peaks[name] = json.loads((out / "usage.json").read_text())["peak_memory_bytes"]
    told = json.loads((place / "wide" / "run" / "estimate.json").read_text())["memory"]["bytes"]
    assert 0.7 < (peaks[str(model)] - peaks["tiny"]) / told < 1.4


@pytest.mark.slow
def test_a_probe_measures_and_is_kept(place):
    asked = resolved("grpo", "use_peft=true")
    found = estimate("grpo", asked)
    assert found.here is not None and found.here.measured
    assert set(found.here.seconds) >= {"rollout", "scoring" if "scoring" in found.here.seconds else "update", "evaluation"}
    assert all(value > 0 for value in found.here.seconds.values())
    again = estimate("grpo", asked, measure=False)
    assert again.here is not None and again.here.seconds == found.here.seconds
    other = estimate("grpo", asked.replace(lora_r=4), measure=False)
    assert other.here is None
    assert hints.changes(asked) and any(hint.seconds is not None for hint in found.hints)
