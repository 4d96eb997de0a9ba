"""Real learners and engines on the tiny model, and eyes that watch every tensor operation."""

import copy
import json

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from plaudit.algorithms.ppo import PPO, PPOConfig
from plaudit.config import load as load_options
from plaudit.core.batch import from_rows
from plaudit.models.base import AdapterConfig, Base
from plaudit.models.heads import scalar_head
from plaudit.models.load import load
from plaudit.models.network import Network
from plaudit.training.learner import Learner
from plaudit.training.options import OptimizerConfig
from plaudit.training.progress import Silent
from plaudit.training.run import sections, train

LENGTHS = (3, 20, 7, 1, 12, 9, 16, 5, 2, 18, 11, 4, 8, 6, 14, 10)
"""Answer tokens of the rows of `rollouts`: very unlike each other, so that padding and short rows would show."""
PROMPT = 9


def ppo_learner(options=None, *, algorithm=PPO, dtype=torch.float32, micro_batch=16, chunk=512, **optimizer):
    """PPO on full copies of the tiny model: policy, critic and reference."""
    loaded = load("tiny", dtype=dtype)

    def network(role, **settings):
        base = Base(copy.deepcopy(loaded.model), loaded.tokenizer, loaded.digest, "tiny", AdapterConfig())
        return Network(role, base, chunk=chunk, **settings)

    head = scalar_head(loaded.model.config.hidden_size).to(dtype)
    networks = {"policy": network("policy", whole=True), "critic": network("critic", whole=True, head=head)}
    rate = {"learning_rate": 1e-3, "lr_scheduler_type": "constant", "adam_epsilon": 1e-5, **optimizer}
    return Learner(
        algorithm(options or PPOConfig()),
        networks,
        OptimizerConfig(**rate),
        total_steps=10,
        micro_batch=micro_batch,
        reference=network("reference"),
    )


def rollouts(lengths=LENGTHS, *, dtype=torch.float32, seed=0, prompt=PROMPT):
    """Rows of random tokens with random rewards: a prompt of `prompt` tokens, then an answer of each length."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ids = [torch.randint(4, 300, (prompt + n,)).tolist() for n in lengths]
        rewards = torch.randn(len(lengths)).tolist()
    return from_rows(ids, [[0] * prompt + [1] * n for n in lengths], sides={"reward": rewards}, dtype=dtype)


class Watch(TorchDispatchMode):
    """Calls `see(name, inputs, outputs)` for every operation, backward passes included."""

    def __init__(self, see):
        super().__init__()
        self.see = see

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        self.see(func.overloadpacket.__name__, [x for x in tree_leaves(args) if isinstance(x, torch.Tensor)], tensors)
        return out


def products(width, columns):
    """(watch, rows): the rows of every product of hidden states [N, width] with a matrix of so many output columns."""
    rows = []

    def see(name, inputs, outputs):
        if name in ("mm", "addmm") and outputs[0].shape[-1] == columns and inputs[-2].shape[-1] == width:
            rows.append(outputs[0].shape[0])

    return Watch(see), rows


def run_ppo(folder, reward, *words, prompts=None, resume=False):
    """`plaudit train ppo` on the tiny model: `reward` is the source of a Python function `score`; returns (summary, folder)."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = prompts or [{"prompt": f"the order {i} is late"} for i in range(12)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "rewards.py").write_text(reward)
    (folder / "ppo.yaml").write_text(
        f"model_name_or_path: tiny\ntrain_file: {folder / 'prompts.jsonl'}\noutput_dir: {folder / 'run'}\n"
        f"reward_funcs: ['{folder / 'rewards.py'}:score']\nmax_completion_length: 6\nmax_steps: 4\nlearning_rate: 1.0e-3\n"
    )
    classes, defaults = sections("ppo")
    options = load_options(classes, folder / "ppo.yaml", words, defaults)
    return train("ppo", options, resume=resume, progress=Silent()), folder / "run"


def metrics(run):
    """The lines of metrics.jsonl without timings."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]
