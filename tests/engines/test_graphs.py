"""What of recorded steps can be seen without a GPU; that they write what plain steps write: test_engine_cuda.py."""

import pytest
import torch
from engine_models import engine, llama

from plaudit.engines.graphs import room
from plaudit.engines.sampling import sorts
from plaudit.schema import Sampling


@pytest.mark.parametrize(
    ("rows", "recorded"),
    [(1, 1), (2, 2), (3, 4), (8, 8), (9, 16), (63, 64), (64, 64), (65, 80), (250, 256), (257, 320), (1000, 1024)],
)
def test_few_recordings_serve_all_numbers_of_rows(rows, recorded):
    assert room(rows) == recorded


def test_each_recording_has_room_and_there_are_few_of_them():
    assert all(room(rows) >= rows for rows in range(1, 600))
    assert len({room(rows) for rows in range(1, 65)}) == 11


def test_nothing_is_recorded_on_a_cpu():
    assert not engine(llama(torch.float32)).graphs.serve()


@pytest.mark.parametrize(
    ("options", "does"),
    [
        ({}, False),
        ({"min_p": 0.1}, False),
        ({"top_k": 5}, True),
        ({"top_p": 0.9}, True),
        ({"top_k": 5, "temperature": 0}, False),
    ],
)
def test_only_filters_that_sort_keep_a_draw_out_of_a_recording(options, does):
    assert sorts(Sampling(**options)) == does
