"""Which networks a run holds: what is trained, what is frozen, what answers, what rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plaudit.algorithms.base import Algorithm
from plaudit.config import Resolved
from plaudit.models.adapters import AdapterConfig
from plaudit.models.families import architecture, unknown
from plaudit.models.lean import lean_layers
from plaudit.models.outline import Outline, outline
from plaudit.models.scorer import reward_info
from plaudit.rewards.mix import RewardConfig
from plaudit.training.assemble import ModelConfig
from plaudit.training.guard import GuardConfig
from plaudit.training.options import OptimizerConfig


@dataclass(frozen=True)
class Role:
    """A network that is trained. `trained` numbers get gradients; `whole`: they are all of its model's."""

    name: str
    wants: frozenset[str]
    trained: int
    whole: bool
    adapter: int = 0
    """Numbers of its adapter's matrices, which add FLOPs."""


@dataclass(frozen=True)
class Judge:
    """A reward model: an adapter on the policy's base, or a model of its own beside it (`own` numbers)."""

    model: Outline
    own: int
    adapter: int


@dataclass(frozen=True)
class Fleet:
    """All networks of a run.

    start   lowest layer that adapters touch; the layers below are run once for all networks that share the base
    """

    model: Outline
    roles: tuple[Role, ...]
    judges: tuple[Judge, ...]
    reference: bool
    online: bool
    lora: bool
    start: int
    lean: bool = False
    """Layers are run by `models/lean.py`."""
    notes: tuple[str, ...] = ()
    columns: int = 0
    """Columns of x A^T of all adapters of one layer."""
    independent: Judge | None = None
    """A reward model that scores evaluations only."""

    @property
    def trained(self) -> int:
        """Numbers that get gradients, in all roles."""
        return sum(role.trained for role in self.roles)


def fleet(algorithm: Algorithm, options: Resolved, model: Outline) -> Fleet:
    """The networks that `training.build` would make."""
    adapter = options[AdapterConfig]
    judges: list[Judge] = []
    notes: list[str] = []
    independent: Judge | None = None
    if algorithm.eats == "prompts":
        for path in options[RewardConfig].reward_models:
            judges.append(_judge("reward_model_path", path, options, model, notes, judges))
        if beside := options[GuardConfig].independent_reward_model_path:
            independent = _judge("independent_reward_model_path", beside, options, model, notes, judges)
    roles = tuple(_role(name, wants, algorithm, adapter, model) for name, wants in algorithm.networks.items())
    layers = model.shape.layers
    start = max(0, layers - adapter.lora_layers) if adapter.use_peft and adapter.lora_layers else 0
    return Fleet(
        model,
        roles,
        tuple(judges),
        algorithm.reference,
        algorithm.eats == "prompts",
        adapter.use_peft,
        start,
        runs_lean(model, adapter),
        tuple(notes),
        model.columns(adapter) if adapter.use_peft else 0,
        independent,
    )


def runs_lean(model: Outline, adapter: AdapterConfig) -> bool:
    """As `models.base.Base.lean` will say."""
    known = unknown(model.config) is None and lean_layers(architecture(model.config))
    strange = adapter.use_peft and (adapter.peft_type != "lora" or adapter.use_dora)
    return known and not strange and not (adapter.load_in_4bit or adapter.load_in_8bit)


def _role(name: str, wants: frozenset[str], algorithm: Algorithm, adapter: AdapterConfig, model: Outline) -> Role:
    width = model.shape.width
    head = width + 1 if wants & {"score", "steps", "value"} else width * algorithm.width if "classes" in wants else 0
    if adapter.use_peft:
        size = model.adapter(adapter)
        return Role(name, wants, size + head, False, size if adapter.peft_type in ("lora", "bottleneck") else 0)
    return Role(name, wants, model.parameters + head - (model.output_only if head else 0), True)


def _judge(option: str, path: str, options: Resolved, model: Outline, notes: list[str], others: Sequence[Judge]) -> Judge:
    """One reward model by its folder; as if it were an adapter on the policy's base where the folder is not there yet.

    `others` are those before it: adapters on one base that is not the policy's have it once (see `Assembly.reward`).
    """
    adapter, named = options[AdapterConfig], options[ModelConfig].model_name_or_path
    if not (Path(path) / "reward.json").exists():
        kind = "an adapter on the same base" if adapter.use_peft else "a model like the policy"
        notes.append(f"{option} {path} is not there yet: it is taken to be {kind}")
        return Judge(model, 0 if adapter.use_peft else model.parameters, model.adapter(adapter) if adapter.use_peft else 0)
    info = reward_info(Path(path))
    own = AdapterConfig(**info.lora) if info.adapter else adapter
    if info.adapter and adapter.use_peft and _same(info.base, named):
        return Judge(model, 0, model.adapter(own))
    other = outline(info.base if info.adapter else path)
    shared = info.adapter and any(one.own and one.adapter and _same(one.model.name, other.name) for one in others)
    return Judge(other, 0 if shared else other.parameters, other.adapter(own) if info.adapter else 0)


def _same(one: str, other: str) -> bool:
    return one == other or Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def optimizer_bytes(o: OptimizerConfig, model: Outline, role: Role) -> int:
    """Bytes of an optimiser's state for one role, in float32 (see `training.optimizers`); an average's copy included."""
    average = 4 * role.trained if o.ema_decay else 0
    if o.optim == "adamw_torch":
        return 8 * role.trained + average
    if o.optim == "sgd":
        return 4 * role.trained * (o.sgd_momentum > 0) + average
    if o.optim == "adafactor":
        rows = model.rows_and_columns if role.whole else role.trained // 16  # of rank 16, which is the default
        return 4 * rows + average
    hidden = sum(one.inputs * one.outputs for one in model.linear) if role.whole else role.adapter
    return 4 * hidden + 8 * max(0, role.trained - hidden) + average
