"""A resumed run samples and trains with the kernels that it began with, or says that it cannot (law 6)."""

from __future__ import annotations

import pytest
import torch

from plaudit.config import load
from plaudit.engines import kernels
from plaudit.models import passes
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
        passes.use("compiled")
    events = (tmp_path / "run" / "events.log").read_text()
    assert "sampling with torch kernels as before" in events and "training with torch kernels as before" in events


def test_a_run_whose_kernels_cannot_be_had_says_so(options, tmp_path, monkeypatch):
    assert opened(options, tmp_path, resume=False).source.kernels == "compiled"
    monkeypatch.setattr(kernels, "library", lambda: None)
    monkeypatch.setattr(passes, "library", lambda: None)
    assert opened(options, tmp_path, resume=True).source.kernels == "torch"
    events = (tmp_path / "run" / "events.log").read_text()
    for what in ("sampling", "training"):
        assert f"{what} was done with compiled kernels, which cannot be had here" in events
