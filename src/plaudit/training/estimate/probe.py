"""A few seconds of measurement: what this machine makes of the very layers, shapes and precision that a run will use.

Layers of the model's own size, with random weights, are run by the same code as in training: one layer and three, so that
their difference is a layer's and the rest is what every pass costs. The engine decodes a few tokens with them likewise.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from plaudit.core.batch import Batch, from_rows
from plaudit.core.logprob import head_logprob
from plaudit.engines.opening import engine_for
from plaudit.models import flops
from plaudit.models.adapters import AdapterConfig
from plaudit.models.base import Base
from plaudit.models.heads import scalar_head
from plaudit.models.load import cast
from plaudit.models.machine import device
from plaudit.models.network import Network
from plaudit.models.tiny import tiny_tokenizer
from plaudit.schema import Prompt, Sampling
from plaudit.training.checkpoint import save
from plaudit.training.estimate.fleet import runs_lean
from plaudit.training.estimate.passes import Cut, one
from plaudit.training.estimate.rates import Rates, Wanted, keep, machine
from plaudit.training.optimizers import Optimizer
from plaudit.training.options import OptimizerConfig, TrainingConfig

FEW, MORE = 1, 3
"""Layers of the two cut models."""
DECODED = 8
"""Tokens that each row decodes."""
BUDGET = 0.6
"""Seconds that one measurement may repeat for; it is made three times at least, and its first run is thrown away."""
VOCABULARY = 64_000_000
"""Numbers of an embedding above which the cut models get a smaller vocabulary; what it costs is scaled."""


def probe(wanted: Wanted) -> Rates:
    """Measure, and keep what was found for later runs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rates = _Probe(wanted).rates()
    keep(wanted, rates)
    return rates


