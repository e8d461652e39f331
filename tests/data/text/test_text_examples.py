import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.real_data import DATA, needs_data
from thresher.data.examples import open_examples
from thresher.data.images.image_examples import classes_of, prepare_images, read_images
from thresher.data.sources.skipped import Skipped
from thresher.data.sources.source import Source
from thresher.data.splits import part_of
from thresher.data.text.columns import TextColumns
from thresher.data.text.documents import Document, read_documents
from thresher.data.text.text_examples import prepare_text
from thresher.data.text.tokenizer import open_tokenizer, train_tokenizer
from thresher.data.token_files import cut
from thresher.errors import InputError

ROWS = [{"text": "alpha beta", "source": "a"}, {"text": "gamma", "source": "b"}, {"text": "  ", "source": "b"}]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_csv(path, rows):
    path.write_text("text,source\n" + "".join(f"{row['text']},{row['source']}\n" for row in rows), encoding="utf-8")


def write_gz(path, rows):
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory, corpus):
    texts = (json.loads(line)["text"] for line in corpus.read_text().splitlines())
    return train_tokenizer(texts, vocab_size=300, out=tmp_path_factory.mktemp("t") / "tokenizer", inputs={}).path


def prepare(path, documents, tokenizer, *, length=8, pack=True, **options):
    artifact = prepare_text(
        lambda skipped: documents,
        out=path,
        tokenizer=tokenizer,
        sequence_length=length,
        pack=pack,
        config={},
        inputs={},
        **options,
    )
    return open_examples(artifact.path)


@pytest.mark.parametrize(
    ("name", "write"),
    [("x.jsonl", write_jsonl), ("x.csv", write_csv), ("x.jsonl.gz", write_gz), ("x.parquet", write_parquet)],
)
def test_every_format_gives_the_same_documents(tmp_path, name, write):
    write(tmp_path / name, ROWS)
    skipped = Skipped()
    documents = list(read_documents(Source((str(tmp_path / name),)), TextColumns(domain="source"), skipped))
    assert documents == [Document("0", "a", "alpha beta"), Document("1", "b", "gamma")]
    assert skipped.counts == {"empty": 1}


