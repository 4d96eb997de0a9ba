"""PPO against TRL 1.12; GRPO and RLOO against TRL 1.16."""

import math

import torch

import world
from ours import TRAJECTORY, Case, batch_of, causal, frozen, learner, logprobs, masked, named, recorded, scorer
from plaudit.algorithms.grpo import GRPO, GRPOConfig
from plaudit.algorithms.ppo import PPO, PPOConfig
from plaudit.algorithms.rloo import RLOO, RLOOConfig
from plaudit.config import options as options_of
from plaudit.core import masked as masks

WHITENED = "TRL divides the variance by n - 1 (trl_ppo_errors.py whitening); in float64, n agrees with ours"
PLACE = "TRL pays the score one token late (trl_ppo_errors.py score); in float64, eq. 16 agrees with ours"


class BesselPPO(PPO):
    """PPO with TRL's one deviation on answers that fill the batch: advantages whitened with the variance of a sample."""

    def prepare(self, batch, total=masks.here):
        batch = super().prepare(batch, total)
        count = float(batch.mask.sum())
        return batch.with_(streams={"advantage": batch["advantage"] * math.sqrt((count - 1) / count)})


def ppo_networks():
    """Policy, critic, reference and reward model, all different."""
    return {"policy": causal("policy", 1), "critic": scorer("critic", 4)}, frozen(3), scorer("reward", 2)


def ppo_options(found):
    o = found["options"]
    names = ("num_ppo_epochs", "kl_coef", "cliprange", "cliprange_value", "vf_coef", "gamma", "lam")
    return {name: o[name] for name in names}, o["temperature"]


@torch.no_grad()
def scored(judge, batch):
    """The batch with the reward model's score of each row."""
    return batch.with_(sides={"reward": judge(batch, {"score"}).score})


def gae_in_float64(found, rows):
    """Rewards per token, advantages, returns and whitened advantages of TRL's own numbers, by the papers, in plain Python.

    The score is paid at the last token, nothing follows the last token, and padding is in no statistic.
    """
    o, out = found["options"], {"rewards": [], "raw": [], "returns": []}
    for (_, answer), pay, value, score in zip(
        rows, found["non_score_reward"], found["values"], found["scores"][0], strict=True
    ):
        length = len([token for token in answer if token != world.PAD])
        reward = pay[:length]
        reward[-1] += score
        ahead, following, advantages = 0.0, 0.0, []
        for t in reversed(range(length)):
            ahead = reward[t] + o["gamma"] * following - value[t] + o["gamma"] * o["lam"] * ahead
            following = value[t]
            advantages.insert(0, ahead)
        out["rewards"] += reward
        out["raw"] += advantages
        out["returns"] += [a + v for a, v in zip(advantages, value, strict=False)]
    mean = sum(out["raw"]) / len(out["raw"])
    variance = sum((a - mean) ** 2 for a in out["raw"]) / len(out["raw"])
    out["advantages"] = [(a - mean) / math.sqrt(variance + 1e-8) for a in out["raw"]]
    return out


def ppo():
    return ppo_full() + ppo_ragged()


def ppo_prepared(case, found, batch):
    """Adds what both kinds of batches have in common; returns the batch prepared with whitened and with raw advantages."""
    networks, reference, judge = ppo_networks()
    for role, model in (("policy", world.causal(1)), ("reference", world.causal(3)), ("critic", world.scorer(4))):
        assert world.digest(model) == found["weights"][role]
    options, temperature = ppo_options(found)
    batch = scored(judge, batch)

    def kept(name):
        """TRL's numbers at the tokens of the answers."""
        lengths = batch.mask.sum(-1).int().tolist()
        return [row[:n] for row, n in zip(found[name], lengths, strict=True)]

    case.add("score of each answer", batch["reward"], found["scores"][0])
    prepared = {}
    for whiten in (True, False):
        algorithm = PPO(PPOConfig(whiten_advantages=whiten, **options), temperature)
        prepared[whiten] = learner(algorithm, networks, found["options"], reference).prepared(batch)
    raw = prepared[False]
    case.add("log-probability of each token", masked(raw["old"], batch), kept("logprobs"))
    case.add("log-probability by the reference", masked(raw["ref"], batch), kept("ref_logprobs"))
    case.add("value of each token", masked(raw["value"], batch), kept("values"))
    penalty = -options["kl_coef"] * raw["kl"]
    case.add("KL penalty of each token", masked(penalty, batch), kept("non_score_reward"))
    return prepared[True], raw, kept


