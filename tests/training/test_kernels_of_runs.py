"""A resumed run samples and trains with the kernels that it began with, or says that it cannot (law 6)."""

from __future__ import annotations

import pytest
import torch

from plaudit.config import load
from plaudit.engines import kernels
from plaudit.models import attention, head_kernel, passes
from plaudit.models.products import tiled
from plaudit.training.build import build
from plaudit.training.folder import RunFolder
from plaudit.training.progress import Silent
from plaudit.training.run import sections, settled
from training_runs import SHARED, own, write_data

pytestmark = pytest.mark.skipif(kernels.library() is None, reason="needs a C++ compiler, to have two kinds of kernels")


@pytest.fixture
def options(tmp_path, monkeypatch):
    write_data(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    classes, defaults = sections("grpo")
    words = {word.partition("=")[0]: word for word in (*SHARED, *own("grpo"))}
    return settled("grpo", load(classes, None, list(words.values()), defaults), None)


def opened(options, tmp_path, resume):
    with RunFolder(tmp_path / "run", options.flat(), resume=resume) as folder:
        loop = build("grpo", options, folder, Silent())
        if resume:
            loop.resume()
        else:
            loop.run()
        return loop


def test_a_run_that_began_without_a_compiler_goes_on_with_torch(options, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "library", lambda: None)
        patch.setattr(passes, "library", lambda: None)
        assert opened(options, tmp_path, resume=False).source.kernels == "torch"
    try:
        assert opened(options, tmp_path, resume=True).source.kernels == "torch"
        assert passes.passes_for(torch.device("cpu"), torch.float32).name == "torch"
    finally:
        passes.use("tiled")
    events = (tmp_path / "run" / "events.log").read_text()
    assert "sampling with torch kernels as before" in events and "training with torch kernels as before" in events


def test_a_run_whose_kernels_cannot_be_had_says_so(options, tmp_path, monkeypatch):
    assert opened(options, tmp_path, resume=False).source.kernels == "compiled"
    monkeypatch.setattr(kernels, "library", lambda: None)
    monkeypatch.setattr(passes, "library", lambda: None)
    assert opened(options, tmp_path, resume=True).source.kernels == "torch"
    events = (tmp_path / "run" / "events.log").read_text()
    for what, before in (("sampling", "compiled"), ("training", passes.KERNELS[1 + (tiled() is not None)])):
        assert f"{what} was done with {before} kernels, which cannot be had here" in events


def test_each_kind_of_kernels_can_be_chosen(monkeypatch):
    """And those of matrix units where there are such units."""
    cpu, low = torch.device("cpu"), torch.zeros(1, 1, dtype=torch.bfloat16)
    try:
        for number, kind in enumerate(passes.KERNELS[: 2 + (tiled() is not None)]):
            assert passes.use(kind) and passes.in_use(cpu) == kind
            assert passes.passes_for(cpu, torch.bfloat16).name == ("compiled" if number else "torch")
            fused = attention.fused(cpu, low.dtype, 64, passes.passes_for(cpu, low.dtype))
            on_units = (head_kernel.serves(low, None, None) is not None, fused)
            assert on_units == (kind == "tiled", kind == "tiled")
        monkeypatch.setattr(passes, "tiled", lambda: None)
        assert not passes.use("tiled") and passes.in_use(cpu) == "compiled"
    finally:
        passes.use("tiled")