def test_text_files_are_documents_named_after_their_path_and_globs_are_in_order(tmp_path):
    for name in ("b/two.txt", "a/one.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"text of {name}")
    from_glob = list(read_documents(Source((str(tmp_path / "*/*.txt"),)), TextColumns()))
    from_folder = list(read_documents(Source((str(tmp_path),)), TextColumns()))
    assert [document.id for document in from_glob] == ["a/one.txt", "b/two.txt"]
    assert from_glob == from_folder


def test_a_document_is_an_example_kept_whole_and_read_in_windows_of_its_own(tmp_path, tokenizer):
    encoder, end, *_ = open_tokenizer(tokenizer)
    texts = ["boil the rice", "stir the soup with salt and butter", "the wind fills the sail"]
    documents = [Document(f"id{i}", "ab"[i % 2], text) for i, text in enumerate(texts)]
    examples = prepare(tmp_path / "pool", documents, tokenizer)
    expected = [[*encoder.encode(text).ids, end] for text in texts]
    assert [examples.tokens[i].tolist() for i in range(3)] == expected
    assert examples.ids == ["id0", "id1", "id2"] and examples.domains.tolist() == ["a", "b", "a"]
    assert examples.lengths().tolist() == [len(own) for own in expected]
    assert examples.texts([2, 0]) == [texts[2], texts[0]]
    assert examples.windows.lengths.max() <= 8 and len(examples.windows.example) > 3
    together = examples.batch(np.arange(len(examples.windows.example)))
    for number, own in enumerate(expected):
        read = [
            token
            for window in np.flatnonzero(examples.windows.example == number)
            for token in together["input_ids"][window, : examples.windows.lengths[window]].tolist()
        ]
        assert read == own
    predicted = (together["labels"] != -100).sum(dim=1).numpy()
    for number in range(3):
        own = examples.windows.example == number
        np.testing.assert_allclose(examples.windows.weights[own], predicted[own] / predicted[own].sum())


@pytest.mark.parametrize(("length", "most"), [(1, 8), (2, 2), (3, 2), (9, 8), (17, 8), (800, 7), (64, 64)])
def test_windows_are_few_of_like_length_and_leave_at_most_a_lone_last_token(length, most):
    windows = cut(length, most)
    assert windows[0, 0] == 0 and (windows[1:, 0] == windows[:-1, 1]).all() and length - windows[-1, 1] <= 1
    sizes = windows[:, 1] - windows[:, 0]
    assert sizes.max() <= most and sizes.max() - sizes.min() <= 1 and len(windows) <= -(-length // most)


def test_windows_begin_where_characters_do():
    breaks = np.arange(100) % 3 == 0
    windows = cut(100, 8, breaks)
    assert (windows[:, 0] % 3 == 0).all() and windows[-1, 1] == 100
    assert (windows[:, 1] - windows[:, 0] <= 8).all()
    # A character longer than a window is cut all the same.
    assert len(cut(20, 6, np.arange(20) == 0)) > 1


def test_the_source_row_comes_back_with_all_its_columns(tmp_path, tokenizer):
    row = {"prompt": "what floats?", "n": 3, "tags": ["a", None], "meta": {"x": 0.5}, "text": "the boat", "none": None}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    columns = TextColumns(prompt="prompt", id="n")
    documents = list(read_documents(Source((str(tmp_path / "rows.jsonl"),)), columns, whole_rows=True))
    config = {"columns": {"text": "text", "prompt": "prompt"}}
    made = prepare_text(
        lambda skipped: documents, out=tmp_path / "t", tokenizer=tokenizer, sequence_length=32, pack=False,
        config=config, inputs={},
    )  # fmt: skip
    examples = open_examples(made.path)
    assert examples.ids == ["3"] and examples.source_columns([0]) == [row]
    assert examples.texts([0]) == ["what floats? the boat"]


def test_only_the_continuation_is_predicted_and_a_long_prompt_loses_its_beginning(tmp_path, tokenizer):
    encoder = open_tokenizer(tokenizer).tokenizer
    long = "the wind fills the sail and the boat turns"
    documents = [Document("short", "", "soup", "a"), Document("long", "", "soup", long)]
    examples = prepare(tmp_path / "target", documents, tokenizer, length=6, pack=False)
    answer = encoder.encode(" soup").ids
    batch = examples.batch([0, 1])
    for row in range(2):
        labels = batch["labels"][row]
        assert labels[labels != -100].tolist() == answer
    kept = encoder.encode(long).ids[-(6 - len(answer)) :]
    assert batch["input_ids"][1].tolist() == [*kept, *answer]
    assert examples.artifact.facts["skipped"] == {"shortened": 1}


def test_a_batch_is_no_wider_than_its_longest_example(tmp_path, tokenizer):
    documents = [Document("a", "", "boil"), Document("b", "", "boil the rice with salt and butter")]
    examples = prepare(tmp_path / "target", documents, tokenizer, length=32, pack=False)
    alone, together = examples.batch([0]), examples.batch([0, 1])
    assert alone["input_ids"].shape[1] == max(examples.lengths()[0], 2)
    assert together["input_ids"].shape[1] == examples.lengths()[1]


def test_parts_are_disjoint_cover_everything_and_ignore_order():
    documents = [Document(str(number), "", f"text {number}") for number in range(500)]
    low = list(part_of(documents, 0, 0.3, seed=1))
    high = list(part_of(documents[::-1], 0.3, 1, seed=1))
    assert {d.id for d in low} | {d.id for d in high} == {d.id for d in documents}
    assert not {d.id for d in low} & {d.id for d in high}
    assert 100 < len(low) < 200  # 150 +- 5 standard deviations
    assert list(part_of(documents, 0, 0.3, seed=2)) != low


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.jsonl", None, "does not exist"),
        ("empty.jsonl", b"", "is empty"),
        ("bad.jsonl", b'{"text": "a"}\n{"text": \n', "line 2 is not JSON"),
        ("latin.jsonl", '{"text": "a"}\n{"text": "é"}\n'.encode("latin-1"), "is not UTF-8 at byte 24"),
        ("latin.txt", "caf\xe9".encode("latin-1"), "is not UTF-8 at byte 3"),
        ("column.jsonl", b'{"body": "a"}\n', "has no column 'text'; its columns are: body"),
        ("number.jsonl", b'{"text": 3}\n', "row 1: column 'text' holds int, not text"),
        ("not.parquet", b"PAR0", "is not a Parquet file"),
        ("list.jsonl", b"[1]\n", "row 1 is int, not an object"),
        ("short.csv", b"text,source\na\n", "line 2 has not as many fields as the header"),
        ("null.jsonl", b'{"text": "a"}\n{"text": 3}\n', "row 2: column 'text' holds int"),
        ("broken.jsonl.gz", b"no gzip", "cannot be decompressed"),
        ("picture.png", None, "does not exist"),
        ("odd.xyz", b"a", "has an ending that cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        list(read_documents(Source((str(tmp_path / name),)), TextColumns()))
    assert said in str(error.value) and "\n" not in str(error.value)
    assert name in str(error.value)


def test_a_parquet_file_without_rows_is_named(tmp_path):
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"x.parquet is empty: it has no rows"):
        list(read_documents(Source((str(tmp_path / "x.parquet"),)), TextColumns()))


def test_an_id_that_occurs_twice_is_refused(tmp_path):
    write_jsonl(tmp_path / "x.jsonl", [{"text": "a", "id": "one"}, {"text": "b", "id": "one"}])
    with pytest.raises(InputError, match="the id 'one' twice"):
        list(read_documents(Source((str(tmp_path / "x.jsonl"),)), TextColumns(id="id")))


def test_a_pool_of_blank_documents_makes_nothing(tmp_path, tokenizer):
    with pytest.raises(InputError, match="empty or all blank"):
        prepare(tmp_path / "pool", [], tokenizer)
    assert not (tmp_path / "pool").exists()


def save_images(folder, *, size=(4, 3)):
    for number, label in enumerate(["cat", "dog", "cat"]):
        path = folder / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number * 40, 10, 20)).save(path)


