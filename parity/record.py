"""What the record_*.py scripts share: TRL's arguments, and the file that a run leaves. Runs in a TRL environment only."""

import datetime
import importlib.metadata
import pathlib
import platform
import sys
import tempfile

import torch
import transformers

import world

RECORDED = pathlib.Path(__file__).parent / "recorded"
OPTIMIZER = {"learning_rate": 2e-3, "adam_epsilon": 1e-5, "weight_decay": 0.0, "max_grad_norm": 1.0}
PACKAGES = ("trl", "transformers", "torch", "accelerate", "datasets", "tokenizers", "numpy")


def arguments(config, **options):
    """A config of TRL: float32 on a CPU, rows in their own order, five optimiser steps, nothing saved and nothing reported."""
    return config(
        **{
            "output_dir": tempfile.mkdtemp(),
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "optim": "adamw_torch",
            "lr_scheduler_type": "linear",
            "max_steps": world.STEPS,
            "per_device_train_batch_size": 4,
            "train_sampling_strategy": "sequential",
            "report_to": "none",
            "save_strategy": "no",
            "logging_strategy": "no",
            "disable_tqdm": True,
            "seed": 0,
            **OPTIMIZER,
            **options,
        }
    )


def save(name, content):
    """recorded/NAME.json: the numbers, after where they come from."""
    processor = platform.processor() or platform.machine()
    source = {
        "command": f"make parity ({' '.join(pathlib.Path(word).name for word in sys.argv)})",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.system()} {processor}, Python {platform.python_version()}",
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    }
    RECORDED.mkdir(exist_ok=True)
    world.write(RECORDED / f"{name}.json", {"source": source, **content})
    print(f"recorded/{name}.json written")


def trajectory(losses, model, before):
    """Losses of each optimiser step, and how far each weight moved."""
    return {"losses": losses, "changes": world.changes(world.weights(model), before)}


torch.manual_seed(0)
torch.set_num_threads(1)
transformers.utils.logging.set_verbosity_error()
