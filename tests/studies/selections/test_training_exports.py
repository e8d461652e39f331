"""MDS and Megatron, out and in: what comes back is what was selected, also through the frameworks' own readers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import thresher
from thresher.cli.main import main
from thresher.data.sources.source import Source
from thresher.errors import InputError

ROWS = [
    {"key": f"k{n}", "content": text, "number": n, "share": n / 3, "maybe": None if n % 2 else n, "tags": ["a"] * n}
    for n, text in enumerate(
        ["plain words", "é, हिन्दी and 👩‍👧", " spaces \n and lines\n", "<|endoftext|> as words", "x" * 300]
    )
]
STREAMING = Path(os.environ.get("THRESHER_STREAMING", ".venv-streaming/bin/python")).absolute()


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return thresher.prepare(folder / "rows.jsonl", out=folder / "pool", text="content", id="key", vocab_size=300)


@pytest.fixture
def exported(pool, tmp_path):
    def exported(form, *options):
        command = ["select", "--method", "random:count=4", "--pool", str(pool.path), "--out", str(tmp_path / "chosen")]
        assert main([*command, "--export", str(tmp_path / form), "--format", form, "--quiet", *options]) == 0
        kept = thresher.open(tmp_path / "chosen")
        return tmp_path / form, [ROWS[place] for place in kept.positions.tolist()], kept

    return exported


def test_mds_holds_the_source_s_rows_and_is_read_as_a_source(exported):
    folder, rows, _ = exported("mds", "--rows-per-shard", "3")
    assert sorted(file.name for file in folder.glob("shard*")) == ["shard.00000.mds", "shard.00001.mds"]
    back = list(Source((str(folder),)).rows([]))
    assert [{name: row[name] for name in ROWS[0]} for row in back] == rows
    assert [row["rank"] for row in back] == [1, 2, 3, 4]
    facts = thresher.open(folder).facts
    assert set(facts["json_columns"]) == {"maybe", "tags", "score"}  # no plain encoding holds these unchanged


def test_megatron_holds_the_pool_s_tokens_and_gives_the_texts_back(exported, pool, tmp_path):
    folder, rows, kept = exported("megatron")
    source = Source((str(folder / "kept.idx"),))
    assert [row["text"] for row in source.rows(["text"])] == [row["content"] for row in rows]
    again = thresher.prepare(folder, out=tmp_path / "again", tokenizer=folder / "tokenizer.json")
    tokens, before = again.load().tokens, pool.load().tokens
    for number, position in enumerate(kept.positions.tolist()):
        assert tokens[number].tolist() == before[position].tolist()


def test_a_folder_of_splits_gives_the_one_that_is_asked_for(exported, tmp_path):
    folder, rows, _ = exported("mds")
    (tmp_path / "set").mkdir()
    for split in ("train", "val"):
        (tmp_path / "set" / split).symlink_to(folder)
    assert len(list(Source((str(tmp_path / "set"),)).rows([]))) == len(rows)
    assert len(list(Source((str(tmp_path / "set"),), "all").rows([]))) == 2 * len(rows)
    with pytest.raises(InputError, match="no split 'test'"):
        list(Source((str(tmp_path / "set"),), "test").rows([]))


@pytest.mark.parametrize(
    ("form", "name", "damage", "said"),
    [
        ("mds", "shard.00000.mds", lambda data: data[:-1], "is not what index.json says"),
        ("mds", "shard.00000.mds", None, "is missing"),
        ("mds", "index.json", lambda data: data.replace(b'"str"', b'"pkl"'), "is pkl, which is not read here"),
        ("megatron", "kept.bin", lambda data: data[:-2], "it speaks of more than the"),
        ("megatron", "kept.bin", None, "is missing, the tokens"),
        ("megatron", "kept.idx", lambda data: data[:40], "is no index of a Megatron data set"),
        ("megatron", "kept.idx", lambda data: b"PK" + data[2:], "does not begin with MMIDIDX"),
        ("megatron", "tokenizer.json", None, "lay the tokenizer.json that made them beside it"),
    ],
)
def test_damaged_data_sets_are_refused_by_name(exported, form, name, damage, said):
    folder, _, _ = exported(form)
    if damage is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(InputError, match=said):
        list(Source((str(folder),)).rows(["content" if form == "mds" else "text"]))


@pytest.mark.integration
def test_megatron_core_reads_what_is_written_and_its_own_is_read_here(exported, pool, tmp_path):
    indexed = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    torch = pytest.importorskip("torch")
    folder, _, kept = exported("megatron")
    theirs = indexed.IndexedDataset(str(folder / "kept"))
    ours = [pool.load().tokens[place].tolist() for place in kept.positions.tolist()]
    assert [theirs[n].tolist() for n in range(len(theirs))] == ours
    assert theirs.document_indices.tolist() == list(range(len(ours) + 1))
    builder = indexed.IndexedDatasetBuilder(str(tmp_path / "own.bin"), dtype=np.int32)
    for tokens in ours:  # documents of two sequences each
        half = len(tokens) // 2
        builder.add_document(torch.tensor(tokens), [half, len(tokens) - half])
    builder.finalize(str(tmp_path / "own.idx"))
    (tmp_path / "own.tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    texts = [row["text"] for row in Source((str(tmp_path / "own.idx"),)).rows(["text"])]
    assert texts == [ROWS[place]["content"] for place in kept.positions.tolist()]


READ = """
import json, sys
from streaming import LocalDataset
print(json.dumps([dict(row) for row in LocalDataset(sys.argv[1])], default=lambda value: value.item()))
"""
WRITE = """
import json, sys
from streaming import MDSWriter
columns = {"text": "str", "id": "int", "share": "float32", "meta": "json", "raw": "bytes", "array": "ndarray"}
import numpy as np
with MDSWriter(out=sys.argv[1], columns=columns, compression=sys.argv[2] or None, size_limit=400) as out:
    for n, text in enumerate(json.loads(sys.argv[3])):
        out.write({"text": text, "id": n, "share": n / 4, "meta": {"n": [n]}, "raw": b"ab", "array": np.arange(n + 1)})
"""


def by_streaming(script, *arguments):
    if not STREAMING.exists():
        pytest.skip(f"no environment with mosaicml-streaming at {STREAMING} (make test-integrations makes one)")
    done = subprocess.run([STREAMING, "-c", script, *arguments], capture_output=True, text=True, cwd=sys.prefix)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.integration
def test_mosaicml_streaming_reads_what_is_written(exported):
    folder, rows, _ = exported("mds", "--rows-per-shard", "3")
    theirs = json.loads(by_streaming(READ, str(folder)).splitlines()[-1])
    assert [{name: row[name] for name in ROWS[0]} for row in theirs] == rows


@pytest.mark.integration
@pytest.mark.parametrize("compression", ["", "zstd:3", "gz", "bz2"])
def test_what_mosaicml_streaming_writes_is_read_here(tmp_path, compression):
    texts = [row["content"] for row in ROWS]
    by_streaming(WRITE, str(tmp_path / "mds"), compression, json.dumps(texts))
    rows = list(Source((str(tmp_path / "mds"),)).rows(["text", "id"]))
    expected = [
        {"text": text, "id": n, "share": n / 4, "meta": {"n": [n]}, "raw": b"ab"} for n, text in enumerate(texts)
    ]
    assert rows == expected and len(list((tmp_path / "mds").glob("shard*"))) > 1
    with pytest.raises(InputError, match="column 'array' is ndarray, which is not read here"):
        list(Source((str(tmp_path / "mds"),)).rows(["array"]))
