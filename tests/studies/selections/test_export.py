"""What is exported is what the source has: whole rows, to the byte, whatever stands in them."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thresher.cli.main import main
from thresher.selection.selection import open_selection
from thresher.studies.selections.export import our_names
from thresher.studies.selections.typed_columns import arrow_types, table_of

ODD = [
    "  two  spaces\tand a tab\n\nand an empty line \n",
    "the words <|endoftext|> are words",
    "हिन्दी में लिखा हुआ, e\u0301 and é, \u2028 a line separator",
    'quotes " and \\ and | and <b>tags</b> & more',
    "a long one " * 300,
    "carriage\r\nreturns\rtoo",
    "👩‍👩‍👧 joined, \u00a0 no-break",
]
ROWS = [
    {
        "key": 2**60 + number,
        "content": text,
        "score": number / 3 if number % 2 else None,
        "Rank": "first",
        "meta": {"tags": ["a"] * number, "nested": {"deep": number}},
        "mixed": number if number % 2 else f"{number:03d}",
        "flag": number % 2 == 0,
        "empty": None,
        "objects": {"a": 1} if number % 2 else {"b": [1.5, None]},
    }
    for number, text in enumerate(ODD)
]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def export(tmp_path):
    def export(rows, columns, method="random:1.0", form="jsonl", out="given"):
        (tmp_path / "pool.jsonl").write_text(lines(rows), encoding="utf-8", newline="\n")
        shared = ["--quiet", "--out"]
        assert main(["prepare", "--data", str(tmp_path / "pool.jsonl"), *columns, "--vocab-size", "400",
                     "--sequence-length", "32", *shared, str(tmp_path / "pool")]) == 0  # fmt: skip
        assert main(["select", "--method", method, "--pool", str(tmp_path / "pool"), "--export", str(tmp_path / out),
                     "--format", form, *shared, str(tmp_path / f"{out}-chosen")]) == 0  # fmt: skip
        return tmp_path / out, open_selection(tmp_path / f"{out}-chosen")

    return export


@pytest.mark.parametrize("columns", [["--text", "content"], ["--prompt", "Rank", "--continuation", "content"]])
def test_json_lines_are_the_source_s_rows_byte_for_byte_beside_ours(export, columns):
    folder, selection = export(ROWS, columns)
    written = (folder / "kept-00000.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    positions = selection.positions.tolist()
    assert sorted(positions) == list(range(len(ROWS)))
    for rank, (line, position) in enumerate(zip(written, positions, strict=True), start=1):
        row = json.loads(line)
        ours = {name: row.pop(name) for name in ("id", "thresher_score", "thresher_rank")}
        assert ours == {"id": str(position), "thresher_score": None, "thresher_rank": rank}
        assert lines([row]) == lines([ROWS[position]])
    names = selection.artifact.path.parent / "given" / "meta.json"
    facts = json.loads(names.read_text())["facts"]
    assert facts["columns"] == {"id": "id", "score": "thresher_score", "rank": "thresher_rank"}


@pytest.mark.parametrize("form", ["jsonl", "parquet", "mds"])
def test_what_json_cannot_hold_is_null_in_every_json_that_is_written(export, form):
    nan, inf = float("nan"), float("inf")
    rows = [{"content": f"a text of number {n}", "many": {"x": nan, str(n): [inf, n]}, "one": nan} for n in range(5)]
    folder, selection = export(rows, ["--text", "content"], form=form)
    assert not any(word in b"".join(file.read_bytes() for file in folder.glob("*kept*")) for word in (b"NaN", b"Infin"))
    if form != "mds":
        file = folder / f"kept-00000.{form}"
        found = (
            [json.loads(line) for line in file.read_text().splitlines()]
            if form == "jsonl"
            else [row | {"many": json.loads(row["many"])} for row in pq.read_table(file).to_pylist()]
        )
        for row, position in zip(found, selection.positions.tolist(), strict=True):
            assert row["many"] == {"x": None, str(position): [None, position]}
            assert row["one"] is None if form == "jsonl" else np.isnan(row["one"])


def test_a_parquet_column_has_a_type_that_changes_nothing_or_is_json_text(export):
    folder, selection = export(ROWS, ["--text", "content"], form="parquet")
    table = pq.read_table(folder / "kept-00000.parquet")
    assert json.loads((folder / "meta.json").read_text())["facts"]["json_columns"] == ["mixed", "objects"]
    assert table.schema.field("key").type == pa.int64() and table.schema.field("flag").type == pa.bool_()
    for row, position in zip(table.to_pylist(), selection.positions.tolist(), strict=True):
        source = ROWS[position]
        assert json.loads(row["mixed"]) == source["mixed"] and json.loads(row["objects"]) == source["objects"]
        for name in ("key", "content", "score", "Rank", "meta", "flag", "empty"):
            assert row[name] == source[name]


def test_shards_of_one_export_have_one_schema(export, tmp_path):
    rows = [
        {"text": f"number {n}", "value": n if n < 4 else n + 0.5, "late": "x" if n == 7 else None} for n in range(8)
    ]
    export(rows, [], form="parquet")
    command = ["select", "--method", "random:1.0", "--pool", str(tmp_path / "pool"), "--rows-per-shard", "2", "--quiet"]
    assert main([*command, "--out", str(tmp_path / "b"), "--export", str(tmp_path / "shards")]) == 0
    schemas = [pq.read_schema(file) for file in sorted((tmp_path / "shards").glob("*.parquet"))]
    assert len(schemas) == 4 and all(schema == schemas[0] for schema in schemas)
    assert schemas[0].field("value").type == pa.float64() and schemas[0].field("late").type == pa.string()


def test_compressed_lines_are_the_plain_ones(export):
    plain, _ = export(ROWS, ["--text", "content"])
    packed, _ = export(ROWS, ["--text", "content"], form="jsonl.zst", out="packed")
    stream = pa.CompressedInputStream(str(packed / "kept-00000.jsonl.zst"), "zstd")
    assert io.BytesIO(stream.read()).getvalue() == (plain / "kept-00000.jsonl").read_bytes()


def test_duplicates_are_of_documents_and_what_stays_is_exported_once(export):
    rows = [{"text": f"word{n} " * 30, "site": n} for n in range(20)] * 2
    folder, selection = export(rows, [], method="exact")
    assert selection.artifact.facts["num_kept"] == selection.artifact.facts["num_dropped"] == 20
    written = [json.loads(line) for line in (folder / "kept-00000.jsonl").read_text().splitlines()]
    assert sorted(row["site"] for row in written) == list(range(20))


def test_the_card_shows_the_beginning_of_whole_documents_with_their_white_space(export):
    folder, _ = export(ROWS[:2], ["--text", "content"])
    assert "      two  spaces\tand a tab\n    \n    and an empty line" in (folder / "card.md").read_text()
    assert "  two  spaces\tand a tab\n\nand an empty line" in (folder / "card.html").read_text()


@pytest.mark.parametrize(
    ("taken", "names"),
    [
        (["text"], ["id", "score", "rank"]),
        (["ID", "text", "score"], ["thresher_id", "thresher_score", "rank"]),
        (["id", "thresher_id", "rank"], ["thresher_id_", "score", "thresher_rank"]),
    ],
)
def test_our_columns_never_take_the_name_of_the_source_s(taken, names):
    assert list(our_names(taken).values()) == names


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 3], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([2**53 + 1, 0.5], None),
        ([2**70], None),
        (["1", 1], None),
        ([True, 1], None),
        ([None, None], pa.string()),
        ([[1], []], pa.list_(pa.int64())),
        ([{"a": 1}, {"a": None}], pa.struct({"a": pa.int64()})),
        ([{"a": 1}, {}], None),
        ([{}], None),
        ([[], [{}]], None),
        ([[1, "a"]], None),
    ],
)
def test_a_column_s_type_gives_every_value_back(values, kind):
    for size in (1, len(values)):
        blocks = [[{"c": value} for value in values[at : at + size]] for at in range(0, len(values), size)]
        types = arrow_types(lambda blocks=blocks: blocks)
        assert types == {"c": kind}
        back = [row["c"] for rows in blocks for row in table_of(rows, types).to_pylist()]
        assert back == (values if kind is not None else [None if v is None else json.dumps(v) for v in values])
