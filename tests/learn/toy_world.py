"""A world small enough to be solved exactly: a vocabulary of letters, a Llama with two layers, and Plaudit's own machinery.

`letters` of a tokenizer are single tokens, so a text is its tokens and every optimum below can be computed by hand.
"""

from dataclasses import dataclass

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.base import AdapterConfig, Base
from plaudit.models.heads import class_head, scalar_head
from plaudit.models.network import Network
from plaudit.rewards.functions import FunctionReward
from plaudit.rewards.mix import RewardMix
from plaudit.training.feed import Feed
from plaudit.training.learner import Learner
from plaudit.training.options import OptimizerConfig, RolloutConfig
from plaudit.training.sources import Rollouts

PAD, END = "<pad>", "<end>"


def tokenizer_of(letters):
    """One token a letter; ids 0 and 1 are pad and EOS."""
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate((PAD, END, *letters))}, merges=[]))
    core.decoder = decoders.Fuse()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (PAD, END)])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False)


def llama_of(tokenizer, seed):
    """A random Llama of hidden size 32 with 2 layers; its first answers are close to uniform."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=32,
            initializer_range=0.1,
            tie_word_embeddings=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        return LlamaForCausalLM(config).eval()


def network(role, tokenizer, seed, head=0):
    """A network of its own that is trained whole, with a head of this width (0: none)."""
    base = Base(llama_of(tokenizer, seed), tokenizer, "", "toy", AdapterConfig())
    made = class_head(base.width, head) if head > 1 else scalar_head(base.width)
    return Network(role, base, whole=True, head=made if head else None)


def learner_of(algorithm, networks, rate, steps, *, tokenizer=None, seed=0, micro_batch=64, **options):
    """A learner with AdamW at a constant rate; the reference is a copy of the untrained policy where it is wanted."""
    reference = None
    if algorithm.reference:
        reference = Network("reference", Base(llama_of(tokenizer, seed), tokenizer, "", "toy", AdapterConfig()))
    optimizer = OptimizerConfig(learning_rate=rate, lr_scheduler_type="constant", adam_epsilon=1e-5, **options)
    return Learner(algorithm, networks, optimizer, steps, micro_batch=micro_batch, reference=reference, seed=seed)


@dataclass
class Online:
    """An online run of `algorithm` from scratch on prompts of single letters."""

    learner: Learner
    source: Rollouts

    def train(self, steps):
        """That many steps; the mean reward of each, in order."""
        rewards = []
        for step in range(steps):
            portion = self.source.at(step, self.learner)
            told = self.learner.step(portion.batch)
            assert told["refused"] == 0
            rewards.append(portion.metrics["reward"])
        return rewards


def networks_of(algorithm, tokenizer, seed):
    """A network of its own for each role, the first of them from `seed`, the others from other seeds."""
    widths = {"value": 1, "score": 1, "steps": 1, "classes": algorithm.width}
    return {
        role: network(role, tokenizer, seed + 100 * number, head=max(widths.get(want, 0) for want in wants))
        for number, (role, wants) in enumerate(algorithm.networks.items())
    }


def online(algorithm, tokenizer, prompts, reward, *, seed, rows, tokens, rate, steps):
    """All networks from scratch, the torch engine, a Python reward function; `rows` answers a step of `tokens` tokens."""
    networks = networks_of(algorithm, tokenizer, seed)
    learner = learner_of(algorithm, networks, rate, steps, tokenizer=tokenizer, seed=seed)
    engine = TorchEngine(networks["policy"].base.model.config, tokenizer, slots=rows)
    options = RolloutConfig(num_generations=rows // len(prompts), max_completion_length=tokens)
    mixed = RewardMix((FunctionReward(reward),), (1.0,))
    source = Rollouts(prompts, prompts, Feed(len(prompts), len(prompts), seed), engine, mixed, options, seed)
    return Online(learner, source)


def flipped(algorithm):
    """A subclass of the algorithm's class whose losses have the wrong sign."""

    class Flipped(algorithm):
        def loss(self, outputs, batch):
            return {name: -term for name, term in super().loss(outputs, batch).items()}

    return Flipped
