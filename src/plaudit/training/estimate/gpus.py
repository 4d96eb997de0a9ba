"""Common GPUs by their data sheets. Prices are an assumption, to be replaced: `--price H100=2.10`.

Peaks are of dense matrix products (no sparsity) with float32 accumulation; memory in GB of 1e9 bytes. bf16 None: no units for
it. Sources: the vendors' data sheets. Prices: what one card by the hour tends to cost on demand, rounded; `PRICED` says as of
when they were put down. They move by tens of percent within months and by factors between providers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from plaudit.schema import UserError

PRICED = "2026-11"


@dataclass(frozen=True)
class Gpu:
    """One card. FLOP/s, bytes/s, bytes, US dollars an hour."""

    name: str
    bf16: float | None
    fp32: float
    bandwidth: float
    memory: float
    price: float


GPUS = (
    Gpu("T4", None, 8.1e12, 320e9, 16e9, 0.35),
    Gpu("L4", 121e12, 30.3e12, 300e9, 24e9, 0.70),
    Gpu("A10", 125e12, 31.2e12, 600e9, 24e9, 0.75),
    Gpu("RTX4090", 165e12, 82.6e12, 1008e9, 24e9, 0.50),
    Gpu("L40S", 362e12, 91.6e12, 864e9, 48e9, 0.90),
    Gpu("A100", 312e12, 19.5e12, 2039e9, 80e9, 1.60),
    Gpu("H100", 989e12, 66.9e12, 3350e9, 80e9, 2.50),
    Gpu("H200", 989e12, 66.9e12, 4800e9, 141e9, 3.30),
)

UTILISATION = {"forward": 0.40, "train": 0.27, "prefill": 0.40, "decode": 0.30}
"""Share of the peak that passes of a kind are taken to reach where they are large enough (MFU). That of
training was measured on one card (docs/gpu.md: SFT of a billion weights on an H200), the others are assumed."""
STREAMED = 0.45
"""Share of the peak bandwidth that decoding and optimisers are taken to reach; decoding reached .41 there."""
LAUNCHES = {"forward": 20, "train": 60, "prefill": 20, "decode": 5}
"""Kernels that one layer starts in one pass (a training pass forward and backward). Decoding steps are recorded and replayed
as a whole: what is left is a few microseconds for each kernel on the card, written here as if fewer were started."""
LAUNCH = 8e-6
"""Seconds that starting one kernel from Python takes: small models wait for this, whatever the card can do."""


def priced(given: list[str]) -> tuple[tuple[Gpu, ...], float | None]:
    """(the table with these prices, the price of this machine), from words like H100=2.10 and here=0.08.

    UserError: a word that is no NAME=NUMBER, or a name that is not in the table.
    """
    prices: dict[str, float] = {}
    names = ["here", *(gpu.name for gpu in GPUS)]
    for word in given:
        name, _, text = word.partition("=")
        try:
            prices[name] = float(text)
        except ValueError:
            raise UserError(f"--price {word}: give NAME=DOLLARS_PER_HOUR, such as H100=2.10") from None
        if name not in names:
            raise UserError(f"--price {word}: {name} is not one of {', '.join(names)}")
        if not 0 <= prices[name] < float("inf"):
            raise UserError(f"--price {word}: a price is 0 or more")
    return tuple(replace(gpu, price=prices.get(gpu.name, gpu.price)) for gpu in GPUS), prices.get("here")
