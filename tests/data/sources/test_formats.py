"""Files as programs write them: JSON over lines or in arrays, CSV by Excel, byte order marks, line ends, Arrow."""

import gzip
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, models

from thresher.data.megatron import write_bin, write_idx
from thresher.data.sources import lines
from thresher.data.sources.skipped import Skipped
from thresher.data.sources.source import Source
from thresher.data.text.columns import TextColumns
from thresher.data.text.documents import read_documents
from thresher.errors import InputError

ROWS = [{"text": "soup", "id": "2021-03-01T10:00:00"}, {"text": "rope", "id": 2**63}]
IDS = ["2021-03-01T10:00:00", "9223372036854775808"]


def read(path, policy="refuse", skipped=None, **columns):
    source = Source((str(path),), bad_rows=policy)
    return [(one.id, one.text) for one in read_documents(source, TextColumns(**columns), skipped)]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


JSONS = {
    "lines": "\n".join(map(json.dumps, ROWS)) + "\n",
    "no end": "\n".join(map(json.dumps, ROWS)),
    "array": json.dumps(ROWS),
    "pretty array": json.dumps(ROWS, indent=2),
    "pretty objects": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "glued objects": "".join(map(json.dumps, ROWS)),
    "arrays": "\n".join(json.dumps([row]) for row in ROWS),
    "data": json.dumps({"version": "1.1", "data": ROWS}),
    "pretty data": json.dumps({"version": "1.1", "data": ROWS, "tags": ["a"]}, indent=1),
    "mac": "\r".join(map(json.dumps, ROWS)) + "\r",
    "windows": "\r\n".join(map(json.dumps, ROWS)) + "\r\n",
    "marks": "".join("\ufeff" + json.dumps(row) + "\n" for row in ROWS),
    "blank lines": "\n\n  \n" + "\n\n".join(map(json.dumps, ROWS)) + "\n\n",
}


@pytest.mark.parametrize("name", JSONS)
@pytest.mark.parametrize("ending", ["json", "jsonl", "json.gz"])
def test_every_writing_of_json_gives_the_same_rows_whatever_the_ending(tmp_path, name, ending):
    content = JSONS[name].encode()
    path = write(tmp_path / f"x.{ending}", gzip.compress(content) if ending == "json.gz" else content)
    assert read(path, id="id") == list(zip(IDS, ["soup", "rope"], strict=True))


def test_endings_may_be_written_in_capitals(tmp_path):
    assert read(write(tmp_path / "X.CSV.GZ", gzip.compress(b"text\nsoup\n"))) == [("0", "soup")]
    assert read(write(tmp_path / "X.TSV", "text\tn\nsoup\t1\n")) == [("0", "soup")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "txt"])
def test_a_byte_order_mark_says_the_encoding_and_is_no_text(tmp_path, encoding, ending):
    text = "caf\xe9 \u0928\u0926\u0940 \U0001f600"
    content = {
        "jsonl": json.dumps({"text": text}, ensure_ascii=False) + "\n",
        "json": json.dumps([{"text": text}], ensure_ascii=False, indent=1),
        "csv": f"text,n\r\n{text},1\r\n",
        "txt": text,
    }[ending]
    mark = "\ufeff" if encoding.endswith(("le", "be")) else ""
    path = write(tmp_path / f"x.{ending}", (mark + content).encode(encoding))
    assert [own for _, own in read(path)] == [text]
    if encoding.endswith(("le", "be")):
        write(path, content.encode(encoding))
        with pytest.raises(InputError, match="NUL byte at its start: UTF-16 without a byte order mark"):
            read(path)


