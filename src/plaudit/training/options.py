"""Options that every training verb shares, with Hugging Face's names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from plaudit.config import config
from plaudit.core.schedule import Decay, Schedule, factor


@config
class OptimizerConfig:
    """How weights are changed."""

    optim: Literal["adamw_torch", "adafactor", "sgd", "muon"] = "adamw_torch"
    """AdamW; adafactor (little memory); sgd; muon (matrices of the hidden layers by Muon, the rest by AdamW)."""
    learning_rate: Annotated[float, Gt(0)] | None = None
    """Peak learning rate; none takes the vetted one of the algorithm, by the kind of tuning and the optimiser."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    """Decoupled weight decay (L2 shrinkage) on matrices; vectors are left alone."""
    adam_beta1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Decay of the first moment."""
    adam_beta2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """Decay of the second moment."""
    adam_epsilon: Annotated[float, Gt(0)] = 1e-8
    """Added to the root of the second moment; 1e-5 is what PPO was tuned with."""
    sgd_momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Momentum of optim sgd."""
    muon_momentum: Annotated[float, Ge(0), Lt(1)] = 0.95
    """Momentum (Nesterov's) of optim muon."""
    max_grad_norm: Annotated[float, Ge(0)] = 1.0
    """Gradients of one network are scaled down to this norm; 0 leaves them alone."""
    lr_scheduler_type: Schedule = "linear"
    """After warm-up: constant (or constant_with_warmup), linear, cosine, cosine_with_min_lr, or warmup_stable_decay."""
    warmup_steps: Annotated[int, Ge(0)] = 0
    """Steps over which the learning rate climbs from 0."""
    min_lr_rate: Annotated[float, Ge(0), Le(1)] | None = None
    """Share of the peak that cosine_with_min_lr (none: 0.1) and warmup_stable_decay (none: 0) end at."""
    num_decay_steps: Annotated[int, Ge(1)] | None = None
    """Last steps of warmup_stable_decay, in which the rate falls; none takes a fifth of the run."""
    decay_type: Decay = "1-sqrt"
    """How the rate falls in warmup_stable_decay: linear, cosine or 1-sqrt."""
    ema_decay: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Keep a moving average of the trained weights, which is what is evaluated and saved (0.999, say); 0 is off."""

    def factor(self, step: int, total: int) -> float:
        """What the peak learning rate is multiplied with at a step (0-based)."""
        floor = self.min_lr_rate
        if floor is None:
            floor = 0.1 if self.lr_scheduler_type == "cosine_with_min_lr" else 0.0
        return factor(
            step,
            total=total,
            warmup=self.warmup_steps,
            schedule=self.lr_scheduler_type,
            floor=floor if self.lr_scheduler_type in ("cosine_with_min_lr", "warmup_stable_decay") else 0.0,
            decay_steps=self.num_decay_steps,
            decay=self.decay_type,
        )


@config
class TrainingConfig:
    """How long, in what portions, and what is kept."""

    output_dir: str
    """Folder of the run: config, metrics, checkpoints, the trained model."""
    seed: int = 0
    """Everything random derives from it: order of the data, sampling, adapters, dropout."""
    max_steps: Annotated[int, Ge(1)] | None = None
    """Optimiser steps (for PPO: updates); none goes by num_train_epochs."""
    num_train_epochs: Annotated[float, Gt(0)] = 1.0
    """Passes over the training rows, unless max_steps is given."""
    per_device_train_batch_size: Annotated[int, Ge(1)] = 8
    """Rows (or pairs) in one forward and backward pass; it changes memory and speed, never the gradient."""
    gradient_accumulation_steps: Annotated[int, Ge(1)] = 1
    """Passes in one optimiser step: a step sees this many times per_device_train_batch_size rows, pairs or prompts."""
    per_device_eval_batch_size: Annotated[int, Ge(1)] = 16
    """Rows in one forward pass of an evaluation."""
    bf16: Literal["auto"] | bool = "auto"
    """bf16 matrix products (fp32 weights where they are trained); auto looks at what the machine does fast."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more work."""
    packing: bool = False
    """Lay rows end to end instead of padding them; the gradient is the same. Models of the Llama kind are always run so."""
    share_prompts: bool = False
    """Read a prompt once for all its answers (both sides of a pair, siblings): less work, the same gradient."""
    logit_chunk: Annotated[int, Ge(1)] | None = None
    """Tokens whose logits exist at one time, block by block of the vocabulary; none takes 512 on a CPU and 1024 elsewhere."""
    logging_steps: Annotated[int, Ge(1)] = 1
    """Steps between lines of metrics.jsonl."""
    eval_steps: Annotated[int, Ge(1)] | None = None
    """Steps between evaluations on held-out rows; none evaluates at the end (and, with eval_on_start, the beginning) only."""
    eval_on_start: bool = True
    """Evaluate before the first step too, so that every later evaluation has something to be compared with."""
    save_steps: Annotated[int, Ge(1)] | None = None
    """Steps between checkpoints; none saves with each evaluation, or every 100 steps."""
    save_total_limit: Annotated[int, Ge(1)] = 2
    """Checkpoints that are kept, beside the best one."""
    early_stopping_patience: Annotated[int, Ge(1)] | None = None
    """Stop after this many evaluations without a better one; none never stops early."""
    load_best_model_at_end: bool = True
    """The model that is saved is the one of the best evaluation, not of the last step."""
    max_refused_steps: Annotated[int, Ge(1)] = 3
    """The run stops, with advice, after this many steps in a row whose loss or gradient was not finite."""
    report_to: str | tuple[str, ...] = "none"
    """Trackers that get the figures too: tensorboard, wandb, or module:Class; none sends nothing anywhere."""
    place: str = "local"
    """Where it runs: local is this process."""

    def __post_init__(self) -> None:
        if self.packing and self.share_prompts:
            raise ValueError("packing and share_prompts are two ways to lay out the same rows: set one of them, not both")


@config
class DataConfig:
    """Which rows are trained on."""

    train_file: str | list[Any] | dict[str, Any]
    """File, folder or pattern with rows of a known layout; a list of them; or a mixture, [{path: a.jsonl, weight: 2}, ...]."""
    eval_file: str | list[Any] | dict[str, Any] | None = None
    """The same with held-out rows; none splits them off the training file, by prompt."""
    eval_fraction: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Share of prompts that is split off where there is no eval_file; 0 trains on everything."""
    data_half: Literal["none", "a", "b"] = "none"
    """Train on one half of the prompts only; a and b share none, whatever the seed, so that two independent reward models
    exist: one to optimise, one to measure. Held-out rows stay whole."""
    max_length: Annotated[int, Ge(8)] = 1024
    """Tokens of a row; longer ones are cut or left out (`truncation`), and counted."""
    truncation: Literal["keep_start", "drop", "split"] = "keep_start"
    """keep_start cuts the end off an over-long row; drop leaves the row out; split makes several rows of a long text."""
    streaming: bool = False
    """Read and encode rows when they are needed, for files larger than memory; the batches are the same."""


@config
class RolloutConfig:
    """How answers are sampled while training."""

    num_generations: Annotated[int, Ge(1)] = 1
    """Answers sampled for each prompt."""
    max_completion_length: Annotated[int, Ge(1)] = 128
    """Most tokens of an answer."""
    max_prompt_length: Annotated[int, Ge(1)] = 512
    """Longer prompts are left out, counted and shown; a prompt is never cut."""
    temperature: Annotated[float, Gt(0)] = 1.0
    """Logits are divided by it when sampling and in every log-probability."""
    top_k: Annotated[int, Ge(0)] = 0
    """Sample from the k likeliest tokens; 0 is off, as it should be while training."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    """Sample from the likeliest tokens that hold this much probability; 1 is off, as it should be while training."""
    min_p: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Leave out tokens below this share of the likeliest one's probability; 0 is off."""
    stop: list[str] | None = None
    """Texts that end an answer."""
    rollout_slots: Annotated[int, Ge(1)] = 64
    """Answers that are generated at one time; finished ones make room for waiting ones."""
    num_eval_prompts: Annotated[int, Ge(1)] = 64
    """Held-out prompts answered at each evaluation."""