class _Probe:
    def __init__(self, wanted: Wanted) -> None:
        self.w, self.device = wanted, device()
        self.shape = wanted.model.shape
        self.vocabulary = min(self.shape.vocabulary, max(512, VOCABULARY // self.shape.width))
        self.lora = wanted.options[AdapterConfig].use_peft
        self.low = torch.bfloat16 if wanted.bf16 else torch.float32

    def rates(self) -> Rates:
        trunk = self._trunk()
        forward, train = self._head()
        return Rates(
            machine=machine(),
            dtype="bf16" if self.w.bf16 else "fp32",
            threads=torch.get_num_threads(),
            matmul=self._matmul(),
            bandwidth=self._bandwidth(),
            head_forward=forward,
            head_train=train,
            disk=self._disk(),
            **trunk,
        )

    def _model(self, layers: int) -> Any:
        from transformers import AutoModelForCausalLM

        config = copy.deepcopy(self.w.model.config)
        config.num_hidden_layers, config.vocab_size = layers, self.vocabulary
        config.pad_token_id = config.bos_token_id = None
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()

    def _network(self, layers: int) -> Network:
        a, t = self.w.options[AdapterConfig], self.w.options[TrainingConfig]
        model = cast(self._model(layers), self.low if self.lora else torch.float32, self.device)
        base = Base(model, None, "", self.w.model.name, _everywhere(a))
        base.cast.collecting = True  # as a learner has it
        head = scalar_head(base.width).to(self.device)
        common: dict[str, Any] = {
            "head": head,
            "autocast": self.w.bf16,
            "packing": t.packing,
            "checkpointing": t.gradient_checkpointing,
        }
        if self.lora:
            base.add_adapter("probe", seed=0)
            return Network("probe", base, adapter="probe", **common)
        return Network("probe", base, whole=True, **common)

    def _trunk(self) -> dict[str, Any]:
        """Passes through the layers, the optimiser, and the engine, each with few layers and with more."""
        batch, found = self._batch(), {}
        for layers in (MORE, FEW):
            network = self._network(layers)
            optimizer = Optimizer(network, self.w.options[OptimizerConfig])

            def infer(network: Network = network) -> None:
                with torch.no_grad():
                    network(batch, {"value"})

            def learn(network: Network = network, optimizer: Optimizer = optimizer) -> None:
                optimizer.zero_grad()
                value = network(batch, {"value"}).value
                assert value is not None
                value.sum().backward()

            def move(network: Network = network, optimizer: Optimizer = optimizer) -> None:
                torch.nn.utils.clip_grad_norm_([p for p in network.parameters().values() if p.grad is not None], 1.0)
                optimizer.step()

            found[layers] = [self._seconds(infer), self._seconds(learn), self._seconds(move)]
            moved = sum(p.numel() for p in network.parameters().values())
            if self.w.rows:
                found[layers] += self._engine(network)
        return self._told(batch, found, moved)

    def _told(self, batch: Batch, found: Mapping[int, list[Any]], moved: int) -> dict[str, Any]:
        few, more = found[FEW], found[MORE]
        adapter = self.w.options[AdapterConfig]
        lean = runs_lean(self.w.model, adapter)
        made = one(batch, Cut(len(batch), False, self.w.options[TrainingConfig].packing, lean=lean))
        once = flops.forward(self.shape, made.tokens, made.pairs, layers=1)
        size = self.w.model.adapter(adapter) / self.shape.layers if self.lora else 0
        extra = flops.adapters(size, made.tokens, training=False)
        back = flops.backward(
            self.shape,
            made.tokens,
            made.pairs,
            weights=not self.lora,
            layers=1,
            again=self.w.options[TrainingConfig].gradient_checkpointing,
        )
        layer = [max(1e-9, (b - a) / (MORE - FEW)) for a, b in zip(few[:3], more[:3], strict=True)]
        told: dict[str, Any] = {
            "forward": layer[0] / (once + extra),
            "forward_pass": max(0.0, few[0] - layer[0]),
            "train": layer[1] / (once + back + 4 * extra),
            "train_pass": max(0.0, few[1] - layer[1]),
            "update": few[2] / moved,
        }
        if self.w.rows:
            told |= self._decoding(few[3:], more[3:])
        return told

    def _decoding(self, few: list[Any], more: list[Any]) -> dict[str, Any]:
        """Of the engine: (load, [(rows, prefill, step), ...]) with few layers and with more."""
        grown = self.shape.vocabulary / self.vocabulary
        layer, rest = [], []
        for (rows, _, low), (_, _, high) in zip(few[1], more[1], strict=True):
            each = max(1e-9, (high - low) / (MORE - FEW))
            layer.append((rows, each))
            rest.append((rows, max(0.0, low - each) * grown))
        rows, low, _ = few[1][-1]
        prefill = max(1e-9, (more[1][-1][1] - low) / (MORE - FEW))
        once = flops.forward(self.shape, rows * self.w.places, rows * self.w.places**2, layers=1)
        numbers = self.shape.layer * FEW + self.vocabulary * self.shape.width
        return {"prefill": prefill / once, "decode_layer": tuple(layer), "decode_rest": tuple(rest), "load": few[0] / numbers}

    def _engine(self, network: Network) -> list[Any]:
        """Seconds of loading, and at two numbers of rows (rows, seconds of reading their prompts, of one decoding step)."""
        model, tokenizer = network.base.model, tiny_tokenizer()
        sizes = sorted({max(1, self.w.rows // 4), self.w.rows})
        with torch.no_grad():
            engine = engine_for(model, tokenizer, dtype=self.low, slots=self.w.rows, device=self.device)
            load = self._seconds(lambda: engine.load(network.weights(), "probe"), least=1)
            found = []
            for rows in sizes:
                prompts = [Prompt(text=f"{number:03d}" + "." * max(1, self.w.places - 3)) for number in range(rows)]

                def write(tokens: int, prompts: list[Prompt] = prompts) -> None:
                    engine.generate(prompts, 1, Sampling(max_new_tokens=tokens))

                first = self._seconds(lambda: write(1), least=1)
                step = (self._seconds(lambda: write(1 + DECODED), least=2) - first) / DECODED
                found.append((rows, first, max(1e-9, step)))
        return [load, found]

    def _head(self) -> tuple[float, float]:
        """Seconds per FLOP of the output head, without and with its backward pass."""
        width = self.shape.width
        dtype = self.low if self.lora else torch.float32
        weight = (
            torch.randn(self.vocabulary, width, device=self.device, dtype=dtype).mul_(0.02).requires_grad_(self.w.trains_head)
        )
        chunk = self.w.options[TrainingConfig].logit_chunk or (128 if self.device.type == "cpu" else 1024)
        count = max(1, min(self.w.typical.logits or chunk, chunk))
        hidden = torch.randn(count, width, device=self.device, dtype=dtype, requires_grad=True)
        targets = torch.zeros(count, dtype=torch.long, device=self.device)

        def infer() -> None:
            with torch.no_grad():
                head_logprob(hidden, weight, targets, chunk=chunk)

        def learn() -> None:
            head_logprob(hidden, weight, targets, chunk=chunk)[0].sum().backward()

        once = 2.0 * count * self.vocabulary * width
        return self._seconds(infer) / once, self._seconds(learn) / (once * (4 if self.w.trains_head else 3))

    def _batch(self) -> Batch:
        """Rows like those of a usual micro-batch, at most 4096 tokens of them."""
        one = self.w.typical
        width = max(2, min(one.width, 4096))
        rows = max(1, min(one.rows, 4096 // width))
        ids = torch.randint(self.vocabulary, (rows, width)).tolist()
        half = width // 2
        return from_rows(ids, [[0] * half + [1] * (width - half)] * rows).to(self.device)

    def _matmul(self) -> float:
        tokens = max(2, min(self.w.typical.tokens, 4096))
        left = torch.randn(tokens, self.shape.width, device=self.device, dtype=self.low)
        right = torch.randn(self.shape.inner, self.shape.width, device=self.device, dtype=self.low)
        return 2.0 * tokens * right.numel() / self._seconds(lambda: torch.nn.functional.linear(left, right), budget=0.2)

    def _bandwidth(self) -> float:
        source = torch.zeros(32 << 20, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        return 2.0 * source.numel() / self._seconds(lambda: target.copy_(source), budget=0.2)

    def _disk(self) -> float:
        size = 4 << 20
        content = {"probe": {"x": torch.zeros(size)}}
        with tempfile.TemporaryDirectory() as folder:
            return self._seconds(lambda: save(Path(folder), 0, content, {}), least=1, budget=0.1) / (4 * size)

    def _seconds(self, run: Callable[[], Any], *, least: int = 3, budget: float = BUDGET) -> float:
        """The shortest of some runs, after a first one that does not count: other jobs on the machine only ever add."""
        run()
        found: list[float] = []
        while len(found) < least or (sum(found) < budget and len(found) < 20):
            self._wait()
            clock = time.perf_counter()
            run()
            self._wait()
            found.append(time.perf_counter() - clock)
        return min(found)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def _everywhere(o: AdapterConfig) -> AdapterConfig:
    """The options with adapters on all layers, however few there are."""
    return replace(o, lora_layers=None)
