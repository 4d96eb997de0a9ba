"""Physical formats: the same rows come out of every one, and a broken file says where."""

import gzip
import json

import pytest

from plaudit.data.files import data_files, rows
from plaudit.data.readers import read, read_demonstrations, read_rankings, write_rows
from plaudit.schema import UserError

CHAT = [{"role": "user", "content": 'He said "hi",\nthen left'}]
ROWS = [
    {"prompt": "a, b", "chosen": "你好", "rejected": "no", "margin": 0.5},
    {"prompt": "[1, 2]", "chosen": '"q"', "rejected": "x\ty", "margin": 2},
]
DIALOGUES = [{"prompt": CHAT, "completion": "yes"}, {"prompt": CHAT * 1, "completion": "no"}]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
def test_rows_come_back_from_every_format(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"data{suffix}"
    write_rows(path, ROWS)
    assert [row for _, row in rows(path)] == ROWS
    assert [(item.prompt.text, item.answers, item.margin) for item in read_rankings(path)] == [
        (row["prompt"], (row["chosen"], row["rejected"]), row["margin"]) for row in ROWS
    ]
    write_rows(path, DIALOGUES)
    assert [item.prompt.messages[0].content for item in read_demonstrations(path)] == [CHAT[0]["content"]] * 2


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_packed_files(tmp_path, suffix):
    plain, packed = tmp_path / f"data{suffix}", tmp_path / f"packed{suffix}.gz"
    write_rows(plain, ROWS)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert [row for _, row in rows(packed)] == ROWS
    packed.write_bytes(gzip.compress(plain.read_bytes())[:-9])
    with pytest.raises(UserError, match=r"packed.*cannot be unpacked"):
        list(rows(packed))


def test_the_content_tells_where_the_name_does_not(tmp_path):
    list_, lines = tmp_path / "a.data", tmp_path / "b.json"
    list_.write_text(json.dumps(ROWS))
    lines.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert [row for _, row in rows(list_)] == [row for _, row in rows(lines)] == ROWS
    (tmp_path / "c.json").write_text(json.dumps({"version": 1, "data": ROWS}))
    assert [where.rpartition(", ")[2] for where, _ in rows(tmp_path / "c.json")] == ["row 1", "row 2"]
    (tmp_path / "d.json").write_text(json.dumps({"messages": CHAT}))
    assert [row for _, row in rows(tmp_path / "d.json")] == [{"messages": CHAT}]


def test_parquet_values_that_json_does_not_have(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    import datetime
    import decimal

    from plaudit.data.readers import dataset_digest

    row = {"prompt": "p", "at": datetime.datetime(2026, 1, 2, 3), "cost": decimal.Decimal("1.5"), "raw": b"abc", "list": [b"x"]}
    arrow.parquet.write_table(arrow.Table.from_pylist([row]), tmp_path / "a.parquet")
    (found,) = read(tmp_path / "a.parquet", "prompts").items
    assert found.meta == {"at": "2026-01-02T03:00:00", "cost": 1.5, "raw": "<3 bytes>", "list": ["<1 bytes>"]}
    assert len(dataset_digest([found])) == 16


def test_folders_and_patterns_in_the_order_of_names(tmp_path):
    for name in ("b.jsonl", "a.csv", ".hidden.jsonl", "notes.md", "licence.txt"):
        (tmp_path / name).write_text(
            "prompt\nfrom a\n" if name.endswith("csv") else json.dumps({"prompt": f"from {name[0]}"}) + "\n"
        )
    assert [path.name for path in data_files(tmp_path)] == ["a.csv", "b.jsonl"]
    assert [item.text for item in read(tmp_path, "prompts").items] == ["from a", "from b"]
    assert [item.text for item in read(str(tmp_path / "b*.jsonl"), "prompts").items] == ["from b"]
    with pytest.raises(UserError, match="no file matches this pattern"):
        read(str(tmp_path / "z*.jsonl"), "prompts")


def test_splits_of_a_folder(tmp_path):
    for name in ("train-00001-of-00002", "train-00000-of-00002", "dev-0", "trainer"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": name}) + "\n")
    with pytest.raises(UserError, match=r"several splits \(train, validation\)"):
        data_files(tmp_path)
    assert [path.stem for path in data_files(tmp_path, "validation")] == ["dev-0"]
    assert [path.stem for path in data_files(tmp_path, "train")][:2] == ["train-00000-of-00002", "train-00001-of-00002"]
    with pytest.raises(UserError, match=r"no files of the split 'test'"):
        data_files(tmp_path, "test")


def test_csv_cells(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(
        '\ufeffprompt,completion,label,weight\r\n"two\r\nlines",yes,true,2\r\n\r\n[not json,no,False,\r\n', encoding="utf-8"
    )
    assert list(rows(path)) == [
        (f"{path}, line 2", {"prompt": "two\r\nlines", "completion": "yes", "label": True, "weight": 2}),
        (f"{path}, line 5", {"prompt": "[not json", "completion": "no", "label": False}),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "a,b\n1,2,3\n", r"line 2: has 3 cells, but the header has 2 \(a, b\)"),
        ("a.csv", "a,a\n1,2\n", r"the header has 'a' twice"),
        ("a.csv", "a,b\n", "is empty"),
        ("a.csv", "", "is empty"),
        ("a.csv", 'prompt,label\n"x"y,1\n', r"line 2: broken CSV"),
        ("a.csv", "prompt,weight\nx,much\n", r"line 2, weight: must be a number, not 'much'"),
        ("a.csv", "prompt,completions\nx,[1\n", r"line 2, completions: must be a JSON list"),
        ("a.json", "[1]", r"row 1: must be a JSON object, not the number 1"),
        ("a.json", '[{"a": 1},\n {"b"]', r"a.json, line 2: broken JSON"),
        ("a.json", '{"a": [{"x": 1}], "b": [{"x": 1}]}', r"several lists of rows \(a, b\)"),
        ("a.json", "3", r"must be a list of objects, not the number 3"),
        ("a.json", " ", "is empty"),
        ("a.jsonl.gz", "no gzip", "cannot be unpacked"),
        ("a.parquet", "no parquet", "cannot be read as Parquet"),
    ],
)
def test_broken_files_say_where(tmp_path, name, content, message):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        list(rows(path))
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_wide_encoding_names_its_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"prompt\nfine\n\xff\n")
    with pytest.raises(UserError, match=r"line 3: byte 13 of the file is not UTF-8"):
        list(rows(path))


def test_a_format_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=r"must end with .jsonl"):
        write_rows(tmp_path / "a.xlsx", ROWS)
