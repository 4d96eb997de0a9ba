"""SFT, reward model, DPO and KTO against TRL 1.16."""

from typing import get_args

import torch

import world
from ours import TRAJECTORY, Case, batch_of, causal, frozen, learner, logprobs, masked, named, pair_batch, recorded, scorer
from plaudit.algorithms.dpo import DPO, DPOConfig, LossType
from plaudit.algorithms.kto import KTO, KTOConfig
from plaudit.algorithms.reward import RewardModel, RewardModelConfig
from plaudit.algorithms.sft import SFT, SFTConfig
from plaudit.data.collate import collate_labels
from plaudit.data.encode import Encoded
from plaudit.data.template import Row


def sft():
    found, case, policy = recorded("sft"), Case("SFT"), causal("policy", 1)
    assert world.digest(policy.base.model) == found["weights"]
    rows, before = world.demonstrations(4 * world.STEPS), named(policy)
    batches = [batch_of(rows[i : i + 4]) for i in range(0, len(rows), 4)]
    case.add("log-probability of each token", masked(logprobs(policy, batches[0]), batches[0]), found["logprobs"])
    made = learner(SFT(SFTConfig()), {"policy": policy}, found["options"])
    losses = [made.step(batch)["loss"] for batch in batches]
    case.trajectory(losses, world.changes(named(policy), before), found)
    return case.lines


def reward():
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


def trained(case, algorithm, o, batches, found):
    """Adds five steps of a policy with seed 1 against a reference with seed 3."""
    policy = causal("policy", 1)
    before = named(policy)
    made = learner(algorithm, {"policy": policy}, o, frozen(3))
    losses = [made.step(batch)["loss"] for batch in batches]
    case.trajectory(losses, world.changes(named(policy), before), found)


def answer_logps(network, batch):
    """Log-probability of each whole answer [R]."""
    return (logprobs(network, batch) * batch.mask).sum(-1)


def dpo():
    found, rows = recorded("dpo"), world.pairs(4 * world.STEPS)
    batches = [pair_batch(rows[i : i + 4], margin=[0.0] * 4, probability=[1.0] * 4) for i in range(0, len(rows), 4)]
    case = Case("DPO")
    for name, network in (("policy", causal("policy", 1)), ("reference", frozen(3))):
        logps = answer_logps(network, batches[0])
        case.add(f"log-probability of each answer, {name}", torch.cat([logps[::2], logps[1::2]]), found["logps"][name])
    lines = case.lines
    for loss_type in get_args(LossType):
        theirs, case = found[loss_type], Case("DPO", loss_type)
        assert world.digest(world.causal(1)) == theirs["weights"]
        algorithm = DPO(DPOConfig(loss_type=loss_type, **theirs["options"]["algorithm"]))
        if "losses" in theirs:
            trained(case, algorithm, theirs["options"], batches, theirs)
        else:
            made = learner(algorithm, {"policy": causal("policy", 1)}, theirs["options"], frozen(3))
            case.add("loss of the first step", made.step(batches[0])["loss"], theirs["first_loss"])
        lines += case.lines
    return lines


def label_batch(rows):
    """Labelled answers as a batch, each answer behind the next prompt too."""
    encoded = []
    for prompt, answer, liked in rows:
        row = Row([*prompt, *answer], [0] * len(prompt) + [1] * len(answer), len(prompt))
        encoded.append(Encoded((row,), 0, label=float(liked)))
    return collate_labels(encoded, mismatched=True)


def kto():
    found, rows, lines = recorded("kto"), world.labelled(4 * world.STEPS), []
    batches = [label_batch(rows[i : i + 4]) for i in range(0, len(rows), 4)]
    for loss_type in ("kto", "apo_zero_unpaired"):
        theirs, case = found[loss_type], Case("KTO", loss_type)
        assert world.digest(world.causal(1)) == theirs["weights"]
        for name, network in (("policy", causal("policy", 1)), ("reference", frozen(3))):
            logps = answer_logps(network, batches[0])[:4]
            case.add(f"log-probability of each answer, {name}", logps, theirs["logps"][name])
        algorithm = KTO(KTOConfig(loss_type=loss_type, **theirs["options"]["algorithm"]))
        if loss_type == "kto":
            made = learner(algorithm, {"policy": causal("policy", 1)}, theirs["options"], frozen(3))
            case.add("KL baselines of five steps", [made.step(batch)["kl"] for batch in batches], theirs["kl"], TRAJECTORY)
        trained(case, algorithm, theirs["options"], batches, theirs)
        lines += case.lines
    return lines
