"""TRL's RLOOTrainer on given answers. Runs in the environment of trl-1.16.txt."""

from trl import RLOOConfig, RLOOTrainer

import record
from record_online import run

TWICE = {"num_iterations": 2, "lr_scheduler_type": "constant"}
VARIANTS = {
    "one pass": {},
    "two passes": TWICE,
    "normalised": {"normalize_advantages": True, **TWICE},
}

if __name__ == "__main__":
    record.save("rloo", {name: run(RLOOTrainer, RLOOConfig, **options) for name, options in VARIANTS.items()})
