"""The curves and figures that every run has: their names, units, meanings and healthy ranges, said once."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from plaudit.evaluation.report.parts import Curve, Definition, Points

CURVES: Mapping[str, Curve] = MappingProxyType(
    {
        "reward": Curve(
            "Reward", "points", (), help="What PPO optimises: the reward model's score. It should rise, then level off."
        ),
        "gold": Curve(
            "Gold score",
            "points",
            (),
            help="The rubric without noise, unseen in training. If it falls while the reward rises, the reward is being gamed.",
        ),
        "kl": Curve(
            "KL to the reference",
            "nats per answer",
            (),
            (0.0, 10.0),
            "How far the policy has moved. A slow rise is normal; a jump is not.",
        ),
        "length": Curve(
            "Answer length", "tokens", (), help="Mean length of sampled answers. A steady climb often means padding for reward."
        ),
        "entropy": Curve(
            "Entropy",
            "nats per token",
            (),
            (0.2, 3.0),
            "How undecided the policy is at each token. Near zero, it has collapsed to one answer.",
        ),
        "explained_variance": Curve(
            "Value explained variance",
            "share",
            (),
            (0.2, 1.0),
            "How much of the returns the critic foresees: 1 is perfect, 0 no better than a constant.",
        ),
        "sft_loss": Curve(
            "SFT loss", "nats per token", (), help="It should fall; training stops where the held-out loss is lowest."
        ),
        "reward_accuracy": Curve(
            "Reward model accuracy",
            "share of pairs",
            (),
            (0.6, 1.0),
            "How often it prefers the answer that the annotator preferred. Chance is 0.5.",
        ),
        "clip_fraction": Curve(
            "Clipped share",
            "share of tokens",
            (),
            (0.0, 0.3),
            "Tokens whose update PPO's clip held back. Much above the range, updates are too large.",
        ),
    }
)

STREAMS: Mapping[str, str] = MappingProxyType(
    {
        "reward": "What the token earned: minus its KL cost, plus the score of the whole answer on the last token.",
        "kl": "How much more likely the policy finds the token than the reference does, in nats.",
        "value": "What the critic expected from here to the end of the answer.",
        "advantage": "How much better the token turned out than the critic expected; PPO makes positive ones more likely.",
        "logp": "Log-probability of the token under the policy, in nats; near 0 means certain.",
        "ref_logp": "Log-probability of the token under the reference, in nats.",
        "return": "What was really earned from here to the end; the critic's target.",
        "entropy": "How undecided the policy was at this token, in nats.",
        "mask": "1 where training counts the token; 0 where a tool or another speaker wrote it.",
        "attribution": "How much of the reward model's score goes when the token is left out.",
    }
)

DEFINITIONS: tuple[Definition, ...] = (
    Definition(
        "Win rate",
        "Share of held-out prompts on which the gold score prefers PPO's answer; a tie counts one half. The interval is "
        "a paired bootstrap over prompts: 95 of 100 such intervals hold the true rate.",
        "The whole interval above 50%.",
    ),
    Definition(
        "Gold score",
        "The rubric applied without noise. Neither the annotators' labels nor the reward model enter it, so it shows whether "
        "optimising the reward helped.",
        "Higher after PPO than before.",
    ),
    Definition(
        "Reward model accuracy",
        "Share of held-out pairs on which the reward model and the annotator agree.",
        "Clearly above length-only; the noise ceiling is the most that any judge can reach on these labels.",
    ),
    Definition(
        "Length-only baseline",
        "Accuracy of a rule that looks at nothing but which answer is longer.",
        "Well below the reward model.",
    ),
    Definition(
        "Noise ceiling",
        "Accuracy of a judge who knows the truth, measured against the same noisy labels.",
        "100% minus the share of flipped labels.",
    ),
    Definition(
        "KL to the reference",
        "Sum over an answer's tokens of log p(policy) − log p(reference), averaged over answers: the reward's price.",
        "0 to 10 for short answers.",
    ),
    Definition(
        "Truncated share",
        "Answers that ran into the length limit instead of ending by themselves.",
        "Below 5%, and not rising.",
    ),
    Definition(
        "Entropy",
        "Mean entropy of the policy's next-token distribution, in nats per token.",
        "0.2 to 3; a slow fall is normal.",
    ),
    Definition(
        "Value explained variance",
        "1 − Var(return − value) / Var(return) over tokens.",
        "Above 0.2 after the first steps; below 0, the critic misleads.",
    ),
    Definition(
        "Agreement", "How far two annotators agree beyond chance: 1 is always, 0 is chance.", "Above 0.4 for preferences."
    ),
    Definition(
        "Flip rate",
        "Share of labels that go against the rubric without noise.",
        "Stated by the simulation; unknown for people.",
    ),
)


def curve(
    kind: str,
    points: Points,
    *,
    band: tuple[float | None, float | None] | None = None,
    label: str = "",
    others: Mapping[str, Points] | None = None,
) -> Curve:
    """A standard chart with its usual name, unit, healthy range and help: `curve("kl", [(0, 0.0), (1, 0.3)])`.

    `kind` is a key of `CURVES` (KeyError otherwise); `band` replaces the usual healthy range.
    """
    usual = CURVES[kind]
    return Curve(usual.name, usual.unit, points, band or usual.band, usual.help, label, others or {})
