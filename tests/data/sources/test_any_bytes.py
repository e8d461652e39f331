"""Any bytes as a source are rows or one InputError, whatever the file says it is; what was written is read back."""

import csv
import gzip
import io
import json

import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from thresher.data.sources import lines
from thresher.data.sources.source import Source
from thresher.errors import InputError

ENDINGS = ".jsonl .json .csv .tsv .txt .parquet .arrow .jsonl.gz .csv.zst .json.xz .txt.bz2".split()
PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1, max_size=20)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
KEYS = st.sampled_from(["text", "id", "a"])
JSON = st.recursive(
    LEAVES, lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=3), max_leaves=8
)


def rows(path, *columns: str) -> list[dict]:
    return list(Source((str(path),)).rows(columns))


def check(path) -> None:
    for columns in (("text",), ()):
        try:
            rows(path, *columns)
        except InputError as error:
            assert str(error).strip()


@pytest.mark.parametrize("ending", ENDINGS)
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_rows_or_refused(tmp_path, ending, raw):
    (tmp_path / f"x{ending}").write_bytes(raw)
    check(tmp_path / f"x{ending}")


@given(st.lists(JSON, max_size=4), st.sampled_from([".json", ".jsonl"]))
def test_any_json_is_rows_or_refused(tmp_path, values, ending):
    (tmp_path / f"x{ending}").write_text("\n".join(map(json.dumps, values)))
    check(tmp_path / f"x{ending}")


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_parquet_file_with_a_byte_changed_is_rows_or_refused(tmp_path, place, change):
    stream = io.BytesIO()
    pq.write_table(pa.table({"text": ["a b", "c"], "id": [1, 2]}), stream)
    raw = bytearray(stream.getvalue())
    raw[place % len(raw)] ^= change
    (tmp_path / "x.parquet").write_bytes(raw)
    check(tmp_path / "x.parquet")


@given(st.lists(st.fixed_dictionaries({"id": PLAIN, "text": PLAIN}), min_size=1, max_size=5))
def test_texts_come_back_as_they_were_written(tmp_path, table):
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "x.parquet")
    stream = io.StringIO()
    writer = csv.DictWriter(stream, ["id", "text"])
    writer.writeheader()
    writer.writerows(table)
    (tmp_path / "x.csv").write_text(stream.getvalue(), newline="")
    for ending in ("jsonl", "parquet", "csv"):
        assert [
            {key: row[key] for key in ("id", "text")} for row in rows(tmp_path / f"x.{ending}", "id", "text")
        ] == table


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".json.gz", ".txt.gz"])
def test_what_unfolds_without_end_is_refused(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(lines, "LONGEST_LINE", 1000)
    monkeypatch.setattr(lines, "LONGEST_TEXT", 1000)
    path = tmp_path / f"x{ending}"
    with (gzip.open if path.suffix == ".gz" else open)(path, "wb") as file:
        file.write(b'text\n"' if ".csv" in ending else b'{"text": "')
        file.write(b"a" * 5000)
    with pytest.raises(InputError, match="more than"):
        rows(path, "text")
