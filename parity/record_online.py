"""What record_grpo.py and record_rloo.py share: answers are not sampled but given, and everything after that is TRL's own."""

import tempfile

import torch
from datasets import Dataset

import record
import world


def toy_reward(completion_ids, **columns):
    return [world.reward(ids) for ids in completion_ids]


def watched(trainer_class):
    """A trainer that is given the answers of each batch instead of sampling them, and writes down what it computes."""

    class Watched(trainer_class):
        def __init__(self, *args, **kwargs):
            self.batches, self.losses, self.first = 0, [], None
            super().__init__(*args, **kwargs)

        def _generate_single_turn(self, prompt_ids, *args, **kwargs):
            rows = world.rollouts(self.batches)
            self.batches += 1
            flat = [(prompt, answer) for prompt, answers in rows for answer in answers]
            assert [prompt for prompt, _ in flat] == prompt_ids, "the prompts come in another order than they were made in"
            answers = [answer for _, answer in flat]
            return (answers, None) if trainer_class.__name__ == "GRPOTrainer" else answers

        def _get_per_token_logps_and_entropies(self, *args, **kwargs):
            found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
            self.latest = found[0].detach().clone()
            return found

        def _compute_loss(self, model, inputs):
            loss = super()._compute_loss(model, inputs)
            self.losses.append(loss.item())
            self.first = self.first or {**inputs, "logprobs": self.latest}
            return loss

    return Watched


def run(trainer_class, config, **options):
    """Five optimiser steps on given answers; the first batch's log-probabilities and advantages."""
    model, folder = world.causal(1), tempfile.mkdtemp()
    world.causal(3).save_pretrained(folder)
    model.config._name_or_path = folder  # where the trainer takes its reference from
    before, digest = world.weights(model), world.digest(model)
    prompts = [world.text(prompt) for step in range(world.STEPS) for prompt, _ in world.rollouts(step)]
    settings = {
        "num_generations": world.SIBLINGS,
        "per_device_train_batch_size": world.PROMPTS * world.SIBLINGS,
        "max_completion_length": 8,
        "temperature": 0.9,
        "beta": 0.05,
        **options,
    }
    trainer = watched(trainer_class)(
        model,
        reward_funcs=toy_reward,
        args=record.arguments(config, shuffle_dataset=False, **settings),
        train_dataset=Dataset.from_list([{"prompt": text} for text in prompts]),
        processing_class=world.tokenizer(),
    )
    trainer.train()
    found = {"options": {**record.OPTIMIZER, **settings}, "weights": digest, **by_row(trainer.first)}
    return found | record.trajectory(trainer.losses, trainer.model, before)


def by_row(first):
    """The numbers of the first batch in the order in which its answers were made: TRL shuffles them."""
    mask = first["completion_mask"].bool()
    answers = [row[some].tolist() for row, some in zip(first["completion_ids"], mask, strict=True)]
    prompts = [row[some].tolist() for row, some in zip(first["prompt_ids"], first["prompt_mask"].bool(), strict=True)]
    made = [(prompt, answer) for prompt, siblings in world.rollouts(0) for answer in siblings]
    rows = [list(zip(prompts, answers, strict=True)).index(row) for row in made]
    found = {"advantages": first["advantages"][rows].tolist()}
    for name, stream in (("logprobs", first["logprobs"]), ("reference", first.get("ref_per_token_logps"))):
        if stream is not None:
            found[name] = [stream[row][mask[row]].tolist() for row in rows]
    return found


torch.manual_seed(0)
