"""TRL 1.12's PPOTrainer on given answers. Runs in the environment of trl-1.12.txt.

Answers are not sampled: `batch_generation` is replaced by one that gives fixed answers and the policy's logits for them, as
generation would have (the trainer takes its old log-probabilities from those). Everything after that is TRL's own, and is read
from the trainer's local variables when it whitens advantages and when it goes backward.

full    answers that fill the batch and never end, as in TRL's own example (response_length tokens, no stop token)
ragged  answers that end with EOS at different places, padded to the longest; pad and EOS are different tokens
"""

import sys

import torch
import transformers
from datasets import Dataset
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

import record
import world

ROWS, LENGTH = 6, 5
OPTIONS = {"num_ppo_epochs": 2, "kl_coef": 0.05, "cliprange": 0.2, "cliprange_value": 0.2, "vf_coef": 0.1, "gamma": 1.0}
OPTIONS |= {"lam": 0.95, "temperature": 0.7}
KEPT = ("logprobs", "ref_logprobs", "values", "scores", "non_score_reward", "rewards", "returns", "sequence_lengths")


class Answers:
    """Stands in for sampling, and remembers in which order the rows came."""

    def __init__(self, rows):
        self.rows, self.order = rows, []

    def __call__(self, model, queries, chunk, pad_token_id, generation_config):
        answers = []
        for query in queries.tolist():
            step, place = next(
                (step, i) for step, rows in enumerate(self.rows) for i, (prompt, _) in enumerate(rows) if prompt == query
            )
            self.order.append([step, place])
            answers.append(self.rows[step][place][1])
        both = torch.cat([queries, torch.tensor(answers)], dim=1)
        logits = ppo_trainer.forward(model, both, pad_token_id).logits[:, queries.shape[1] - 1 : -1]
        return both, logits / (generation_config.temperature)


def run(rows, steps, **options):
    policy, reference, critic, judge = world.causal(1), world.causal(3), world.scorer(4), world.scorer(2)
    prompts = [{"input_ids": prompt} for step in rows for prompt, _ in step]
    args = record.arguments(
        PPOConfig,
        total_episodes=len(prompts),
        per_device_train_batch_size=ROWS,
        local_rollout_forward_batch_size=ROWS,
        response_length=len(rows[0][0][1]),
        num_sample_generations=0,
        **OPTIONS,
        **options,
    )
    trainer = PPOTrainer(
        args,
        world.tokenizer(),
        policy,
        reference,
        judge,
        Dataset.from_list(prompts),
        critic,
        eval_dataset=Dataset.from_list(prompts[:1]),
    )
    before = {name: world.weights(model) for name, model in (("policy", policy), ("critic", critic))}
    digests = {"policy": world.digest(policy), "reference": world.digest(reference), "critic": world.digest(critic)}
    given, kept, losses = Answers(rows), [], []
    whiten, backward = ppo_trainer.masked_whiten, trainer.accelerator.backward

    def whitening(values, mask, shift_mean=True):
        found = whiten(values, mask, shift_mean)
        local = sys._getframe(1).f_locals
        kept.append({name: local[name].tolist() for name in KEPT} | {"raw": values.tolist(), "advantages": found.tolist()})
        return found

    def going_back(loss, **kwargs):
        local = sys._getframe(1).f_locals
        losses.append([local["pg_loss"].item(), args.vf_coef * local["vf_loss"].item()])
        backward(loss, **kwargs)

    ppo_trainer.batch_generation, ppo_trainer.masked_whiten, trainer.accelerator.backward = given, whitening, going_back
    trainer.train()
    ppo_trainer.masked_whiten = whiten
    found = {"options": {**record.OPTIMIZER, "max_grad_norm": 0.0, **OPTIONS}, "weights": digests}
    found |= {"order": given.order, **kept[0], "scores": [batch["scores"] for batch in kept], "losses": losses}
    if steps == 1:
        found["answers"] = [answer for _, answer in rows[0]]
    else:
        moved = {
            name: world.changes(world.weights(model), before[name]) for name, model in (("policy", policy), ("critic", critic))
        }
        found["changes"] = {f"{role}.{name}": numbers for role, some in moved.items() for name, numbers in some.items()}
    return found


def ragged():
    """One batch of answers of different lengths, all ended by EOS and padded to the longest."""
    rows = [
        (prompt, world.answer(f"ragged/{i}", 2, LENGTH + 1)) for i, (prompt, _) in enumerate(world.full_rollouts(0, ROWS, 1))
    ]
    width = max(len(answer) for _, answer in rows)
    return [(prompt, answer + [world.PAD] * (width - len(answer))) for prompt, answer in rows]


if __name__ == "__main__":
    torch.manual_seed(0)
    transformers.set_seed(0)
    full = run([world.full_rollouts(step, ROWS, LENGTH) for step in range(world.STEPS)], world.STEPS)
    record.save("ppo", {"full": full, "ragged": run([ragged()], 1, stop_token="eos")})