def test_a_damaged_wide_encoding_is_named(tmp_path):
    path = write(tmp_path / "x.txt", "\ufeffsoup".encode("utf-16-le")[:-1])
    with pytest.raises(InputError, match=r"x.txt is not UTF-16-LE, as its mark says"):
        read(path)
    assert read(write(tmp_path / "y.txt", b"\xef\xbb\xbf")) == []  # only a mark: empty
    with pytest.raises(InputError, match=r"y.jsonl is empty"):
        read(write(tmp_path / "y.jsonl", b"\xef\xbb\xbf"))


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_only_line_feeds_and_carriage_returns_end_lines(tmp_path, letter):
    text = f"soup{letter}rope"
    row = '{"text": "' + text + '"}' if letter > "\x1f" else json.dumps({"text": text})
    assert read(write(tmp_path / "x.jsonl", row + "\n" + row)) == [("0", text), ("1", text)]
    assert read(write(tmp_path / "x.csv", f"text,n\n{text},1\n{text},2\n")) == [("0", text), ("1", text)]
    assert read(write(tmp_path / "x.txt", text)) == [("x.txt", text)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"text": "a"}, {"text": "b"},]', "line 1 is not JSON"),
        ('[{"text": "a"},\n {"text": "b"}', "line 2 is not JSON"),
        ('[{"text": "a"},\n {"text": }]', "line 2 is not JSON"),
        ('[{"text": "a"},\r {"text": }]', "line 2 is not JSON"),
        ('{"text": "a", }\n', "line 1 is not JSON"),
        ('[{"text": "a"}, 3]', "row 2 is int, not an object"),
        ('{"text": "a", "text": "b"}\n{"text": "c"}\n', "line 1 has the key 'text' twice in one object"),
        ('[{"text": "a"}, {"text": "b", "m": {"k": 1, "k": 2}}]', "row 2 has the key 'k' twice in one object"),
        ('{"text": "a"}\n{"text": NaN}\n', "row 2: column 'text' holds NaN, not text"),
        ('{"text": "a\x00"}\n{"text": "b"}\n', "line 1 is not JSON (Invalid control character"),
        ('{"Text": "a"}\n', "has no column 'text'; its columns are: Text (did you mean 'Text'?)"),
        ('{"data": [{"body": "a"}]}', "row 1 of 'data' has no column 'text'; its columns are: body"),
        ('{"body": "a b", "data": [{"id": 1}]}', "line 1 has no column 'text'; its columns are: body, data"),
        ('{"data": [{"text": "a"}, {"body": "b"}]}', "row 2 of 'data' has no column 'text'; its columns are: body"),
        ('{"data": [{"text": "a"}, {"text": "b", "m": [{"k": 1, "k": 2}]}]}', "row 2 of 'data' has the key 'k' twice"),
        ('{"data": [{"text": "a"}], "m": {"k": 1, "k": 2}}', "x.json has the key 'k' twice in one object"),
        ('{"text": {"0": "a"}}', "column 'text' holds objects (fields 0), not text"),
        ('{"text": ["a", "b"]}', "column 'text' holds lists, not text"),
        ('{"train": [{"text": "a"}], "test": [{"text": "b"}]}', "holds rows in 'train', 'test'; write those"),
        ("[]", "is empty: it has no rows"),
        ("\n \n", "is empty: it has no rows"),
        ('{"text": ' + "9" * 5000 + "}\n", "line 1 is not JSON"),
    ],
)
def test_json_that_cannot_be_rows_is_named_in_one_line(tmp_path, content, said):
    path = write(tmp_path / "x.json", content)
    with pytest.raises(InputError) as error:
        read(path)
    assert said in str(error.value) and "x.json" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("around", ["{}", '{{"data": {}}}', '{{"version": "1.1", "data": {}, "tags": [{{"a": 1}}]}}'])
@pytest.mark.parametrize("turn", range(5))
def test_rows_of_an_array_that_cannot_be_used_are_skipped_and_counted(tmp_path, around, turn):
    skipped = Skipped()
    rows = ['{"text": "a"}', "3", '{"body": "b"}', '{"text": "c", "text": "d"}', '{"text": "e"}']
    rows = rows[turn:] + rows[:turn]  # whichever is the first
    good = [(str(place), row[10]) for place, row in enumerate(rows) if row in ('{"text": "a"}', '{"text": "e"}')]
    assert read(write(tmp_path / "x.json", around.format(f"[{', '.join(rows)}]")), "skip", skipped) == good
    assert skipped.counts == {"not an object": 1, "no column text": 1, "a key twice": 1}