def test_an_image_folder_and_a_table_of_image_bytes_give_the_same_examples(tmp_path):
    save_images(tmp_path / "folder")
    rows = [
        {"image": {"bytes": path.read_bytes(), "path": None}, "label": path.parent.name}
        for path in sorted((tmp_path / "folder").rglob("*.png"))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "table.parquet")
    made = []
    for name in ("folder", "table.parquet"):
        source = Source((str(tmp_path / name),))
        classes = classes_of(source)
        assert classes == ["cat", "dog"]
        artifact = prepare_images(
            read_images(source), out=tmp_path / f"{name}-prepared", classes=classes, config={}, inputs={}
        )
        made.append(open_examples(artifact.path))
    folder, table = made
    np.testing.assert_array_equal(folder.images, table.images)
    np.testing.assert_array_equal(folder.labels, table.labels)
    batch = table.batch([2, 0])
    assert tuple(batch["pixel_values"].shape) == (2, 3, 3, 4)
    assert batch["pixel_values"].min() >= -1 and batch["pixel_values"].max() <= 1
    assert table.picture(0).startswith("data:image/png;base64,")


def test_an_image_that_does_not_decode_is_named(tmp_path):
    save_images(tmp_path / "folder")
    (tmp_path / "folder/dog/1.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"dog/1.png.*cannot be decoded"):
        list(read_images(Source((str(tmp_path / "folder"),))))
    pq.write_table(
        pa.Table.from_pylist([{"image": {"bytes": b"nonsense", "path": None}, "label": 0}]), tmp_path / "t.parquet"
    )
    with pytest.raises(InputError, match=r"row 1 \(0\): the image cannot be decoded"):
        list(read_images(Source((str(tmp_path / "t.parquet"),))))


def test_images_of_several_sizes_are_refused_or_resized(tmp_path):
    save_images(tmp_path / "folder")
    Image.new("RGB", (9, 9)).save(tmp_path / "folder/dog/1.png")
    source = Source((str(tmp_path / "folder"),))
    with pytest.raises(InputError, match=r"shape \(9, 9, 3\), the first has"):
        prepare_images(read_images(source), out=tmp_path / "x", classes=["cat", "dog"], config={}, inputs={})
    assert {image.pixels.shape for image in read_images(source, size=5)} == {(5, 5, 3)}


def test_a_tokenizer_without_an_end_token_or_a_broken_file_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="no tokenizer can be read"):
        open_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(InputError, match="at least 257"):
        train_tokenizer(["a"], vocab_size=100, out=tmp_path / "t", inputs={})


