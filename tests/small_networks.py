"""Tiny float64 networks, batches and learners for the tests of models, training and laws. Everything follows from seeds."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from plaudit.config import options as options_of
from plaudit.core.batch import from_rows
from plaudit.data.aspects import EncodedAspects, collate_aspects
from plaudit.data.collate import collate_labels, collate_steps
from plaudit.data.encode import Encoded
from plaudit.data.template import Row
from plaudit.models.base import AdapterConfig, Base
from plaudit.models.heads import OrdinalHead, class_head, scalar_head
from plaudit.models.network import Network
from plaudit.models.tiny import tiny_tokenizer
from plaudit.registry import find, names
from plaudit.schema import Label, Prompt, Rated
from plaudit.training.learner import Learner
from plaudit.training.options import OptimizerConfig

VOCABULARY = 29
CLASSES = 3
F64 = torch.float64
KINDS = names("algorithms")
"""Every algorithm that is registered: what holds for all is tested for a new one without its being listed."""
ON = {
    "sft": {"entropy_coef": 0.1},
    "reward": {"center_rewards_coefficient": 0.01},
    "ppo": {"entropy_coef": 0.01},
    "grpo": {"entropy_coef": 0.01, "beta": 0.05, "delta": 1.5, "epsilon_high": 0.3},
    "reinforce_pp": {"entropy_coef": 0.01, "use_group_baseline": True},
    "dpo": {"rpo_alpha": 0.1, "label_smoothing": 0.1},
    "simpo": {"cpo_alpha": 0.1},
    "classify": {"label_smoothing": 0.1, "class_weights": "balanced"},
}
"""Options that switch on the terms of a loss that are off by default."""


def kind_of(name):
    """The algorithm's class."""
    return find("algorithms", name)


def has(name, option):
    """Whether the algorithm has this option."""
    return option in options_of([kind_of(name).Config])


def passes(name, count):
    """Options for so many passes over a batch, where the algorithm can make more than one."""
    return {option: count for option in ("num_ppo_epochs", "num_iterations") if has(name, option)}


def roles(name):
    """Roles of an algorithm, and the width of the head that each has; 0 is none."""
    widths = {"value": 1, "score": 1, "steps": 1, "classes": CLASSES}
    return {role: max((widths.get(want, 0) for want in wants), default=0) for role, wants in kind_of(name).networks.items()}


def llama(seed=0, dtype=F64, **options):
    """A random Llama of 3 layers; weights large enough for opinions, biases and norms not trivial."""
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
        "pad_token_id": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**{**settings, **options}))
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.data.add_(torch.randn_like(weight) * 0.2)
    return model.to(dtype).eval()


@torch.no_grad()
def by_transformers(model, scalar, batch, temperature=1.0):
    """The slow twin: every row alone through the whole Hugging Face model, without padding, one token at a time."""
    logp, entropy, value = (torch.zeros(batch.ids.shape, dtype=F64) for _ in range(3))
    score = torch.zeros(len(batch), dtype=F64)
    for r in range(len(batch)):
        length = int(batch.length[r])
        out = model(batch.ids[r : r + 1, :length], output_hidden_states=True, use_cache=False)
        last = out.hidden_states[-1][0]
        for t in range(1, length):
            if batch.mask[r, t]:
                p = (out.logits[0, t - 1] / temperature).softmax(-1)
                logp[r, t] = p[batch.ids[r, t]].log()
                entropy[r, t] = -(p * p.log()).sum()
                value[r, t] = scalar(last[t - 1])[0]
        score[r] = scalar(last[length - 1])[0]
    return logp, entropy, value, score


def base(seed=0, dtype=F64, model=None, **options):
    """A base with LoRA options as given (rank 4 unless said otherwise)."""
    lora = AdapterConfig(**{"use_peft": True, "lora_r": 4, "lora_alpha": 8.0, **options})
    return Base(llama(seed, dtype) if model is None else model, tiny_tokenizer(), "digest-of-the-base", "base", lora)


def head(seed, dtype=F64, width=16, classes=1):
    """A head that is not 0: a scalar one, or one for classes."""
    layer = (scalar_head(width) if classes == 1 else class_head(width, classes)).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=dtype))
    return layer