def test_a_key_twice_beside_the_rows_of_an_object_is_listed_and_costs_no_row(tmp_path):
    skipped = Skipped()
    content = '{"m": {"k": 1, "k": 2}, "data": [{"text": "a"}, {"text": "b", "text": "c"}]}'
    assert read(write(tmp_path / "x.json", content), "skip", skipped) == [("0", "a")]
    assert skipped.counts == {"a key twice": 2}


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ({"text": "hot soup", "answers": [{"start": 3}]}, None),
        ({"meta": {"title": "hot soup"}, "data": [{"text": "rope"}]}, None),
        ({"a": [{"text": "soup"}], "b": [{"text": "rope"}]}, None),
        ({"tags": ["hot soup"], "data": [{"text": "rope"}]}, None),
        ({"version": "v2.0", "data": [{"text": "soup"}, {"text": "rope"}]}, [{"text": "soup"}, {"text": "rope"}]),
        ({"data": [{"text": "soup"}, {"body": "rope"}]}, [{"text": "soup"}, {"body": "rope"}]),
        ({"count": 1, "more": None, "none": [], "data": [{"text": "soup"}]}, [{"text": "soup"}]),
    ],
)
def test_a_lone_object_read_for_all_its_text_loses_none(tmp_path, content, rows):
    path = write(tmp_path / "x.json", json.dumps(content))
    assert list(Source((str(path),)).rows([])) == (rows or [content])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id,text\r1,soup\r2,rope\r", ["soup", "rope"]),  # Excel's Macintosh CSV
        ("id;text\n1;soup, hot\n2;rope\n", ["soup, hot", "rope"]),  # Excel where a comma is the decimal point
        ("id\ttext\n1\tsoup, hot\n", ["soup, hot"]),
        ("sep=;\r\nid;text\r\n1;soup\r\n", ["soup"]),
        ("\ufeffsep=|\nid|text\n1|soup\n", ["soup"]),
        ('id,text\n1,"soup ""hot"", red"\n', ['soup "hot", red']),
        ('id,text\n1,5" pan\n', ['5" pan']),  # a quote inside an unquoted field is itself
        ('id,text\n1,"two\nlines\r\nand\rmore"\n', ["two\nlines\r\nand\rmore"]),
        (",text\n0,soup\n1,rope\n", ["soup", "rope"]),  # pandas' index
        ("text,n,\nsoup,1,\n", ["soup"]),  # a delimiter at each end
        ("\n\nid,text\n\n1,soup\n\n", ["soup"]),
        ("text\nsoup\nrope", ["soup", "rope"]),
        ('"text","a\nb"\nsoup,1\n', ["soup"]),
        ("text,a,a\nsoup,1,2\n", ["soup"]),  # a name twice that nobody asks for
        ('id,text\n1,"soup"\r\n\r\n', ["soup"]),
    ],
)
def test_csv_is_read_as_it_was_meant(tmp_path, content, expected):
    assert [text for _, text in read(write(tmp_path / "x.csv", content))] == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('id,text\n1,"soup\n2,rope\n3,boat\n', "line 2 opens a quote that is never closed"),
        ('id,text\n1,"a\nb","soup\n2,rope\n', "line 3 opens a quote that is never closed"),
        ('id,text\n1,"soup\n2,"rope"\n', "line 2 opens a quote that closes in the middle of a field, at line 3"),
        ('id,text\n1,"soup"s\n', "line 2 opens a quote that closes in the middle of a field, at line 2"),
        ('id,"text\n1,soup\n', "line 1 opens a quote that is never closed"),
        ("id,text\n1,soup,hot\n", "line 2 has not as many fields as the header (3 for 2)"),
        ("id,text\n1\n", "line 2 has not as many fields as the header (1 for 2)"),
        ("text,text\na,b\n", "has the column 'text' 2 times"),
        ("id,text\n", "has no rows below its header"),
        ("id,text\n1,so\x00up\n", "line 2 holds a NUL byte"),
        ("id,text\n1,soup\nid,text\n2,rope\n", "line 3 is the header again"),
        ("id,text\n1,soup\n\ufeffid,text\n2,rope\n", "line 3 is the header again"),
        ("id;body\n1;soup\n", "has no column 'text'; its columns are: id;body"),
        (" text,n\nsoup,1\n", "(did you mean ' text'?)"),
    ],
)
def test_csv_that_a_lenient_reader_would_swallow_is_refused_at_its_line(tmp_path, content, said):
    with pytest.raises(InputError) as error:
        read(write(tmp_path / "x.csv", content))
    assert said in str(error.value) and "x.csv" in str(error.value) and "\n" not in str(error.value)


def test_a_quote_left_open_is_refused_even_where_bad_rows_are_skipped(tmp_path):
    path = write(tmp_path / "x.csv", 'id,text\n1,"soup\n2,rope\n')
    for policy in ("skip", "replace"):
        with pytest.raises(InputError, match="line 2 opens a quote"):  # else row 2 would be lost in row 1
            read(path, policy)


@pytest.mark.parametrize("place", [0, 3, 8])
def test_a_text_file_with_a_nul_byte_is_no_text(tmp_path, place):
    write(tmp_path / "a.txt", b"soup and"[:place] + b"\0rope")
    write(tmp_path / "b.txt", b"boat")
    said = "a.txt holds a NUL byte at character 8: it is no text" if place == 8 else "a.txt has a NUL byte at its start"
    with pytest.raises(InputError, match=said):
        read(tmp_path)
    for policy in ("skip", "replace"):
        skipped = Skipped()
        assert read(tmp_path, policy, skipped) == [("b.txt", "boat")] and skipped.counts == {"NUL byte": 1}


