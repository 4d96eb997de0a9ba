"""What the peers' scripts share: the job they are given, a clock that reads the time after each step, the reward of GRPO.

Runs in a peer's own environment and imports nothing of Plaudit. A script is called `python SCRIPT WORK RESULT`; WORK is the
JSON file that Plaudit's side reads too (src/plaudit/bench/work.py says what its keys mean).
"""

import importlib.metadata
import json
import pathlib
import sys
import tempfile
import time

import torch


def work():
    """The job, as a dict."""
    return json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))


def finish(package, dtype, clock):
    """Write the result: what was measured, without the warm-up."""
    warmup = work()["warmup"]
    kept = {name: getattr(clock, name)[warmup:] for name in ("seconds", "tokens", "losses")}
    device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    found = {"version": importlib.metadata.version(package), "dtype": dtype, **kept, "device_bytes": device}
    pathlib.Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


def variety(completions, **columns):
    """A reward that costs nothing: the share of an answer's characters that are different. Plaudit's side calls it too."""
    return [len(set(text)) / max(1, len(text)) for text in completions]


class Clock:
    """Seconds from the end of one step to the end of the next: whatever a step needs is in it, its data too."""

    def __init__(self):
        self.seconds, self.tokens, self.losses, self.step, self.last = [], [], [], [], 0.0

    def start(self):
        self.last, self.step = time.perf_counter(), []

    def passed(self, tokens, loss=None):
        """A part of the step under way: its tokens, and its share of the loss."""
        self.step.append((tokens, loss))

    def stop(self):
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.tokens.append(sum(tokens for tokens, _ in self.step))
        losses = [loss for _, loss in self.step]
        self.losses.append(None if None in losses else sum(losses))
        self.last, self.step = now, []


def callback(clock):
    """A callback of transformers' trainers that stops the clock after each optimiser step (of PPO: after each batch)."""
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            clock.start()

        def on_step_end(self, args, state, control, **kwargs):
            clock.stop()

    return Stop()


def arguments(config, job, **options):
    """A config of TRL for this job. What is not named here is TRL's default.

    gradient_checkpointing is off, as it is on Plaudit's side: recomputing would cost a third more time for less memory.
    bf16 stays TRL's default unless the job names a precision.
    """
    precision = {} if job["dtype"] == "default" else {"bf16": job["dtype"] == "bf16"}
    return config(
        **{
            "output_dir": tempfile.mkdtemp(),
            "use_cpu": not torch.cuda.is_available(),
            "gradient_checkpointing": False,
            "learning_rate": 1e-6,
            "lr_scheduler_type": "constant",
            "per_device_train_batch_size": job["batch"],
            "gradient_accumulation_steps": max(1, len(job["rows"]) * job["siblings"] // job["batch"]),
            "report_to": "none",
            "save_strategy": "no",
            "logging_strategy": "no",
            "disable_tqdm": True,
            "seed": job["seed"],
            **precision,
            **options,
            **job["options"],
        }
    )


def dtype_of(args):
    """How the trainer computed: weights are fp32 always."""
    return "bf16" if args.bf16 else "fp32"


def adapters(job, task="CAUSAL_LM"):
    """LoRA on all linear layers, with the same rank and scale as Plaudit's default; None where all weights are trained."""
    if not job["peft"]:
        return None
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type=task)


def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def language_model(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def scorer(folder, pad):
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = pad
    return model


class Counting:
    """Before a trainer of transformers: the trainer as it is, whose clock gets each step's tokens and loss.

    class Trainer(side.Counting, SFTTrainer): ...
    """

    clock = Clock()

    def tokens(self, inputs):
        """Tokens of one pass."""
        return int(inputs["attention_mask"].sum())

    def training_step(self, model, inputs, *args, **kwargs):
        loss = super().training_step(model, inputs, *args, **kwargs)  # type: ignore[misc]  # the trainer beside it has one
        self.clock.passed(self.tokens(inputs), float(loss))
        return loss
