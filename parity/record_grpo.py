"""TRL's GRPOTrainer on given answers: its losses, clipping levels and scalings. Runs in the environment of trl-1.16.txt."""

from trl import GRPOConfig, GRPOTrainer

import record
from record_online import run

# num_iterations 2: every other step has a ratio that is not 1; the learning rate then stays as it is, since Plaudit counts
# a schedule in batches and TRL in optimiser steps.
TWICE = {"num_iterations": 2, "lr_scheduler_type": "constant"}
VARIANTS = {
    "dapo": {"loss_type": "dapo"},
    "dapo, two passes": {"loss_type": "dapo", **TWICE},
    "grpo": {"loss_type": "grpo", **TWICE},
    "bnpo": {"loss_type": "bnpo", **TWICE},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none", **TWICE},
    "grpo, sequence ratio": {"loss_type": "grpo", "importance_sampling_level": "sequence", **TWICE},
    "dapo, scaled by batch": {"loss_type": "dapo", "scale_rewards": "batch", "epsilon_high": 0.28, **TWICE},
    "dapo, plain KL": {"loss_type": "dapo", "use_bias_correction_kl": False, **TWICE},
    "no KL term": {"loss_type": "dapo", "beta": 0.0},
}

if __name__ == "__main__":
    record.save("grpo", {name: run(GRPOTrainer, GRPOConfig, **options) for name, options in VARIANTS.items()})