def test_a_nul_byte_at_the_start_of_a_table_costs_its_line_but_a_header_is_refused(tmp_path):
    skipped = Skipped()
    rows = read(write(tmp_path / "x.jsonl", b'\0{"text": "a"}\n{"text": "b"}\n'), "skip", skipped)
    assert rows == [("1", "b")] and skipped.counts == {"not JSON": 1}
    for content in (b"\0text\nsoup\n", "text\nsoup\n".encode("utf-16-le"), b"text,n\0\nsoup,1\n"):
        with pytest.raises(InputError, match="line 1, its header, holds a NUL byte: UTF-16 without a byte order mark"):
            read(write(tmp_path / "x.csv", content), "skip")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_only_lines_that_are_rows_are_held_to_the_length_of_one(tmp_path, monkeypatch, encoding):
    monkeypatch.setattr(lines, "LONGEST_LINE", 200)
    row, texts = json.dumps({"text": "soup " * 10}), ["soup " * 10] * 9
    array = f"[{', '.join([row] * 9)}]"
    for name, content in (("array", array), ("data", f'{{"data": {array}}}')):
        path = write(tmp_path / f"{name}.json", content.encode(encoding))
        assert [text for _, text in read(path)] == texts
    assert read(write(tmp_path / "x.txt", ("soup " * 90).encode(encoding))) == [("x.txt", "soup " * 90)]
    long = json.dumps({"text": "soup " * 90})
    for content in (f"{long}\n{row}\n", f"{row}\n{long}\n", f"{row}\n{array}\n"):
        with pytest.raises(InputError, match=r"x.jsonl has a line of more than .* a line is a row"):
            read(write(tmp_path / "x.jsonl", content.encode(encoding)))
    monkeypatch.setattr(lines, "LONGEST_TEXT", 500)
    with pytest.raises(InputError, match=r"array.json holds more than .* cut it into files, or into JSON lines"):
        read(tmp_path / "array.json")


def test_both_formats_of_arrow_are_read_and_a_damaged_one_named(tmp_path):
    table = pa.table({"text": ["soup", "rope"] * 700, "n": range(1400)})
    with pa.OSFile(str(tmp_path / "stream.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with pa.OSFile(str(tmp_path / "file.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    feather.write_feather(table, str(tmp_path / "x.feather"))
    expected = [(str(n), text) for n, text in enumerate(table["text"].to_pylist())]
    for name in ("stream.arrow", "file.arrow", "x.feather"):
        assert read(tmp_path / name) == expected
        with pytest.raises(InputError, match=r"has no column 'body'; its columns are: text, n"):
            read(tmp_path / name, text="body")
    for content in (b"", b"ARROW1 and so on", b"nonsense", (tmp_path / "stream.arrow").read_bytes()[:-900]):
        with pytest.raises(InputError, match=r"x.arrow (is not an Arrow file|is damaged)"):
            read(write(tmp_path / "x.arrow", content))
    empty = table.slice(0, 0)
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, pa.ipc.new_stream(sink, empty.schema) as writer:
        writer.write_table(empty)
    with pytest.raises(InputError, match=r"x.arrow is empty: it has no rows"):
        read(tmp_path / "x.arrow")


def test_tokens_of_megatron_are_those_of_a_vocabulary_with_holes(tmp_path):
    words = {"[UNK]": 1, "soup": 2, "rope": 3, "boat": 10}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    end, skipped = tokenizer.token_to_id("</s>"), Skipped()
    documents = [[2, 10, end], [3], [2, 7], [11], [-1], []]
    lengths = write_bin(tmp_path / "x.bin", [np.array(tokens, int) for tokens in documents], 4)
    write_idx(tmp_path / "x.idx", lengths, 4)
    assert read(tmp_path / "x.idx", "skip", skipped) == [("0", "soup boat"), ("1", "rope")]
    assert skipped.counts == {"unknown token": 3, "empty": 1}
    with pytest.raises(InputError, match=r"x.idx row 3 has the token 7, which tokenizer.json does not have"):
        read(tmp_path / "x.idx")


def test_columns_of_every_kind_of_text_are_text(tmp_path):
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        pq.write_table(pa.table({"text": pa.array(["caf\xe9", None], kind)}), tmp_path / "x.parquet")
        assert read(tmp_path / "x.parquet") == [("0", "caf\xe9")]


def test_a_column_twice_in_parquet_is_refused(tmp_path):
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), tmp_path / "x.parquet")  # fmt: skip  # noqa: E501
    with pytest.raises(InputError, match="has the column 'text' 2 times"):
        read(tmp_path / "x.parquet")


def test_a_time_that_python_cannot_hold_costs_only_who_asks_for_it(tmp_path):
    far = pa.array([2**60], pa.timestamp("ms"))
    pq.write_table(pa.table({"text": ["soup"], "when": far}), tmp_path / "x.parquet")
    assert next(Source((str(tmp_path / "x.parquet"),)).rows([]))["text"] == "soup"
    with pytest.raises(InputError, match="column 'when' holds"):
        read(tmp_path / "x.parquet", id="when")


def test_numbers_that_nobody_asks_for_may_be_anything(tmp_path):
    path = write(tmp_path / "x.jsonl", '{"text": "soup", "score": NaN, "high": Infinity}\n')
    (row,) = Source((str(path),)).rows(["text"])
    assert math.isnan(row["score"]) and row["high"] == math.inf
