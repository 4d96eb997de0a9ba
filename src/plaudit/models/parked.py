"""Weights of frozen networks in a mapped file: in memory while they are read, the system's to take back in between.

A reference and a reward model are asked once in a step, each for a few seconds, and stand idle while other networks are
trained. Nobody changes them, so a file holds them as well as memory does. The kernel keeps its pages as long as there is room:
reading them again takes a hundredth of a second for each hundred megabytes, and the disk is asked where room ran out.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

Tensor = torch.Tensor
ALIGNED = 64
"""Bytes: where torch's own allocations begin."""


class Parked:
    """The weights of parameters, moved into a file without a name; it is gone when they are, or when the process ends."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter], folder: Path) -> None:
        """The file lies in `folder`. OSError where it cannot be written there: then nothing has changed."""
        starts: list[int] = []
        with tempfile.TemporaryFile(dir=folder) as file:
            for parameter in parameters:
                starts.append(file.seek(-(-file.tell() // ALIGNED) * ALIGNED))
                file.write(parameter.detach().contiguous().flatten().view(torch.uint8).numpy().data)
            file.flush()
            self.memory = mmap.mmap(file.fileno(), os.fstat(file.fileno()).st_size)
        for parameter, start in zip(parameters, starts, strict=True):
            flat = torch.frombuffer(self.memory, dtype=parameter.dtype, count=parameter.numel(), offset=start)
            parameter.data = flat.view(parameter.shape)

    def rest(self) -> None:
        """Give the memory back; whoever reads the weights next gets them from the file."""
        self.memory.madvise(mmap.MADV_DONTNEED)


def can_park(parameters: Sequence[torch.nn.Parameter]) -> bool:
    """Whether that serves: there are some, plain ones on a CPU, and the system takes such advice."""
    return (
        hasattr(mmap, "MADV_DONTNEED")
        and bool(parameters)
        and all(p.device.type == "cpu" and p.is_floating_point() and p.numel() for p in parameters)
    )
