"""A part of a source and what artefacts made from it are known by."""

import io
import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import thresher
from thresher.artifacts import build, open_artifact
from thresher.cli.main import main
from thresher.data.examples import Examples, open_examples
from thresher.data.preparing import (
    PicturePart,
    TextPart,
    learn_tokenizer,
    overlap_between,
    prepare_documents,
    prepare_labelled_documents,
    prepare_pictures,
)
from thresher.data.sources.source import Source
from thresher.data.text.columns import TextColumns
from thresher.errors import InputError
from thresher.scores import check_same_rows
from thresher.studies.preparation import _TextParts, prepare
from thresher.studies.study import PoolTable, Study, TargetTable
from thresher.workspace import Workspace

WORDS = "boil the rice with salt and stir the soup then bake the bread in a hot oven".split()


def png(grey):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (grey,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def source(tmp_path):
    rows = [{"text": " ".join([*WORDS[n % 7 :], f"w{n}"]), "id": f"d{n}"} for n in range(40)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source((str(tmp_path / "pool.jsonl"),))


COLUMNS = TextColumns(id="id")


def test_disjoint_parts_share_nothing_and_are_together_everything(source):
    parts = [TextPart(source=source, columns=COLUMNS, part=ends) for ends in ((0, 0.3), (0.3, 1))]
    low, high = ({document.id for document in part.documents()} for part in parts)
    assert not low & high and low | high == {f"d{n}" for n in range(40)}


def test_a_part_with_nobody_in_it_is_empty(source):
    assert TextPart(source=source, columns=COLUMNS, part=(0, 1e-9)).is_empty
    assert not TextPart(source=source, columns=COLUMNS).is_empty


def test_requests_stay_what_they_are_so_that_artefacts_are_found_again(source, tmp_path):
    part = TextPart(source=source, columns=COLUMNS, part=(0.0, 0.5), seed=3)
    tokenizer = learn_tokenizer(part, vocab_size=300, out=tmp_path / "tokenizer")
    config = {"columns": json.loads(json.dumps(asdict(COLUMNS))), "part": [0.0, 0.5], "bad_rows": "refuse"}
    assert tokenizer.meta["config"] == {**config, "vocab_size": 300} and tokenizer.meta["seed"] == 3
    assert tokenizer.meta["inputs"] == {"source": source.fingerprint()}
    pool = prepare_documents(part, tokenizer=tokenizer.path, sequence_length=16, out=tmp_path / "pool")
    assert pool.meta["config"] == {**config, "pack": True, "sequence_length": 16, "limit": None}
    assert set(pool.meta["inputs"]) == {"source", "tokenizer"} and pool.meta["seed"] == 3


def pictures_of(path, out, **options):
    return open_examples(prepare_pictures(PicturePart(source=Source((str(path),)), **options), out=out).path)


def test_pictures_of_tables_are_of_the_rows_that_number_them_and_those_of_folders_are_not(tmp_path):
    for name, grey in (("a", 10), ("b", 200)):
        rows = [{"name": f"{name}{n}", "label": "xy"[n % 2], "image": png(grey + n)} for n in range(4)]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
        for row in rows:
            (tmp_path / name / row["label"]).mkdir(parents=True, exist_ok=True)
            (tmp_path / name / row["label"] / f"{row['name']}.png").write_bytes(row["image"])
    one, other = (pictures_of(tmp_path / f"{name}.parquet", tmp_path / f"{name}-made") for name in "ab")
    assert list(one.ids) == list(other.ids)
    assert one.numbered_by == Source((str(tmp_path / "a.parquet"),)).fingerprint()
    with pytest.raises(InputError, match="the pool: ids are row numbers in both"):
        check_same_rows("scores", one.numbered_by, "the pool", other.numbered_by)
    assert pictures_of(tmp_path / "a.parquet", tmp_path / "named", id="name").numbered_by is None
    assert pictures_of(tmp_path / "a", tmp_path / "folder").numbered_by is None


def test_documents_that_are_files_go_by_their_paths_though_no_column_names_them(source, tmp_path):
    tokenizer = learn_tokenizer(TextPart(source=source, columns=COLUMNS), vocab_size=300, out=tmp_path / "t").path
    options = {"tokenizer": tokenizer, "sequence_length": 16}

    def numbered_by(part, out):
        return open_examples(prepare_documents(part, out=tmp_path / out, **options).path).numbered_by

    (tmp_path / "docs").mkdir()
    for number in range(3):  # one more each time
        (tmp_path / f"docs/{number}.txt").write_text(f"the soup number {number}")
        part = TextPart(source=Source((str(tmp_path / "docs"),)), columns=TextColumns())
        assert numbered_by(part, f"files{number}") is None
    assert numbered_by(TextPart(source=source, columns=TextColumns()), "rows") == source.fingerprint()
    assert numbered_by(TextPart(source=source, columns=COLUMNS), "named") is None
    labelled = TextPart(source=source, columns=TextColumns(domain="id"))
    made = prepare_labelled_documents(labelled, out=tmp_path / "labelled", **options)
    assert open_examples(made.path).numbered_by == source.fingerprint()


def test_examples_of_before_that_was_a_fact_are_numbered_where_no_id_column_is_named(source, tmp_path):
    for column in (None, "id"):
        config = {"columns": {"id": column}, "pack": True}
        made = build(tmp_path / f"{column}", kind="text-examples", config=config, seed=0, inputs={"source": "abc"}, write=lambda draft: {"num_examples": 0})  # fmt: skip  # noqa: E501
        assert Examples(made).numbered_by == ("abc" if column is None else None)


@pytest.fixture
def broken(tmp_path):
    """A pool whose last document leaks the target's, and is not UTF-8; and that target."""
    pool, target, leak = tmp_path / "broken.jsonl", tmp_path / "target.jsonl", " ".join(f"word{n}" for n in range(30))
    clean = "".join(json.dumps({"text": f"{' '.join(WORDS)} {n}"}) + "\n" for n in range(9))
    pool.write_bytes(clean.encode() + b'{"text": "caf\xe9 ' + leak.encode() + b'"}\n')
    target.write_text(json.dumps({"text": leak}) + "\n")
    return pool, target


@pytest.mark.parametrize("kind", ["tokenizer", "overlap"])
def test_what_is_learnt_from_rows_is_known_by_what_becomes_of_bad_ones(broken, tmp_path, kind):
    pool, target = broken

    def make(bad_rows, out):
        source = Source((str(pool),), bad_rows=bad_rows)
        if kind == "overlap":
            return overlap_between(source, TextColumns(), {"t": target}, out=tmp_path / out)
        return learn_tokenizer(TextPart(source=source, columns=TextColumns()), vocab_size=400, out=tmp_path / out)

    made = make("skip", "one")
    assert made.built and not make("skip", "one").built
    with pytest.raises(InputError, match=r'one was made with config.bad_rows = "skip", this run has "replace"'):
        make("replace", "one")
    assert make("replace", "two").content_hash != made.content_hash


def test_a_study_in_the_same_workspace_leaves_out_a_leak_that_was_no_document_before(broken, tmp_path):
    target = {"t": TargetTable(data=str(broken[1]), text="text")}
    for bad_rows, workspace in (("skip", "one"), ("replace", "one"), ("replace", "fresh")):
        table = PoolTable(data=str(broken[0]), bad_rows=bad_rows, decontaminate=True, holdout=0.0)
        study = Study(pool=table, target=target, vocab_size=300, sequence_length=16)
        parts = _TextParts(study, Workspace(tmp_path / workspace))
        pool = parts("pool", table, 0, 1)
        assert list(pool.ids) == [str(n) for n in range(9)]
        assert parts.overlap.facts["documents"] == (9 if bad_rows == "skip" else 10)
    fresh, there = ({path.name for path in (tmp_path / name).iterdir()} for name in ("fresh", "one"))
    assert fresh < there  # another tokenizer, another overlap


def test_bad_rows_of_what_a_pool_must_not_hold_are_handled_as_its_own(broken, tmp_path, capsys):
    pool, target = broken
    rows = target.read_bytes()
    target.write_bytes(b'{"text": "one"}\nbroken\n' + rows.replace(b"word3", b"caf\xe9"))
    arguments = ["prepare", "--data", pool, "--decontaminate", f"t={target}", "--vocab-size", "300", "--quiet"]
    arguments = [str(argument) for argument in arguments]
    assert main([*arguments, "--out", str(tmp_path / "refused")]) == 2
    assert "bad_rows = skip leaves such rows out" in capsys.readouterr().err
    for bad_rows, documents in (("skip", 9), ("replace", 9)):
        out = tmp_path / bad_rows
        assert main([*arguments, "--bad-rows", bad_rows, "--out", str(out)]) == 0
        assert len(open_examples(out)) == documents
        assert open_artifact(tmp_path / f"{bad_rows}-overlap").facts["targets"]["t"]["examples"] == 2


def test_what_overlaps_a_target_is_left_out_and_the_overlap_is_an_input(source, tmp_path):
    target = tmp_path / "target.jsonl"
    target.write_text(json.dumps({"q": " ".join([*WORDS[5:], "w5"])}) + "\n")
    overlap = overlap_between(source, COLUMNS, {"t": target}, ngram=13, out=tmp_path / "overlap")
    part = TextPart(source=source, columns=COLUMNS, overlap=overlap)
    assert part.inputs["overlap"] == overlap.content_hash
    tokenizer = learn_tokenizer(TextPart(source=source, columns=COLUMNS), vocab_size=300, out=tmp_path / "tokenizer")
    pool = prepare_documents(part, tokenizer=tokenizer.path, sequence_length=16, out=tmp_path / "pool")
    assert set(open_examples(pool.path).ids) == {f"d{n}" for n in range(40)} - {"d5"}


@pytest.fixture
def pictures(tmp_path):
    """Pictures of 30 patients, four of each, as a table and as a folder with `metadata.csv`."""
    folder, rng = tmp_path / "folder", np.random.default_rng(0)
    rows, lines = [], ["file_name,label,patient"]
    for number in range(120):
        name, patient = f"{number}.png", f"Patient {number // 4}"
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)).save(folder / name)
        image = {"bytes": (folder / name).read_bytes(), "path": None}
        written = patient.upper() if number % 2 else patient
        rows.append({"id": f"{number // 4}-{number}", "image": image, "label": number % 2, "patient": written})
        lines.append(f"{name},{number % 2},{patient}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "table.parquet")
    return {"table": Source((str(tmp_path / "table.parquet"),)), "folder": Source((str(folder),))}


@pytest.mark.parametrize("form", ["table", "folder"])
def test_pictures_of_a_group_stay_on_one_side_of_every_part(pictures, form):
    def sides(**options):
        both = [PicturePart(source=pictures[form], part=ends, **options) for ends in ((0, 0.5), (0.5, 1))]
        names = [[picture.id for picture in part.pictures()] for part in both]
        assert sum(map(len, names)) == 120
        return [{int(name.removesuffix(".png").split("-")[-1]) // 4 for name in side} for side in names]

    low, high = sides(group="patient")
    assert low and high and not low & high
    low, high = sides()
    assert low & high
    with pytest.raises(InputError, match="patiant"):
        next(PicturePart(source=pictures[form], group="patiant").pictures())


def test_a_group_of_pictures_reaches_what_prepares_them_and_leaves_other_requests_as_they_were(pictures, tmp_path):
    data = pictures["table"].data[0]
    command = ["prepare", "--task", "vision", "--data", data, "--id", "id", "--group", "patient", "--quiet"]
    for name, ends in {"low": ("0", "0.5"), "high": ("0.5", "1")}.items():
        assert main([*command, "--part", *ends, "--out", str(tmp_path / name)]) == 0
    low, high = ({name.split("-")[0] for name in open_examples(tmp_path / part).ids} for part in ("low", "high"))
    assert not low & high and len(low | high) == 30
    called = {"task": "vision", "id": "id", "part": (0.0, 0.5)}
    found = thresher.prepare(data, out=tmp_path / "low", group="patient", **called).artifact
    assert not found.built and found.meta["config"]["group"] == "patient"
    assert "group" not in thresher.prepare(data, out=tmp_path / "plain", **called).artifact.meta["config"]


def test_a_study_of_pictures_holds_out_whole_groups(pictures, tmp_path):
    data, columns = pictures["table"].data[0], {"id": "id", "group": "patient"}
    pool, target = PoolTable(data=data, holdout=0.3, **columns), TargetTable(data=data, **columns)
    prepared = prepare(Study(task="vision", pool=pool, target={"t": target}), Workspace(tmp_path / "run", "cpu"))
    for one, other in ((prepared.pool, prepared.off_target), (prepared.targets["t"], prepared.heldout["t"])):
        one, other = ({name.split("-")[0] for name in part.ids} for part in (one, other))
        assert one and other and not one & other


@pytest.mark.parametrize("option", [{"group": "patient"}, {"part": (0.0, 0.5)}, {"limit": 1}, {"size": 2}])
def test_pictures_that_are_arrays_have_no_columns_and_no_parts(option, tmp_path):
    rows = [(str(n), np.full((2, 2, 3), n, dtype=np.uint8), str(n % 2)) for n in range(4)]
    with pytest.raises(InputError, match=f"leave out {next(iter(option))}"):
        thresher.prepare(rows, out=tmp_path / "x", task="vision", **option)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "vision", "prompt": "a", "continuation": "b"}, "prompt changes nothing with task vision"),
        ({"task": "text-classification", "gold": "a"}, "gold changes nothing with task text-classification"),
        ({"classes": ["a"]}, "classes changes nothing without classify or task"),
        ({"size": 3}, "size changes nothing with task language, it is of vision; leave it out"),
    ],
)
def test_an_argument_that_changes_nothing_is_refused(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        thresher.prepare(tmp_path / "not-there.jsonl", out=tmp_path / "x", **options)


def test_pictures_that_are_arrays_are_no_text(tmp_path):
    rows = [(str(n), np.full((2, 2, 3), n, np.uint8), "ab"[n % 2]) for n in range(4)]
    with pytest.raises(InputError, match="prompt changes nothing with task vision"):
        thresher.prepare(rows, out=tmp_path / "x", prompt="a")
    defaults = {"part": (0, 1), "classes": (), "decontaminate": {}}
    assert len(thresher.prepare(rows, out=tmp_path / "x", **defaults).load()) == 4


def test_pictures_that_cannot_be_used_are_refused_by_name_or_counted_and_listed(tmp_path):
    Image.fromarray(np.full((4, 4, 3), 9, np.uint8)).save(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows = [{"image": {"path": f"{name}.png"}, "label": kind, "key": key} for name, kind, key in (
        ("good", "cat", "a"), ("broken", "cat", "b"), ("good", " ", "c"), ("good", "dog", "a"), ("good", "dog", "d"),
        ("missing", "dog", "e"),
    )]  # fmt: skip
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "x.jsonl").write_text(lines + "{no json\n")
    (tmp_path / "y.jsonl").write_text(lines)
    options = {"task": "vision", "id": "key"}
    with pytest.raises(InputError, match=r"y.jsonl row 2 \(b\): the image cannot be decoded .*bad_rows = skip"):
        thresher.prepare(tmp_path / "y.jsonl", out=tmp_path / "no", classes=["cat", "dog"], **options)
    made = thresher.prepare(tmp_path / "x.jsonl", out=tmp_path / "made", bad_rows="skip", **options)
    assert list(made.load().ids) == ["a", "d"] and made.load().labels.tolist() == [0, 1]
    assert made.facts["skipped"] == {
        "an image that cannot be decoded": 2, "no class": 1, "duplicate id": 1, "not JSON": 1
    }  # fmt: skip
    listed = pq.read_table(made.path / "skipped.parquet").to_pylist()
    assert [(row["row"], row["id"]) for row in listed] == [(2, "b"), (3, "c"), (4, "a"), (6, "e"), (7, "")]
    arguments = [
        "prepare",
        "--task",
        "vision",
        "--data",
        str(tmp_path / "x.jsonl"),
        "--id",
        "key",
        "--bad-rows",
        "skip",
    ]
    assert main([*arguments, "--out", str(tmp_path / "again")]) == 0
    assert open_artifact(tmp_path / "again").content_hash == made.artifact.content_hash
