"""A source that changes while it is read is refused: what is made of it says what it was made of."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from thresher.data.examples import open_examples
from thresher.data.preparing import PicturePart, TextPart, prepare_pictures
from thresher.data.sources.source import Source
from thresher.data.text.columns import TextColumns
from thresher.errors import InputError


def write_rows(file, count, word="word"):
    file.write_text("".join(json.dumps({"text": f"{word} {i}"}) + "\n" for i in range(count)))


def append(file):
    with open(file, "a") as opened:
        opened.write(json.dumps({"text": "one more"}) + "\n")


def rewrite(file):
    write_rows(file, 50, "what")


def replace(file):
    write_rows(file.with_suffix(".new"), 50, "what")
    os.replace(file.with_suffix(".new"), file)


@pytest.mark.parametrize("change", [append, rewrite, replace, os.unlink])
@pytest.mark.parametrize("after", [0, 30, 49])
def test_a_file_that_changes_between_its_hash_and_its_last_row_is_refused(tmp_path, change, after):
    file = tmp_path / "pool.jsonl"
    write_rows(file, 50)
    os.utime(file, (1, 1))
    source = Source((str(file),))
    source.fingerprint()
    with pytest.raises(InputError, match=r"pool.jsonl changed while it was read; wait until it is written") as error:
        for number, _ in enumerate(source.read(["text"])):
            if number == after:
                change(file)
    assert "\n" not in str(error.value)


def test_a_file_that_changes_between_two_passes_is_refused(tmp_path):
    file = tmp_path / "pool.jsonl"
    write_rows(file, 50)
    part = TextPart(source=Source((str(file),)), columns=TextColumns())
    assert part.inputs and len(list(part.documents())) == 50
    append(file)
    with pytest.raises(InputError, match="changed while it was read"):
        list(part.documents())


def test_an_unread_rest_that_changes_is_no_matter(tmp_path):
    file, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_rows(file, 5)
    write_rows(other, 5)
    rows = Source((str(file), str(other))).read(["text"])
    assert next(rows).values == {"text": "word 0"}
    append(other)
    assert next(rows).values == {"text": "word 1"}


def paint(folder, *greys):
    folder.mkdir(parents=True, exist_ok=True)
    for number, grey in enumerate(greys):
        Image.new("RGB", (4, 4), (grey,) * 3).save(folder / f"{number}.png")


def table_of(folder, paths, form):
    """A table that names pictures by path; "meta" is what holds the column, where it is a field."""
    rows = [{"image": {"bytes": None, "path": str(path)}, "label": "xy"[n % 2]} for n, path in enumerate(paths)]
    if form == "parquet":
        rows = [{"meta": {"image": row["image"], "other": 1}, "label": row["label"]} for row in rows]
        pq.write_table(pa.Table.from_pylist(rows), folder / "x.parquet")
        return Source((str(folder / "x.parquet"),)), "meta.image"
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source((str(folder / "x.jsonl"),)), "image"


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_pictures_that_a_table_names_by_path_are_part_of_what_examples_are_made_of(tmp_path, form):
    def make(out):
        paths = ["a/0.png", tmp_path / "a/1.png", "a/0.png"]  # of the table's folder, absolute, and one again
        source, column = table_of(tmp_path, paths, form)
        return prepare_pictures(PicturePart(source=source, image=column), out=tmp_path / out)

    paint(tmp_path / "a", 10, 11)
    assert make("one").built and not make("one").built
    paint(tmp_path / "a", 10, 200)
    with pytest.raises(InputError, match=r"one was made with inputs\.source"):
        make("one")
    assert np.asarray(open_examples(make("two").path).images)[:, 0, 0, 0].tolist() == [10, 200, 10]


def test_pictures_within_a_table_are_in_its_own_hash_whatever_paths_stand_beside_them(tmp_path):
    paint(tmp_path, 10, 11)
    rows = [{"image": {"bytes": (tmp_path / f"{n}.png").read_bytes(), "path": f"{n}.png"}, "label": n} for n in (0, 1)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    source = Source((str(tmp_path / "x.parquet"),))
    before = source.fingerprint()
    assert PicturePart(source=source).inputs == {"source": before}
    paint(tmp_path, 1, 2)
    assert PicturePart(source=source).inputs == {"source": before}
    assert len(list(PicturePart(source=source).pictures())) == 2
    (tmp_path / "folder").mkdir()
    for name in ("x", "y"):
        paint(tmp_path / "folder" / name, 5)
    folder = Source((str(tmp_path / "folder"),))
    assert PicturePart(source=folder).inputs == {"source": folder.fingerprint()}


@pytest.mark.parametrize("change", [lambda file: Image.new("L", (4, 4)).save(file), os.unlink])
@pytest.mark.parametrize(("after", "limit"), [(0, None), (0, 2), (2, None)])
def test_a_picture_that_changes_between_its_hash_and_the_last_row_is_refused(tmp_path, change, after, limit):
    paint(tmp_path, 10, 11, 12)
    for file in tmp_path.glob("*.png"):
        os.utime(file, (1, 1))
    source, _ = table_of(tmp_path, ["0.png", "1.png", "2.png"], "jsonl")
    part = PicturePart(source=source, limit=limit)
    assert part.inputs
    with pytest.raises(InputError, match=r"1.png changed while it was read; wait until it is written"):
        for number, _ in enumerate(part.pictures()):
            if number == after:
                change(tmp_path / "1.png")


def test_a_picture_that_is_not_there_is_refused_at_its_row_and_what_comes_to_be_there_is_new(tmp_path):
    paint(tmp_path, 10)
    source, _ = table_of(tmp_path, ["0.png", "1.png"], "jsonl")
    before = PicturePart(source=source).inputs
    with pytest.raises(InputError, match=r"x.jsonl row 2 \(1\): the image cannot be decoded .*1.png does not exist"):
        list(PicturePart(source=source).pictures())
    assert len(list(PicturePart(source=source, limit=1).pictures())) == 1
    paint(tmp_path, 10, 11)
    assert PicturePart(source=Source(source.data)).inputs != before