def test_a_target_folder_without_some_class_keeps_the_names_of_the_pool(tmp_path):
    save_images(tmp_path / "pool")
    Image.new("RGB", (4, 3)).save(tmp_path / "dog.png")
    (tmp_path / "target/dog").mkdir(parents=True)
    (tmp_path / "dog.png").rename(tmp_path / "target/dog/9.png")
    target = list(read_images(Source((str(tmp_path / "target"),))))
    assert [(image.id, image.label) for image in target] == [("9.png", "dog")]


def test_ids_and_words_are_kept_as_they_are_written(tmp_path):
    (tmp_path / "x.csv").write_text('id,text,source\n007,NA,null\n2020-01-01,"a, ""b""\nc",web\n')
    write_jsonl(tmp_path / "x.jsonl", [{"id": "2020-01-01", "text": "2021-01-01", "source": None, "file": "same.py"}])
    columns = TextColumns(id="id", domain="source")
    from_csv = list(read_documents(Source((str(tmp_path / "x.csv"),)), columns))
    from_json = list(read_documents(Source((str(tmp_path / "x.jsonl"),)), columns))
    assert from_csv == [Document("007", "null", "NA"), Document("2020-01-01", "web", 'a, "b"\nc')]
    assert from_json == [Document("2020-01-01", "", "2021-01-01")]


def test_files_beside_a_folder_are_read_too(tmp_path):
    (tmp_path / "folder").mkdir()
    write_jsonl(tmp_path / "folder/one.jsonl", ROWS[:1])
    write_jsonl(tmp_path / "two.jsonl", ROWS[1:2])
    source = Source((str(tmp_path / "two.jsonl"), str(tmp_path / "folder")))
    assert [document.text for document in read_documents(source, TextColumns())] == ["gamma", "alpha beta"]


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.2), (-1, 1), (0, 2)])
def test_an_impossible_part_is_refused(low, high):
    with pytest.raises(InputError, match="is empty or outside"):
        list(part_of([], low, high, seed=0))


@pytest.mark.shared_data
@needs_data
def test_a_part_of_a_real_corpus_and_a_real_target_are_prepared(tmp_path):
    source = Source((str(DATA / "corpus/documents.parquet"),))
    documents = list(part_of(read_documents(source, TextColumns(domain="domain")), 0, 0.03, seed=0))
    made = train_tokenizer((d.text for d in documents), vocab_size=1024, out=tmp_path / "tokenizer", inputs={})
    pool = prepare(tmp_path / "pool", documents, made.path, length=128)
    assert len(set(pool.domains)) == 13 and len(pool) > 500
    squad = Source((str(DATA / "targets/squad.jsonl"),))
    columns = TextColumns(text="continuation", prompt="context")
    target = prepare(tmp_path / "squad", read_documents(squad, columns), made.path, length=128, pack=False)
    assert len(target) == 1190 and "Question:" in target.preview(0)