def adapter(on, role, *, scalar=0, seed=None, **settings):
    """A network whose adapter does something: what is 0 at first (B, W_up) is drawn too, and what is 1 is moved.

    `scalar` is the width of its head; 0 is none.
    """
    seed = sum(map(ord, role)) if seed is None else seed
    on.add_adapter(role, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in on.adapter_parameters(role).items():
            drawn = torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.2
            if "lora_B" in name or ".up." in name:
                p.copy_(drawn)
            elif "lora_A" not in name:
                p.add_(drawn)
    return Network(role, on, adapter=role, head=head(seed, on.model.dtype, classes=int(scalar)) if scalar else None, **settings)


def whole(role, *, scalar=0, dtype=F64, seed=0, **settings):
    """A network that owns all its weights."""
    own = head(seed, dtype, classes=int(scalar)) if scalar else None
    return Network(role, base(seed, dtype), whole=True, head=own, **settings)


def rows(count, seed=0, prompt=3, shortest=1, longest=9):
    """Ids and masks of `count` ragged rows: a prompt, then an answer that ends with EOS (which is the pad id too)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high, size):
        return torch.randint(low, high, (size,), generator=generator).tolist()

    ids, mask = [], []
    for _ in range(count):
        before, answer = prompt + draw(0, 3, 1)[0], draw(shortest, longest + 1, 1)[0]
        ids.append([*draw(3, VOCABULARY, before + answer - 1), 2])
        mask.append([0] * before + [1] * answer)
    return ids, mask


def demonstrations(count=6, seed=0, dtype=F64, weights=True):
    """An SFT batch; one row in three has a gap in its mask, as in a dialogue of several turns."""
    ids, mask = rows(count, seed)
    for r in range(0, count, 3):
        first = mask[r].index(1)
        if sum(mask[r]) > 3:
            mask[r][first + 1] = 0
    sides = {"weight": [0.5 + r % 3 for r in range(count)]} if weights else {}
    return from_rows(ids, mask, key=[1000 + r for r in range(count)], sides=sides, dtype=dtype)


def pairs(count=4, seed=0, dtype=F64, weights=True):
    """A reward-model batch of `count` pairs with margins and soft labels."""
    ids, mask = rows(2 * count, seed)
    sides = {
        "margin": [0.1 * (r // 2) for r in range(2 * count)],
        "probability": [1.0 if r // 2 % 2 else 0.8 for r in range(2 * count)],
    }
    if weights:
        sides["weight"] = [0.5 + r // 2 for r in range(2 * count)]
    group = [r // 2 for r in range(2 * count)]
    place = [r % 2 for r in range(2 * count)]
    return from_rows(ids, mask, group=group, place=place, key=[2000 + r for r in range(2 * count)], sides=sides, dtype=dtype)


def rankings(sizes=(2, 3, 2, 4), seed=0, dtype=F64, margins=True):
    """A reward-model batch of rankings of these sizes, weighted; pairs may have margins and soft labels."""
    where = [(group, place) for group, size in enumerate(sizes) for place in range(size)]
    ids, mask = rows(len(where), seed)
    pair = [float(margins and sizes[group] == 2) for group, _ in where]
    sides = {
        "margin": [0.2 * p for p in pair],
        "probability": [1.0 - 0.2 * p for p in pair],
        "weight": [0.5 + group for group, _ in where],
    }
    group, place = zip(*where, strict=True)
    return from_rows(ids, mask, group=group, place=place, key=[2000 + r for r in range(len(ids))], sides=sides, dtype=dtype)


def rollouts(count=7, seed=0, dtype=F64):
    """Answers with rewards, before annotation: two siblings a prompt, three for the last where the count is odd."""
    ids, mask = rows(count, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    group = [min(r // 2, max(0, count // 2 - 1)) for r in range(count)]
    sides = {
        "reward": torch.randn(count, generator=generator, dtype=dtype).tolist(),
        "truncated": [float(r == 1) for r in range(count)],
        "limit": [9.0] * count,
    }
    place = [r - group.index(group[r]) for r in range(count)]
    return from_rows(ids, mask, group=group, place=place, sides=sides, dtype=dtype)


def labels(count=5, seed=0, dtype=F64):
    """A KTO batch of labelled answers, each behind the next prompt too."""
    ids, mask = rows(count, seed)
    rows_ = [Row(i, m, m.index(1)) for i, m in zip(ids, mask, strict=True)]
    encoded = [Encoded((row,), r, weight=0.5 + r % 3, label=float(r % 2)) for r, row in enumerate(rows_)]
    return collate_labels(encoded, mismatched=True, dtype=dtype)


def classes(count=7, seed=0, dtype=F64):
    """Labelled rows of three classes, weighted."""
    ids, mask = rows(count, seed)
    encoded = [
        Encoded((Row(i, m, m.index(1)),), r, weight=0.5 + r % 2, label=float((r * r) % CLASSES))
        for r, (i, m) in enumerate(zip(ids, mask, strict=True))
    ]
    return collate_labels(encoded, dtype=dtype)


def aspects(count=7, seed=0, dtype=F64):
    """Answers rated by three aspects, none of them by all rows; weighted."""
    ids, mask = rows(count, seed)
    encoded = [
        EncodedAspects((Row(i, m, m.index(1)),), r, weight=0.5 + r % 2, scores=RATED[r % len(RATED)])
        for r, (i, m) in enumerate(zip(ids, mask, strict=True))
    ]
    return collate_aspects(encoded, dtype=dtype)


def steps(count=7, seed=0, dtype=F64):
    """Answers whose steps are judged, some on their last token, some before it; weighted."""
    ids, mask = rows(count, seed, shortest=2)
    encoded = []
    for r, (i, m) in enumerate(zip(ids, mask, strict=True)):
        marks = tuple((t, float((t + r) % 3 == 0) or 0.25 * (r % 2)) for t in range(m.index(1), len(i), 2))
        encoded.append(Encoded((Row(i, m, m.index(1)),), r, weight=0.5 + r % 2, marks=marks))
    return collate_steps(encoded, dtype=dtype)


RATED = ({"helpful": 1.0, "safe": 3.0}, {"helpful": 4.0, "brief": 2.0}, {"brief": 0.5, "safe": 1.0}, {"helpful": 2.5})
MEALS = {
    "aspects": aspects,
    "steps": steps,
    "demonstrations": demonstrations,
    "rankings": pairs,
    "labels": labels,
    "prompts": rollouts,
}
OWN_MEALS = {"classify": classes, "rating": classes}
"""Algorithms whose labels are not thumbs."""
BATCHES = {name: OWN_MEALS.get(name, MEALS[kind_of(name).eats]) for name in KINDS}
LABELS = [float((r * r) % CLASSES) for r in range(7)] + [2.0]
STUDIES = {"classify": LABELS, "rating": LABELS}
"""The labels of the training rows, for algorithms that look at them first."""


def algorithm(kind, **options):
    """The algorithm with every term of its loss switched on, unless options say otherwise."""
    made = kind_of(kind)
    chosen = made.Config(**{**ON.get(kind, {}), **passes(kind, 2), **options})
    found = made(chosen, temperature=0.9 if made.eats == "prompts" else 1.0)
    if made.eats == "aspects":
        found.study([Rated(Prompt(text="q"), "a", scores=scores) for scores in RATED], [])
    if kind in STUDIES:
        found.study([Label(Prompt(text="q"), "a", value) for value in STUDIES[kind]], [])
    return found


def learner(kind, *, options=None, optimizer=None, full=False, dtype=F64, lora=None, micro_batch=8, total_steps=10, **settings):
    """A learner of this algorithm over tiny networks: adapters on one base, or (`full`) networks of their own."""
    shared = base(dtype=dtype, **(lora or {}))
    networks = {
        role: whole(role, scalar=scalar, dtype=dtype, **settings) if full else adapter(shared, role, scalar=scalar, **settings)
        for role, scalar in roles(kind).items()
    }
    made = algorithm(kind, **(options or {}))
    if made.thresholds:
        for network in networks.values():
            drawn, network.head = network.head, OrdinalHead(16, made.thresholds).to(dtype)
            network.head.weight.data.copy_(drawn.weight)
    return Learner(
        made,
        networks,
        OptimizerConfig(**{"learning_rate": 1e-3, "max_grad_norm": 0.0, **(optimizer or {})}),
        total_steps=total_steps,
        micro_batch=micro_batch,
        reference=Network("reference", shared, **settings) if made.reference else None,
    )


def gradients(learner):
    """All gradients that the last backward pass left behind, in one vector."""
    found = [
        p.grad.flatten() for network in learner.networks.values() for p in network.parameters().values() if p.grad is not None
    ]
    return torch.cat(found)


def weights(learner):
    """All trained weights, in one vector."""
    return torch.cat([p.detach().flatten() for n in learner.networks.values() for p in n.parameters().values()]).clone()
