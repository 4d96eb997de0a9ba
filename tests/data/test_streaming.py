"""Streaming reads the same rows, items and tokens as reading at once, by bytes, and keeps no text in memory."""

import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from data_tokenizers import build

from plaudit.data import encode
from plaudit.data.files import rows
from plaudit.data.index import RowFile
from plaudit.data.readers import dataset_digest, read, write_rows
from plaudit.data.split import homes, split_by_prompt
from plaudit.data.streaming import Picked, encode_streamed, stream
from plaudit.schema import UserError

ROWS = [
    {"prompt": f"Where is order {i % 5}?", "chosen": f'He said "{i}",\nand left', "rejected": "no " * i or "x"}
    for i in range(12)
]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_a_row_by_its_number_is_the_row_of_the_pass(tmp_path, suffix):
    path = tmp_path / f"data{suffix}"
    if suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(ROWS), path, row_group_size=5)
    else:
        write_rows(path, ROWS)
        text = path.read_text(encoding="utf-8").replace("\n", "\r\n").split("\r\n", 1)
        path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(text).encode())  # a byte order mark, a blank line, other line ends
    file = RowFile(path)
    assert len(file) == len(ROWS)
    expected = list(rows(path))
    for number in (11, 0, 6, 5, 4):
        assert file.row(number) == expected[number]


def test_the_index_is_kept_while_the_file_is_as_it_was(tmp_path):
    path, cache = tmp_path / "data.jsonl", tmp_path / "cache"
    write_rows(path, ROWS)
    first = RowFile(path, cache).places
    (kept,) = cache.iterdir()
    np.save(kept, first[:3])  # so that one sees which was taken
    assert len(RowFile(path, cache)) == 3
    kept.write_bytes(b"broken")
    assert len(RowFile(path, cache)) == len(ROWS)
    path.write_text(path.read_text() + json.dumps(ROWS[0]) + "\n")
    assert len(RowFile(path, cache)) == len(ROWS) + 1


def test_what_cannot_be_streamed_says_so(tmp_path):
    path = tmp_path / "a.json"
    write_rows(path, ROWS)
    with pytest.raises(UserError, match=r"streaming needs .jsonl, .csv, .tsv or .parquet"):
        stream(path, "rankings")
    path = tmp_path / "a.jsonl"
    path.write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        RowFile(path)
    path.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": 3, "chosen": "b", "rejected": "c"}\n')
    with pytest.raises(UserError, match=r"line 2, prompt must be a string"):
        stream(path, "rankings")
    assert len(stream(path, "rankings", skip_refused=True).refused) == 1


@pytest.mark.parametrize(("wants", "encoder", "one", "limit"), [
    ("rankings", encode.encode_rankings, encode.ranking_rows, 28),
    ("labels", encode.encode_labels, encode.label_rows, 28),
    ("demonstrations", encode.encode_demonstrations, encode.demonstration_rows, 25),
])  # fmt: skip
def test_items_split_and_tokens_are_those_of_reading_at_once(tmp_path, wants, encoder, one, limit):
    a, b, tokenizer = tmp_path / "a.jsonl", tmp_path / "b.csv", build()
    write_rows(a, ROWS)
    write_rows(b, ROWS[:3])
    whole, found = read([str(a), str(b)], wants), stream([str(a), str(b)], wants, seed=4)
    assert list(found.items) == whole.items and found.digest == dataset_digest(whole.items)
    assert list(found.origins) == whole.origins and found.tally == whole.tally and found.rows == whole.rows
    split = split_by_prompt(whole.items, fractions=(0.6, 0.4, 0.0), seed=4)
    train = Picked(found.items, np.flatnonzero(homes(found.points, (0.6, 0.4, 0.0)) == 0))
    assert list(train) == split.train and 0 < len(train) < len(whole.items)
    rows_, report = encoder(tokenizer, split.train, max_length=limit, truncation="drop")
    lazy, again = encode_streamed(train, report.what, lambda *x: one(tokenizer, *x, "drop"), max_length=limit)
    assert list(lazy) == rows_ and lazy.lengths.tolist() == [row.length for row in rows_] and again == report
    assert report.too_long > 0


def test_split_texts_are_streamed_piece_by_piece(tmp_path):
    path, tokenizer = tmp_path / "a.jsonl", build()
    write_rows(path, [{"text": "I am sorry, it is late. " * n} for n in (1, 9, 4)])
    items = read(path, "demonstrations").items
    rows_, report = encode.encode_demonstrations(tokenizer, items, max_length=16, truncation="split")
    one = partial(encode.demonstration_rows, tokenizer)
    lazy, again = encode_streamed(stream(path, "demonstrations").items, report.what, lambda *x: one(*x, "split"), max_length=16)
    assert list(lazy) == rows_ and again == report and len(rows_) > 5


MEASURE = """
import sys, tracemalloc
from plaudit.data.readers import read
from plaudit.data.streaming import stream
tracemalloc.start()
found = (stream if sys.argv[2] == "stream" else read)(sys.argv[1], "demonstrations")
for place in range(0, len(found.items), 97):
    assert found.items[place].answer.startswith("answer")
print(tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(tmp_path):
    path = tmp_path / "large.jsonl"
    with path.open("w") as file:
        for i in range(3000):
            file.write(json.dumps({"prompt": f"q{i}", "completion": f"answer {i} " + "x" * 3000}) + "\n")
    size = os.path.getsize(path)

    def peak(how):
        done = subprocess.run([sys.executable, "-c", MEASURE, str(path), how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert peak("read") > size > 9e6  # reading at once holds everything
    assert peak("stream") < size / 8
