"""Bytes that a run holds at its largest moment, part by part.

What is exact: weights, gradients, optimiser states, the engine's copy, its cache. What is a count by hand of what autograd
keeps of a Llama's layer, for one token of width E with q = heads x head size, k = key-value heads x head size, f the MLP's
width and h heads of which each keeps T scores (bytes; `models/attention.py` forms the whole square on a CPU up to 512 tokens).
Of the lean layers (`models/lean.py`), with r bytes for a number of the residual stream and b for one of a product, and g places
of attention's grid for each token:

    2 r E + b (q + 2 f) + g b (q + 2 k + h T)        scores up to 256 tokens only
    2 r E + b (2 q + 2 k + 2 f + a) + 4 h            where a layer is one kernel (`models/layer_kernel.py`); a columns in x A^T

Of transformers' layers:

    bf16, frozen matrices    12 E + 6 q + 8 k + 8 f + 6 h T      norms keep float32 copies; the MLP keeps gate, its
                                                                 activation, the other half, and their product
    bf16, trained matrices   28 E + 10 q + 8 k + 10 f + 6 h T    also inputs of matrices, cast for each of them
    fp32, frozen or trained  12 E + 12 q + 16 k + 16 f + 8 h T

`tests/training/test_estimate.py` holds these against what torch really saves. Other families keep about the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from plaudit.config import Resolved
from plaudit.core.logprob import BLOCK as WORDS
from plaudit.core.logprob import WIDE
from plaudit.models import attention_kernel
from plaudit.models.adapters import AdapterConfig
from plaudit.models.attention import KEPT as KEPT_WEIGHTS
from plaudit.models.attention import SHORT
from plaudit.models.families import unknown
from plaudit.training.estimate.fleet import Fleet, Judge, optimizer_bytes
from plaudit.training.estimate.parts import Memory
from plaudit.training.estimate.passes import Pass
from plaudit.training.estimate.rows import Meal
from plaudit.training.options import OptimizerConfig, RolloutConfig, TrainingConfig

BLOCK = 64
"""Positions that the engine's cache grows by."""
KEPT = "activations of one micro-batch"
RETAINED = 0.8
"""Share of the activations that the C library keeps for later instead of giving it back (measured with glibc)."""


def layer_activations(ships: Fleet, one: Pass, *, bf16: bool, gpu: bool = False) -> int:
    """Bytes that one layer keeps for the backward pass of a micro-batch."""
    shape, lora, tokens, width = ships.model.shape, ships.lora, one.tokens, one.width
    e, q, k, f = shape.width, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim, shape.inner
    if ships.lean:
        residual, product = 2 if bf16 and lora else 4, 2 if bf16 else 4
        if bf16 and not gpu and attention_kernel.serves(torch.device("cpu"), torch.bfloat16, shape.head_dim):
            return tokens * (2 * residual * e + product * (2 * q + 2 * f + 2 * k + ships.columns) + 4 * shape.heads)
        scores = 0 if gpu or width > KEPT_WEIGHTS else shape.heads * width
        return tokens * (2 * residual * e + product * (q + 2 * f)) + one.places * product * (q + 2 * k + scores)
    scores = 0 if gpu or width > SHORT else shape.heads * width
    if not bf16:
        each = 12 * e + 12 * q + 16 * k + 16 * f + 8 * scores
    elif lora:
        each = 12 * e + 6 * q + 8 * k + 8 * f + 6 * scores
    else:
        each = 28 * e + 10 * q + 8 * k + 10 * f + 6 * scores
    return each * tokens


def activations(ships: Fleet, one: Pass, *, bf16: bool, checkpointing: bool, gpu: bool = False) -> int:
    """Bytes that the layers of one network keep for the backward pass of one micro-batch."""
    layers = ships.model.shape.layers - ships.start
    each = layer_activations(ships, one, bf16=bf16, gpu=gpu)
    if not checkpointing:
        return each * layers
    hidden = one.tokens * ships.model.shape.width * (2 if bf16 and ships.lora else 4)
    return hidden * layers + each


def memory(ships: Fleet, options: Resolved, heavy: Pass, eaten: Meal, *, bf16: bool, gpu: bool = False) -> Memory:
    """The largest moment of a run: building it, sampling, updating, writing a checkpoint, saving the trained model."""
    held = standing(ships, options, bf16=bf16)
    engine = _engine(ships, options, bf16=bf16) if ships.online else {}
    if gpu or unknown(ships.model.config):  # else its memory is given back when sampling ends (`TorchEngine.unload`)
        held |= engine
    update = _update(ships, options, heavy, bf16=bf16, gpu=gpu)
    later = {**held, "not given back by the allocator": 0 if gpu else round(RETAINED * update[KEPT])}
    moments: dict[str, dict[str, int]] = {
        "building": _building(ships, bf16=bf16),
        "update": {**held, **update},
        "checkpoint": {**later, **_checkpoint(ships, options)},
        "saving": {**later, **_saving(ships, options)},
    }
    if ships.online:
        rested = {**held, "gradients": 0}  # `Learner.rest`
        moments["rollout"] = {**rested, **engine, **_rollout(ships, options, eaten, bf16=bf16)}
    sums = {name: sum(parts.values()) for name, parts in moments.items()}
    moment = max(sums, key=sums.__getitem__)
    return Memory({name: size for name, size in moments[moment].items() if size}, moment, sums)


