"""Selectors by embeddings that no proxy makes: a column of the source, a model of sentence-transformers."""

import importlib
import json

import numpy as np
import pytest

import thresher
from tests.toy_corpus import WORDS
from thresher.errors import InputError
from thresher.vectors import directions

ANGLES = np.linspace(0, 2 * np.pi, 9)[:-1]
ROWS = [
    {"id": f"r{n}", "text": f"text number {n} of them", "vector": [float(np.cos(a)), float(np.sin(a)), 5.0]}
    for n, a in enumerate(ANGLES)
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")

    def write(name, rows, **options):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return thresher.prepare(folder / f"{name}.jsonl", out=folder / name, id="id", **options)

    pool = write("pool", ROWS, vocab_size=300)
    target = write("target", [ROWS[3] | {"id": "t"}], tokenizer=pool.path)
    return pool, target, write


def test_a_column_ranks_as_its_own_cosines_around_the_pool_s_mean_do(prepared, tmp_path):
    pool, target, _ = prepared
    chosen = thresher.select(pool=pool, targets={"t": target}, method="embedding", count=8, embeddings="column:vector",
                             out=tmp_path / "chosen")  # fmt: skip
    vectors = np.array([row["vector"] for row in ROWS])
    unit = directions(vectors, vectors.mean(axis=0))
    order = np.argsort(-(unit @ unit[3]), kind="stable")
    assert chosen.ids[0] == "r3" and {chosen.ids[1], chosen.ids[2]} == {"r2", "r4"}
    assert [ROWS[place]["id"] for place in order[3:]][-1] == chosen.ids[-1] == "r7"


@pytest.mark.parametrize(
    ("embeddings", "said"),
    [
        ("vector", "say neither where nor how"),
        ("column:", "say neither where nor how"),
        ("column:vectr", "example 'r0' .* has no numbers in the column 'vectr'"),
        ("column:id", "has no numbers in the column 'id'"),
    ],
)
def test_what_is_no_embedding_is_refused(prepared, tmp_path, embeddings, said):
    with pytest.raises(InputError, match=said):
        thresher.select(pool=prepared[0], method="d4", count=2, embeddings=embeddings, out=tmp_path / "chosen")


def test_rows_of_different_lengths_are_refused_by_id(prepared, tmp_path):
    odd = prepared[2]("odd", [*ROWS[:2], ROWS[2] | {"vector": [1.0]}], tokenizer=prepared[0].path)
    with pytest.raises(InputError, match=r"example 'r2' .* has other numbers .* list of 3 numbers"):
        thresher.select(pool=odd, method="d4", count=2, embeddings="column:vector", out=tmp_path / "chosen")


@pytest.mark.integration
def test_a_model_of_sentence_transformers_is_asked_for_whole_texts_and_asked_once(corpus, tmp_path):
    folder = sentence_model(tmp_path / "model")
    pool = thresher.prepare(corpus, out=tmp_path / "pool", id="id", domain="source", vocab_size=300)
    target = thresher.prepare(corpus, out=tmp_path / "target", id="id", tokenizer=pool.path, limit=1)
    given = {"pool": pool, "targets": {"t": target}, "embeddings": f"sentence-transformers:{folder}",
             "evidence": tmp_path / "evidence"}  # fmt: skip
    chosen = thresher.select(method="embedding", count=20, out=tmp_path / "chosen", **given)
    assert chosen.ids[0] == target.table()["id"][0]  # it is nearest to itself
    from sentence_transformers import SentenceTransformer

    (kept,) = [np.load(file) for file in (tmp_path / "evidence").rglob("embeddings.npy") if len(np.load(file)) == 60]
    texts = [json.loads(line)["text"] for line in corpus.read_text().splitlines()]
    theirs = SentenceTransformer(str(folder), device="cpu").encode(texts, show_progress_bar=False)
    np.testing.assert_allclose(kept, theirs, atol=1e-5)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "evidence").rglob("embeddings.npy")}
    thresher.select(method="semdedup | random", count=20, out=tmp_path / "other", **given)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "evidence").rglob("embeddings.npy")} == files
    with pytest.raises(InputError, match="could not be loaded"):
        thresher.select(
            method="d4", count=2, out=tmp_path / "no", **given | {"embeddings": f"sentence-transformers:{pool.path}"}
        )


def sentence_model(folder):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = sorted({word for text in WORDS.values() for word in text.split()})
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(["[PAD]", "[UNK]", *words])}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]",
                            model_max_length=64).save_pretrained(folder / "bert")  # fmt: skip
    config = BertConfig(vocab_size=len(words) + 2, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16, max_position_embeddings=64)  # fmt: skip
    BertModel(config).save_pretrained(folder / "bert")
    parts = importlib.import_module("sentence_transformers.models")
    transformer = parts.Transformer(str(folder / "bert"))
    pooling = parts.Pooling(transformer.get_word_embedding_dimension())
    sentence_transformers.SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(folder / "whole"))
    return folder / "whole"
