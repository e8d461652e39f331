"""Bad input: each kind has one stated behaviour (docs/data.md), and nothing is lost without being listed."""

import bz2
import gzip
import json
import lzma

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.toy_corpus import WORDS
from thresher.cli.main import main
from thresher.data.examples import open_examples
from thresher.data.sources.seen import Seen
from thresher.data.sources.skipped import Skipped
from thresher.data.sources.source import Source
from thresher.data.text import encoding
from thresher.data.text.columns import TextColumns
from thresher.data.text.documents import Document, read_documents
from thresher.data.text.encoding import encode
from thresher.data.text.tokenizer import open_tokenizer, sample, train_tokenizer
from thresher.errors import InputError
from thresher.proxies import build_model, model_spec
from thresher.proxies.models.spec import check_fits

LATIN = "caf\xe9".encode("latin-1")
GOOD = b'{"id": "a", "text": "soup"}\n'


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory, corpus):
    texts = (json.loads(line)["text"] for line in corpus.read_text().splitlines())
    return train_tokenizer(texts, vocab_size=300, out=tmp_path_factory.mktemp("t") / "tokenizer", inputs={}).path


def read(path, policy="skip", columns=None):
    """(documents, what was skipped by reason)"""
    skipped = Skipped()
    documents = list(read_documents(Source((str(path),), bad_rows=policy), columns or TextColumns(), skipped))
    return documents, skipped.counts


@pytest.mark.parametrize(
    ("bad", "reason", "columns"),
    [
        (b'{"id": "b", "text": \n', "not JSON", {}),
        (b"[1]\n", "not an object", {}),
        (b'{"id": "b", "body": "x"}\n', "no column text", {}),
        (b'{"id": "b", "text": 3}\n', "not text", {}),
        (b'{"id": "b", "text": "' + LATIN + b'"}\n', "not UTF-8", {}),
        (b'{"id": "b", "text": "\\ud800"}\n', "not UTF-8", {}),
        (b'{"id": "a", "text": "x"}\n', "duplicate id", {"id": "id"}),
        (b'{"id": "", "text": "x"}\n', "no id", {"id": "id"}),
        (b'{"id": null, "text": "x"}\n', "no id", {"id": "id"}),
    ],
)
def test_a_bad_line_is_refused_by_name_or_skipped_and_counted(tmp_path, bad, reason, columns):
    path = tmp_path / "x.jsonl"
    path.write_bytes(GOOD + bad + GOOD.replace(b'"a"', b'"c"'))
    with pytest.raises(InputError) as error:
        read(path, "refuse", TextColumns(**columns))
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    documents, counts = read(path, columns=TextColumns(**columns))
    assert [one.id for one in documents] == (["a", "c"] if columns else ["0", "2"])  # rows keep their numbers
    assert counts == {reason: 1}


