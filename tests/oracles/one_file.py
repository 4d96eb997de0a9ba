"""The one-file examples as modules, and what their tests share."""

import importlib.util
import pathlib
import re
import sys

import torch

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
OPTIMIZER = {"learning_rate": 3e-3, "max_grad_norm": 1.0, "adam_epsilon": 1e-6}
TOLERANCE = 1e-10


def example(name):
    """examples/NAME.py as a module. It may import nothing of plaudit, or it would be no second opinion."""
    path = EXAMPLES / f"{name}.py"
    assert not re.search(r"^\s*(from|import) plaudit", path.read_text(encoding="utf-8"), re.M)
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(batch):
    """(ids, mask) of each row, as lists without padding."""
    return [
        (ids[:n].tolist(), mask[:n].int().tolist())
        for ids, mask, n in zip(batch.ids, batch.mask, batch.length.tolist(), strict=True)
    ]


def apart(mine, other):
    """Largest difference over the largest number."""
    mine, other = torch.as_tensor(mine, dtype=torch.float64), torch.as_tensor(other, dtype=torch.float64)
    assert mine.shape == other.shape
    return float((mine - other).abs().max() / other.abs().max())


def moved(module, before):
    """All weights of a module less what they were, in one vector; names as they come."""
    return torch.cat([(p.detach() - before[name]).flatten() for name, p in module.named_parameters()])


def frozen(module):
    """name -> a copy of each weight."""
    return {name: p.detach().clone() for name, p in module.named_parameters()}
