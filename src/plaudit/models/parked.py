"""Weights of frozen networks in a mapped file: in memory while they are read, the system's to take back in between.

A reference and a reward model are asked once in a step, each for a few seconds, and stand idle while other networks are
trained. Nobody changes them, so a file holds them as well as memory does. The kernel keeps its pages as long as there is room:
reading them again takes a hundredth of a second for each hundred megabytes, and the disk is asked where room ran out.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch

Tensor = torch.Tensor
ALIGNED = 64
"""Bytes: where torch's own allocations begin."""


class Parked:
    """The weights of parameters, moved into a file without a name; it is gone when they are, or when the process ends."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], folder: Path) -> None:
        """The file lies in `folder`. OSError where it cannot be written there: then nothing has changed."""
        chosen = list(parameters)
        starts: list[int] = []
        with tempfile.TemporaryFile(dir=folder) as file:
            for parameter in chosen:
                starts.append(file.seek(-(-file.tell() // ALIGNED) * ALIGNED))
                file.write(parameter.detach().contiguous().flatten().view(torch.uint8).numpy().data)
            file.flush()
            self.memory = mmap.mmap(file.fileno(), os.fstat(file.fileno()).st_size)
        for parameter, start in zip(chosen, starts, strict=True):
            flat = torch.frombuffer(self.memory, dtype=parameter.dtype, count=parameter.numel(), offset=start)
            parameter.data = flat.view(parameter.shape)

    def rest(self) -> None:
        """Give the memory back; whoever reads the weights next gets them from the file."""
        self.memory.madvise(mmap.MADV_DONTNEED)


def can_park(model: torch.nn.Module) -> bool:
    """Whether that serves: plain weights on a CPU, on a system that takes such advice."""
    return hasattr(mmap, "MADV_DONTNEED") and all(
        parameter.device.type == "cpu" and parameter.is_floating_point() and not parameter.requires_grad and parameter.numel()
        for parameter in model.parameters()
    )