def standing(ships: Fleet, options: Resolved, *, bf16: bool) -> dict[str, int]:
    """What is in memory all the time, once the first step was taken."""
    adapter, n = options[AdapterConfig], ships.model.parameters
    frozen = 2 if bf16 and ships.lora else 4
    base = n * frozen
    if ships.lora and adapter.load_in_4bit:
        base = n // 2
    elif ships.lora and adapter.load_in_8bit:
        base = n
    roles = sum(role.trained for role in ships.roles)
    return {
        "frozen base": base if ships.lora or ships.reference else 0,
        "adapters and heads" if ships.lora else "trained weights": 4 * roles,
        "gradients": 4 * roles,
        "optimiser states": sum(optimizer_bytes(options[OptimizerConfig], ships.model, role) for role in ships.roles),
        "reward models": sum(_judge_bytes(judge, bf16=bf16) for judge in ships.judges),
        "independent reward model": _judge_bytes(ships.independent, bf16=bf16) if ships.independent else 0,
    }


def _engine(ships: Fleet, options: Resolved, *, bf16: bool) -> dict[str, int]:
    """What the engine holds while answers are sampled."""
    weights = ships.model.parameters * (2 if bf16 else 4)
    return {"engine's copy of the weights": weights, "engine's KV cache": cache_bytes(ships, options, bf16=bf16)}


def _judge_bytes(judge: Judge, *, bf16: bool) -> int:
    """Of a reward model: the weights that are its own, and its adapter in float32."""
    return judge.own * (2 if bf16 else 4) + 4 * judge.adapter


def cache_bytes(ships: Fleet, options: Resolved, *, bf16: bool) -> int:
    """The engine's cache: slots x the longest row, rounded up to its blocks; what an evaluation asks counts too."""
    o, t = options[RolloutConfig], options[TrainingConfig]
    rows = t.per_device_train_batch_size * t.gradient_accumulation_steps * o.num_generations
    slots = min(o.rollout_slots, max(rows, o.num_eval_prompts))
    length = -(-(o.max_prompt_length + o.max_completion_length) // BLOCK) * BLOCK
    return ships.model.shape.cache(2 if bf16 else 4) * slots * length


def _building(ships: Fleet, *, bf16: bool) -> dict[str, int]:
    """The weights as they are read (the file is mapped while they are copied out of it), or the first copies made of them."""
    n = ships.model.parameters
    copies = (2 if bf16 else 4) * n if ships.lora else 4 * n * (1 + len(ships.roles))
    return {"weights as read": 4 * n, "their first copies": max(4 * n, copies)}


def _saving(ships: Fleet, options: Resolved) -> dict[str, int]:
    """An adapter that can be merged is merged into whole weights in float32, which are then put into a model to be written."""
    merged = ships.lora and options[AdapterConfig].mergeable and not ships.roles[0].wants & {"score", "steps"}
    return {
        "merged weights": 4 * ships.model.parameters * merged,
        "the model to be written": 4 * ships.model.parameters * merged,
    }


def _update(ships: Fleet, options: Resolved, heavy: Pass, *, bf16: bool, gpu: bool) -> dict[str, int]:
    """One micro-batch forward and backward, of the network that keeps most."""
    t, shape = options[TrainingConfig], ships.model.shape
    kept = activations(ships, heavy, bf16=bf16, checkpointing=t.gradient_checkpointing, gpu=gpu)
    found = {KEPT: kept}
    if bf16 and not ships.lora:
        found["bf16 copies of the weights"] = 2 * (shape.matrices + shape.head)
    if any(role.wants & {"logp", "entropy"} for role in ships.roles):
        chunk = min(t.logit_chunk or (1024 if gpu else 128), max(1, heavy.logits))
        found["one chunk of logits"] = 4 * 4 * chunk * min(WIDE if gpu else WORDS["cpu"], shape.vocabulary)
        whole = not ships.lora
        found["gradient of the output head"] = 2 * 4 * shape.head * whole
    return found


def _checkpoint(ships: Fleet, options: Resolved) -> dict[str, int]:
    """All files of a checkpoint are put together in memory before they are written, each from two more copies of it."""
    saved = sum(4 * role.trained + optimizer_bytes(options[OptimizerConfig], ships.model, role) for role in ships.roles)
    largest = max(optimizer_bytes(options[OptimizerConfig], ships.model, role) for role in ships.roles)
    return {"a checkpoint's files": saved + 2 * largest}


def _rollout(ships: Fleet, options: Resolved, eaten: Meal, *, bf16: bool) -> dict[str, int]:
    """Prompts of one prefill pass, and logits of all rows with what sampling makes of them."""
    o, shape = options[RolloutConfig], ships.model.shape
    tokens = min(4096, max(eaten.prompts) * eaten.portion) if eaten.prompts else 0
    prefill = tokens * (6 * shape.width + 3 * shape.inner) * (2 if bf16 else 4)
    return {"logits of sampling": 3 * 4 * o.rollout_slots * shape.vocabulary, "prefill": prefill}


def fitting(memory_bytes: int, parts: Mapping[str, int]) -> bool:
    """Whether a run fits into so much memory, a tenth of it left alone."""
    return sum(parts.values()) <= 0.9 * memory_bytes
