"""SFT, reward model, DPO and KTO against TRL 1.16."""

import torch

import world
from ours import Case, batch_of, causal, learner, logprobs, masked, named, recorded, scorer


def sft():
    from plaudit.algorithms.sft import SFT, SFTConfig

    found, case, policy = recorded("sft"), Case("SFT"), causal("policy", 1)
    assert world.digest(policy.base.model) == found["weights"]
    rows, before = world.demonstrations(4 * world.STEPS), named(policy)
    batches = [batch_of(rows[i : i + 4]) for i in range(0, len(rows), 4)]
    case.add("log-probability of each token", masked(logprobs(policy, batches[0]), batches[0]), found["logprobs"])
    made = learner(SFT(SFTConfig()), {"policy": policy}, found["options"])
    losses = [made.step(batch)["loss"] for batch in batches]
    case.trajectory(losses, world.changes(named(policy), before), found)
    return case.lines


def pair_batch(rows, **sides):
    """Pairs as a batch: the chosen answer has place 0; sides are given by pair."""
    flat_rows = [(prompt, answer) for prompt, chosen, rejected in rows for answer in (chosen, rejected)]
    return batch_of(
        flat_rows,
        group=[i // 2 for i in range(len(flat_rows))],
        place=[i % 2 for i in range(len(flat_rows))],
        sides={name: [value for value in values for _ in range(2)] for name, values in sides.items()},
    )


def reward():
    from plaudit.algorithms.reward import RewardModel, RewardModelConfig

    lines = []
    for name, found in recorded("reward").items():
        if name == "source":
            continue
        o, case, network = found["options"], Case("Reward", name), scorer("reward", 2)
        assert world.digest(world.scorer(2)) == found["weights"]
        rows, before, batches = world.pairs(4 * world.STEPS), named(network), []
        for i in range(0, len(rows), 4):
            margins = [0.1 * (k % 3) if o["margins"] else 0.0 for k in range(i, i + 4)]
            batches.append(pair_batch(rows[i : i + 4], margin=margins, probability=[1.0] * 4))
        with torch.no_grad():
            score = network(batches[0], {"score"}).score
        case.add("score of each answer", torch.cat([score[::2], score[1::2]]), found["scores"])
        algorithm = RewardModel(RewardModelConfig(center_rewards_coefficient=o["center_rewards_coefficient"]))
        made = learner(algorithm, {"reward": network}, o)
        losses = [made.step(batch)["loss"] for batch in batches]
        case.trajectory(losses, world.changes(named(network), before), found)
        lines += case.lines
    return lines