def test_broken_utf8_can_be_replaced_and_is_listed_then_too(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(GOOD + b'{"text": "' + LATIN + b' bar", "id": "\\udc00"}\n')
    documents, counts = read(tmp_path / "x.jsonl", "replace", TextColumns(domain="id"))
    assert documents[1] == Document("1", "\ufffd", "caf\ufffd bar")
    assert counts == {"not UTF-8, replaced": 2}
    (tmp_path / "x.txt").write_bytes(LATIN)
    assert read(tmp_path / "x.txt", "replace")[0] == [Document("x.txt", "", "caf\ufffd")]
    assert read(tmp_path / "x.txt") == ([], {"not UTF-8": 1})


def test_broken_utf8_in_csv_costs_only_its_own_row_even_inside_quotes(tmp_path):
    (tmp_path / "x.csv").write_bytes(b'text,n\none,1\n"two\n' + LATIN + b'\nthree",2\nshort\nfour,4\n')
    documents, counts = read(tmp_path / "x.csv")
    assert [one.text for one in documents] == ["one", "four"]
    assert counts == {"not UTF-8": 1, "number of fields": 1}


def test_broken_utf8_in_parquet_is_named_skipped_or_replaced(tmp_path):
    raw = pa.array([b"good", LATIN, b"fine"], pa.binary())
    broken = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    pq.write_table(pa.table({"text": broken, "n": [1, 2, 3]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="row 2: column 'text' is not UTF-8 at byte 3"):
        read(tmp_path / "x.parquet", "refuse")
    documents, counts = read(tmp_path / "x.parquet")
    assert [(one.id, one.text) for one in documents] == [("0", "good"), ("2", "fine")] and counts == {"not UTF-8": 1}
    assert read(tmp_path / "x.parquet", "replace")[0][1].text == "caf\ufffd"


def test_a_broken_byte_in_a_column_that_is_not_read_costs_nothing(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "soup", "other": "' + LATIN + b'"}\n')
    assert read(tmp_path / "x.jsonl") == ([Document("0", "", "soup")], {})


def test_a_shard_without_the_column_is_always_refused_by_name(tmp_path):
    for name, columns in {"a": {"text": ["soup"]}, "b": {"body": ["rope"], "n": [1]}}.items():
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        text = ",".join(columns) + "\n" + ",".join(str(values[0]) for values in columns.values()) + "\n"
        (tmp_path / f"{name}.csv").write_text(text)
    for ending in ("parquet", "csv"):
        for policy in ("refuse", "skip"):
            with pytest.raises(InputError, match=rf"b.{ending} has no column 'text'; its columns are: body, n"):
                read(tmp_path / f"*.{ending}", policy)


def test_shards_may_differ_in_what_is_not_read_and_in_the_type_of_ids(tmp_path):
    pq.write_table(pa.table({"text": ["soup"], "id": [1], "x": [0.5]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["two"], "y": [[1]], "text": pa.array(["rope"], pa.large_string())}), tmp_path / "b.parquet")  # fmt: skip  # noqa: E501
    documents, _ = read(tmp_path / "*.parquet", "refuse", TextColumns(id="id"))
    assert documents == [Document("1", "", "soup"), Document("two", "", "rope")]


def test_a_text_column_that_is_no_text_in_one_shard_is_named(tmp_path):
    pq.write_table(pa.table({"text": ["soup"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [3, 4]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b.parquet row 1: column 'text' holds int, not text"):
        read(tmp_path / "*.parquet", "refuse")
    assert read(tmp_path / "*.parquet")[1] == {"not text": 2}


def test_an_unknown_policy_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(GOOD)
    with pytest.raises(InputError, match="refuse, skip, replace, not 'ignore'"):
        read(tmp_path / "x.jsonl", "ignore")


def test_every_compression_is_read_and_a_damaged_one_named(tmp_path):
    with pa.CompressedOutputStream(pa.OSFile(str(tmp_path / "x.jsonl.zst"), "wb"), "zstd") as file:
        file.write(GOOD)
    (tmp_path / "x.jsonl.xz").write_bytes(lzma.compress(GOOD))
    (tmp_path / "x.jsonl.bz2").write_bytes(bz2.compress(GOOD))
    for ending in ("zst", "xz", "bz2"):
        path = tmp_path / f"x.jsonl.{ending}"
        assert read(path)[0] == [Document("0", "", "soup")]
        path.write_bytes(path.read_bytes()[:-6])
        with pytest.raises(InputError, match=rf"{ending} cannot be decompressed"):
            read(path)


def zstd(raw):
    stream = pa.BufferOutputStream()
    with pa.CompressedOutputStream(stream, "zstd") as file:
        file.write(raw)
    return stream.getvalue().to_pybytes()


PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}


@pytest.mark.parametrize("ending", PACK)
def test_what_follows_a_compressed_stream_is_another_or_the_file_is_refused(tmp_path, ending):
    pack, path = PACK[ending], tmp_path / f"x.jsonl.{ending}"
    one, two = pack(GOOD * 2000), pack(GOOD * 3000)
    filled = {"xz": bytes(8), "bz2": bytes(70_000)}.get(ending, b"")  # xz fills files up to a multiple of four bytes
    for whole in (one + two, pack(b"") + two + one, pack(b"{") + pack(GOOD[1:]) + one + two, one + filled + two):
        path.write_bytes(whole + filled)
        assert len(read(path)[0]) in (5000, 5001)
    damaged = two[:2] + bytes([two[2] ^ 0xFF]) + two[3:]
    for rest in (damaged, two[:-6], two[:3], GOOD, b"x", filled + GOOD):
        path.write_bytes(one + rest)
        with pytest.raises(InputError, match=rf"x.jsonl.{ending} cannot be decompressed"):
            read(path)


def test_a_line_of_ten_megabytes_is_one_document_read_in_windows_and_lost_in_no_part(tmp_path, tokenizer):
    line = " ".join(np.random.default_rng(0).choice(WORDS["sailing"].split(), 2_000_000)) + " \xe9"
    assert len(line) > 8_000_000
    (tmp_path / "x.jsonl").write_text(json.dumps({"text": line}) + "\n")
    arguments = ["prepare", "--data", tmp_path / "x.jsonl", "--tokenizer", tokenizer, "--out", tmp_path / "pool"]
    assert main([*map(str, arguments), "--sequence-length", "1024", "--quiet"]) == 0
    examples = open_examples(tmp_path / "pool")
    encoder, end, *_ = open_tokenizer(tokenizer)
    tokens = examples.tokens[0].tolist()
    assert tokens[:2000] == encoder.encode(line[:10_000]).ids[:2000] and tokens[-1] == end
    assert encoder.decode(tokens[:-1]) == line and examples.texts([0]) == [line]
    assert examples.windows.lengths.sum() == len(tokens) and examples.windows.lengths.max() <= 1024


def test_encoding_ahead_keeps_the_order_and_passes_errors_on(tokenizer, monkeypatch):
    monkeypatch.setattr(encoding, "BATCH_CHARACTERS", 50)
    encoder = open_tokenizer(tokenizer).tokenizer
    documents = [Document(str(n), "", f"soup {n}", "a prompt" if n % 2 else "") for n in range(40)]
    encoded = list(encode(iter(documents), encoder))
    assert [one.document for one in encoded] == documents
    assert encoded[3].piece.tokens.tolist() == encoder.encode("a prompt soup 3").ids
    assert encoded[3].piece.tokens[encoded[3].piece.first :].tolist() == encoder.encode(" soup 3").ids
    assert encoded[2].piece.tokens.tolist() == encoder.encode("soup 2").ids

    def breaking():
        yield from documents
        raise InputError("the disk is gone")

    with pytest.raises(InputError, match="the disk is gone"):
        list(encode(breaking(), encoder))


def test_what_was_seen_is_told_from_what_was_not():
    seen = Seen()
    assert all(seen.add(f"name {n}") for n in range(5000))
    assert not any(seen.add(f"name {n}") for n in range(5000))
    assert seen.add("name 5000")


def test_a_sample_of_texts_does_not_depend_on_order_and_keeps_its_size():
    texts = [f"{n} " * (1 + n % 7) for n in range(2000)]
    assert sorted(sample(texts, 10**6)) == sorted(texts)
    some = sample(texts, 5000)
    assert some == sample(texts[::-1], 5000)
    assert 5000 <= sum(map(len, some)) < 5100
    early = sum(int(text.split()[0]) < 1000 for text in some) / len(some)
    assert 0.35 < early < 0.65


def test_a_checkpoint_that_reads_other_tokens_is_refused(tmp_path, corpus, tokenizer, capsys):
    pool = tmp_path / "pool"
    base = ["prepare", "--data", str(corpus), "--sequence-length", "16", "--quiet", "--out"]
    assert main([*base, str(pool), "--tokenizer", str(tokenizer)]) == 0
    assert main([*base, str(tmp_path / "other"), "--vocab-size", "300", "--limit", "20", "--text", "id"]) == 0
    first, other = open_examples(pool), open_examples(tmp_path / "other")
    spec = model_spec("60k", first)
    check_fits(spec, first)
    with pytest.raises(InputError, match="prepared with another tokenizer"):
        check_fits(spec, other)
    folder = tmp_path / "checkpoint"
    build_model(spec, 0).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((pool / "tokenizer.json").read_bytes())
    for examples, status in ((pool, 0), (tmp_path / "other", 2)):
        arguments = ["featurize", "--models", str(folder), "--examples", str(examples), "--k", "16", "--quiet", "--out"]
        assert main([*arguments, str(tmp_path / f"features-{examples.name}")]) == status
    with pytest.raises(InputError, match="prepared with another tokenizer"):
        check_fits(model_spec(f"hf:{folder}", first), other)
    assert "prepared with another tokenizer than model" in capsys.readouterr().err


def test_settings_of_a_tokenizer_that_would_cut_texts_are_put_aside(tmp_path, tokenizer):
    encoder, _, own, _ = open_tokenizer(tokenizer)
    encoder.enable_truncation(3)
    encoder.enable_padding(length=50)
    encoder.save(str(tmp_path / "tokenizer.json"))
    again, _, hashed, _ = open_tokenizer(tmp_path / "tokenizer.json")
    assert hashed == own
    assert len(again.encode("boil the rice with salt").ids) > 3


def test_a_hub_name_is_read_by_configuration_split_and_revision(monkeypatch):
    import datasets

    asked = {}

    def load(name, config, **options):
        asked.update(options, name=name, config=config)
        return datasets.IterableDataset.from_generator(lambda: iter([{"text": "soup", "n": 1}]))

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr("thresher.data.sources.source._hub_revision", lambda name: "abc")
    source = Source(("owner/name",), "validation", "english")
    assert list(read_documents(source, TextColumns())) == [Document("0", "", "soup")]
    named = {"name": "owner/name", "config": "english", "split": "validation", "revision": "abc"}
    assert asked == {**named, "streaming": True}
    assert source.fingerprint() != Source(("owner/name",), "train", "english").fingerprint()
