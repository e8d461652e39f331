"""A part of a source and what artefacts made from it are known by."""

import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import thresher
from thresher.canonical import hash_json
from thresher.cli.main import main
from thresher.data.examples import open_examples
from thresher.data.preparing import PicturePart, TextPart, learn_tokenizer, overlap_between, prepare_documents
from thresher.data.sources.source import Source
from thresher.data.text.columns import TextColumns
from thresher.errors import InputError
from thresher.studies.preparation import prepare
from thresher.studies.study import PoolTable, Study, TargetTable
from thresher.workspace import Workspace

WORDS = "boil the rice with salt and stir the soup then bake the bread in a hot oven".split()


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
    columns = hash_json(asdict(COLUMNS))
    inputs = {"source": source.fingerprint(), "columns": columns, "part": hash_json([0.0, 0.5, 3])}
    assert tokenizer.meta["inputs"] == inputs
    pool = prepare_documents(part, tokenizer=tokenizer.path, sequence_length=16, out=tmp_path / "pool")
    config = {"columns": json.loads(json.dumps(asdict(COLUMNS))), "part": [0.0, 0.5], "bad_rows": "refuse"}
    assert pool.meta["config"] == {**config, "pack": True, "sequence_length": 16, "limit": None}
    assert set(pool.meta["inputs"]) == {"source", "tokenizer"} and pool.meta["seed"] == 3


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