def ppo_full():
    """Answers that fill the batch: TRL's rewards and advantages are right here, but for Bessel's correction."""
    found, case = recorded("ppo")["full"], Case("PPO", "answers of one length")
    width, order = len(found["values"][0]), found["order"]
    rows = [
        [world.full_rollouts(step, len(found["values"]), width)[place] for step, place in order[i : i + 6]]
        for i in (0, 6, 12, 18, 24)
    ]
    batches = [batch_of(some) for some in rows]
    whitened, raw, _ = ppo_prepared(case, found, batches[0])
    exact = gae_in_float64(found, rows[0])
    case.add("reward of each token", masked(raw["token_reward"], raw), found["rewards"])
    case.add("advantage of each token, not whitened", masked(raw["advantage"], raw), found["raw"])
    case.add("return of each token", masked(raw["returns"], raw), found["returns"])
    case.add("advantage, whitened", masked(whitened["advantage"], raw), found["advantages"], None, WHITENED)
    case.add("advantage, whitened, against float64", masked(whitened["advantage"], raw), exact["advantages"])
    correction = math.sqrt(1 - 1 / len(exact["raw"]))
    case.add("advantage, whitened with n - 1", masked(whitened["advantage"], raw) * correction, found["advantages"])

    networks, reference, judge = ppo_networks()
    before = {role: named(network) for role, network in networks.items()}
    options, temperature = ppo_options(found)
    made = learner(BesselPPO(PPOConfig(**options), temperature), networks, found["options"], reference)
    steps = []
    for batch, scores in zip(batches, found["scores"], strict=True):
        batch = scored(judge, batch)
        steps.append(made.step(batch))
        assert len(scores) == len(batch)
    theirs = torch.tensor(found["losses"]).view(len(steps), -1, 2).mean(1)
    with_bessel = "advantages whitened with n - 1 on both sides"
    case.add("policy losses of five steps", [s["loss/policy_avg"] for s in steps], theirs[:, 0], TRAJECTORY, with_bessel)
    case.add("value losses of five steps", [s["loss/value_avg"] for s in steps], theirs[:, 1], TRAJECTORY)
    for role in networks:
        moved = world.changes(named(networks[role]), before[role])
        case.moved(moved, {k.removeprefix(f"{role}."): v for k, v in found["changes"].items() if k.startswith(role)}, role)
    return case.lines


def ppo_ragged():
    """Answers of different lengths: TRL pays the score one token after the answer's last, where there is room."""
    found, case = recorded("ppo")["ragged"], Case("PPO", "answers of different lengths")
    places = [place for _, place in found["order"]]
    answers = [[token for token in row if token != world.PAD] for row in found["answers"]]
    prompts = [prompt for prompt, _ in world.full_rollouts(0, len(places), 1)]
    rows = [(prompts[place], answers[place]) for place in places]
    whitened, raw, kept = ppo_prepared(case, found, batch_of(rows))
    exact = gae_in_float64(found, rows)
    for quantity, ours, name in (
        ("reward of each token", raw["token_reward"], "rewards"),
        ("advantage of each token, not whitened", raw["advantage"], "raw"),
        ("return of each token", raw["returns"], "returns"),
        ("advantage, whitened", whitened["advantage"], "advantages"),
    ):
        case.add(quantity, masked(ours, raw), kept(name), None, PLACE)
        case.add(f"{quantity}, against float64", masked(ours, raw), exact[name])
    return case.lines


def sibling_batch(step, limit):
    """Answers to the prompts of a step, siblings together, with their toy rewards."""
    some = world.rollouts(step)
    rows = [(prompt, answer) for prompt, answers in some for answer in answers]
    return batch_of(
        rows,
        group=[i // world.SIBLINGS for i in range(len(rows))],
        place=[i % world.SIBLINGS for i in range(len(rows))],
        sides={
            "reward": [world.reward(answer) for _, answer in rows],
            "truncated": [0.0] * len(rows),
            "limit": [float(limit)] * len(rows),
        },
    )


def against_given_answers(name, algorithm, config):
    """GRPO and RLOO: advantages and log-probabilities of the first batch, then five optimiser steps."""
    lines, fields = [], options_of([config])
    for variant, found in recorded(name).items():
        if variant == "source":
            continue
        o, case = found["options"], Case(algorithm.__name__, variant)
        assert world.digest(world.causal(1)) == found["weights"]
        chosen = config(**{option: value for option, value in o.items() if option in fields})
        policy = causal("policy", 1)
        before, passes, losses = named(policy), chosen.num_iterations, []
        made = learner(algorithm(chosen, o["temperature"]), {"policy": policy}, o, frozen(3) if o["beta"] else None)
        first = sibling_batch(0, o["max_completion_length"])
        case.add("advantage of each answer", made.prepared(first)["advantage"], found["advantages"])
        case.add("log-probability of each token", masked(logprobs(policy, first, o["temperature"]), first), found["logprobs"])
        if "reference" in found:
            ref = logprobs(frozen(3), first, o["temperature"])
            case.add("log-probability by the reference", masked(ref, first), found["reference"])
        for step in range(math.ceil(world.STEPS / passes)):
            if step == world.STEPS // passes:  # the last batch is used fewer times than the others
                made.algorithm.epochs = world.STEPS % passes
            losses += optimiser_steps(made, sibling_batch(step, o["max_completion_length"]))
        case.trajectory(losses, world.changes(named(policy), before), found)
        lines += case.lines
    return lines


def optimiser_steps(made, batch):
    """The loss of each optimiser step that a batch is used for; the learner's own log has their mean."""
    seen, optimise = [], made._optimise

    def watched(batch, mini, trunks, log):
        found = optimise(batch, mini, trunks, log)
        seen.append(sum(values[-1] for values in log.losses.values()))
        return found

    made._optimise = watched
    made.step(batch)
    del made._optimise
    return seen


def grpo():
    return against_given_answers("grpo", GRPO, GRPOConfig)


def rloo():
    return against_given_answers("rloo", RLOO, RLOOConfig)
