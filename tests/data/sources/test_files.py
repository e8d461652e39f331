"""Which files a source stands for: splits by name, hidden files, what tools leave behind, saved data sets."""

import gzip
import json
import os
from pathlib import PurePath

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from thresher.artifacts import open_artifact
from thresher.cli.main import main
from thresher.data.mds import MdsShards
from thresher.data.sources.named_splits import splits_of_rows, splits_of_tables
from thresher.data.sources.skipped import Skipped
from thresher.data.sources.source import Source
from thresher.data.text.columns import TextColumns
from thresher.data.text.documents import Document, read_documents
from thresher.data.text.overlap import documents_hit
from thresher.errors import InputError

datasets.disable_progress_bars()


def put(root, *names):
    """A JSON lines file of one row (its own name as text), or a text file, for each name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"text": name}) + "\n" if path.suffix == ".jsonl" else name)


def texts(*data, skipped=None, **options):
    source = Source(tuple(map(str, data)), **options)
    return [document.text for document in read_documents(source, TextColumns(), skipped)]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["train.jsonl", "dev.jsonl", "eval.csv"], ["train", "validation", "test"]),
        (["squad-train-v2.0.json", "squad-dev-v2.0.json"], ["train", "validation"]),
        (["training/a.csv", "val/a.csv", "my_testing/b.csv"], ["train", "validation", "test"]),
        (["data/train-00000-of-00002.parquet", "data/unsupervised-00000-of-00001.parquet"], ["train", "unsupervised"]),
        (["train_sft-00000-of-00001.parquet", "train_gen-00000-of-00001.parquet"], ["train_sft", "train_gen"]),
        (["books-00000-of-00002.parquet", "web-00000-of-00001.parquet"], [None, None]),
        (["latest.jsonl", "contest.jsonl", "trained.jsonl", "device.jsonl"], [None] * 4),
        (["TEST.JSONL.GZ", "Train.jsonl.gz"], ["test", "train"]),
    ],
)
def test_splits_of_tables_go_by_the_words_of_their_names(paths, expected):
    assert splits_of_tables([PurePath(path) for path in paths]) == expected


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["train/cat/1.png", "test/cat/1.png"], ["train", "test"]),
        (["cat/train/1.png", "dog/valid/1.png"], ["train", "validation"]),
        (["train.txt", "valid.txt", "test.txt"], ["train", "validation", "test"]),
        (["train/cat/1.png"], ["train"]),
        (["train/1.png"], [None]),  # a class
        (["train/1.png", "bus/2.png"], [None, None]),
        (["src/a.py", "test/test_a.py"], [None, None]),  # code, not a data set
        (["wiki.train.txt", "wiki.test.txt"], ["train", "test"]),
        (["train-clean-100/1.txt", "train-other/1.txt", "dev-clean/1.txt"], ["train", "train", "validation"]),
        (["cat/train_1.png", "cat/test_1.png", "dog/train_2.png"], ["train", "test", "train"]),
        (["a/test_x.txt", "a/train_y.txt", "a/z.txt"], [None, None, None]),  # files are rows: their names are their own
        (["a/test_x.txt", "b/test_y.txt"], [None, None]),
        (["train/1.txt", "test/2.txt", "extra/3.txt"], ["train", "test", None]),  # `choose` decides
        (["train.txt", "test.txt", "vocab.txt"], ["train", "test", None]),
        (["train.py", "eval.py", "model.py"], [None] * 3),  # what they do, or are about
        (["a/train.py", "b/test.py.gz"], [None, None]),
        (["train.md", "Evaluation.RST", "index.md"], [None] * 3),
        (["train/1.py", "test/2.py"], ["train", "test"]),
    ],
)
def test_splits_of_text_and_images_are_folders_that_every_path_has(paths, expected):
    assert splits_of_rows([PurePath(path) for path in paths]) == expected


def test_a_folder_gives_the_split_that_is_asked_for_train_by_default_and_lists_the_others(tmp_path):
    put(tmp_path, "train-1.jsonl", "train-2.jsonl", "test.jsonl", "dev.jsonl")
    skipped = Skipped()
    assert texts(tmp_path, skipped=skipped) == ["train-1.jsonl", "train-2.jsonl"]
    assert skipped.counts == {"file of the split test": 1, "file of the split validation": 1}
    assert texts(tmp_path, split="test") == texts(tmp_path, split="eval") == ["test.jsonl"]
    assert texts(tmp_path, split="validation") == texts(tmp_path, split="dev") == ["dev.jsonl"]
    assert len(texts(tmp_path, split="all")) == 4
    with pytest.raises(InputError, match=r"no split 'tset'; its splits are: test, train, validation \(did you mean te"):
        texts(tmp_path, split="tset")


def test_a_split_is_asked_of_files_and_patterns_too(tmp_path):
    put(tmp_path, "train.jsonl", "test.jsonl", "web.jsonl")
    both = [tmp_path / "train.jsonl", tmp_path / "test.jsonl"]
    assert texts(*both) == ["train.jsonl", "test.jsonl"]  # named one by one
    assert texts(*both, split="test") == ["test.jsonl"]
    assert texts(tmp_path / "te*.jsonl") == ["test.jsonl"]  # the pattern says which
    assert texts(tmp_path / "t*.jsonl") == ["train.jsonl"]
    assert texts(tmp_path / "web.jsonl", split="train") == ["web.jsonl"]
    with pytest.raises(InputError, match=r"web.jsonl has no split 'test'; its splits are: train"):
        texts(tmp_path / "web.jsonl", split="test")


def test_a_folder_whose_splits_cannot_be_told_is_refused(tmp_path):
    put(tmp_path / "a", "test.jsonl", "dev.jsonl")
    with pytest.raises(InputError, match=r"has no split train; its splits are: test, validation"):
        texts(tmp_path / "a")
    put(tmp_path / "b", "train.jsonl", "test.jsonl", "more.jsonl")
    with pytest.raises(InputError, match=r"the splits test, train and files that name none"):
        texts(tmp_path / "b")
    put(tmp_path / "c", "corpus.jsonl", "test.jsonl")  # what is beside test is train
    assert texts(tmp_path / "c") == ["corpus.jsonl"]
    put(tmp_path / "d", "train/1.txt", "test/2.txt", "extra/3.txt")
    for split in (None, "train", "test"):
        with pytest.raises(InputError, match=r"the splits test, train and files that name none, such as .*extra/3.txt"):
            texts(tmp_path / "d", split=split)
    assert texts(tmp_path / "d", split="all") == ["extra/3.txt", "test/2.txt", "train/1.txt"]
    assert len(texts(tmp_path / "d/*/*.txt", split="all")) == 3
    put(tmp_path / "e", "test/2.txt")
    with pytest.raises(InputError, match=r"has no split train; its splits are: test"):
        texts(tmp_path / "e")


def test_a_folder_of_code_is_read_whatever_its_files_are_called(tmp_path):
    put(tmp_path / "a", "train.py", "eval.py", "model.py", "README.md")
    assert texts(tmp_path / "a") == ["README.md", "eval.py", "model.py", "train.py"]
    for split in (None, "train"):
        assert texts(tmp_path / "a/*.py", split=split) == ["eval.py", "model.py", "train.py"]
    put(tmp_path / "a", "train/x.py", "test/x.py")  # folders may be splits
    with pytest.raises(InputError, match=r"holds the splits test, train and files that name none, such as .*README.md"):
        texts(tmp_path / "a")
    assert len(texts(tmp_path / "a", split="all")) == 6


def test_the_fingerprint_is_of_the_chosen_split_and_of_names_that_are_part_of_rows(tmp_path):
    put(tmp_path, "train.jsonl", "test.jsonl")
    train, test = (Source((str(tmp_path),), split).fingerprint() for split in ("train", "test"))
    assert train != test and Source((str(tmp_path),)).fingerprint() == train
    Image.new("RGB", (2, 2)).save(tmp_path / "1.png")
    found = []
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        (tmp_path / "1.png").rename(tmp_path / "pictures" / name / "1.png")
        found.append(Source((str(tmp_path / "pictures"),)).fingerprint())
        (tmp_path / "pictures" / name / "1.png").rename(tmp_path / "1.png")
    assert found[0] != found[1]  # the folder is the class


def test_a_folder_is_the_configuration_of_that_name(tmp_path):
    put(tmp_path, "en/train.jsonl", "de/train.jsonl")
    assert texts(tmp_path, subset="de") == ["de/train.jsonl"]
    with pytest.raises(InputError, match=r"no folder 'fr' .*its folders are: \['de', 'en'\]"):
        texts(tmp_path, subset="fr")
    with pytest.raises(InputError, match="is a file, which has no configuration 'en'"):
        texts(tmp_path / "en/train.jsonl", subset="en")


def test_hidden_files_and_what_tools_leave_behind_are_passed_over_at_any_depth(tmp_path):
    put(tmp_path, "a/b.jsonl", ".b.jsonl", ".cache/huggingface/b.jsonl", "a/.ipynb_checkpoints/b-checkpoint.jsonl")
    put(tmp_path, "__MACOSX/a/b.jsonl", "__MACOSX/a/._b.jsonl", "a/_SUCCESS", "a/.b.jsonl.crc", "a/Thumbs.db")
    put(tmp_path, "_delta_log/0.json", ".DS_Store")
    skipped = Skipped()
    assert texts(tmp_path, skipped=skipped) == ["a/b.jsonl"]
    assert skipped.counts == {}
    assert texts(tmp_path / "**/*.jsonl") == texts(tmp_path / "**") == ["a/b.jsonl"]
    put(tmp_path, "a/b.jsonl~", "a/b.jsonl.bak", "a/#b.jsonl#", "a/b.jsonl.part")  # no hidden ones: listed
    assert texts(tmp_path, skipped=skipped) == ["a/b.jsonl"]
    assert skipped.counts == {"file not of the format that is read here": 4}
    assert texts(tmp_path / ".cache/huggingface") == [".cache/huggingface/b.jsonl"]  # asked for by name


def test_the_description_of_a_cloned_data_set_is_not_read_among_its_tables(tmp_path):
    (tmp_path / "data").mkdir()
    for split, word in (("train", "soup"), ("test", "rope")):
        pq.write_table(pa.table({"text": [word]}), tmp_path / f"data/{split}-00000-of-00001.parquet")
    put(tmp_path, "README.md", "LICENSE.txt", "load.py", "dataset_infos.json", ".gitattributes")
    skipped = Skipped()
    assert texts(tmp_path, skipped=skipped) == ["soup"] and texts(tmp_path, split="test") == ["rope"]
    assert skipped.counts == {"file of the split test": 1, "file not of the format that is read here": 3}
    put(tmp_path, "extra.jsonl")
    with pytest.raises(InputError, match=r"several formats \(parquet, json\); give one"):
        texts(tmp_path)


def test_a_card_is_no_document_of_its_data(tmp_path):
    put(tmp_path / "a", "one.txt", "README.md")
    assert sorted(texts(tmp_path / "a")) == ["README.md", "one.txt"]  # a document like another
    (tmp_path / "a/README.md").write_text("---\nlicense: mit\n---\n# Data\n")
    skipped = Skipped()
    assert texts(tmp_path / "a", skipped=skipped) == ["one.txt"] and skipped.counts == {"file about the data": 1}
    put(tmp_path / "b", "train/1.txt", "test/2.txt", "README.md", "LICENSE.txt")
    assert texts(tmp_path / "b") == ["train/1.txt"] and texts(tmp_path / "b", split="test") == ["test/2.txt"]


def test_links_are_followed_once_and_loops_end(tmp_path):
    put(tmp_path, "real/a.txt")
    os.symlink(tmp_path / "real", tmp_path / "again")
    os.symlink(tmp_path, tmp_path / "real/up")
    put(tmp_path.parent / f"{tmp_path.name}-far", "b.txt")
    os.symlink(tmp_path.parent / f"{tmp_path.name}-far", tmp_path / "far")
    os.symlink(tmp_path / "nowhere", tmp_path / "broken.txt")
    source = Source((str(tmp_path),))
    assert [document.id for document in read_documents(source, TextColumns())] == ["far/b.txt", "real/a.txt"]


def test_a_link_to_a_table_beside_it_does_not_double_it_and_a_file_given_twice_is_refused(tmp_path):
    put(tmp_path, "2024.jsonl")
    os.symlink(tmp_path / "2024.jsonl", tmp_path / "latest.jsonl")
    skipped = Skipped()
    assert texts(tmp_path, skipped=skipped) == ["2024.jsonl"]
    assert skipped.counts == {"file a link to another file here": 1}
    with pytest.raises(InputError, match=r"2024.jsonl is given twice"):
        texts(tmp_path / "2024.jsonl", tmp_path)


def test_a_file_that_is_given_again_through_a_link_is_refused_by_the_name_that_was_given(tmp_path):
    put(tmp_path, "x/a.jsonl", "docs/1.txt", "docs/2.txt", "more/3.txt")
    for link, target in {"l.jsonl": "x/a.jsonl", "y": "x", "l.txt": "docs/1.txt", "again": "docs", "more/4.txt": "docs/2.txt"}.items():  # fmt: skip  # noqa: E501
        os.symlink(tmp_path / target, tmp_path / link)
    for *given, refused, before in (
        ("x/a.jsonl", "l.jsonl", "l.jsonl", "x/a.jsonl"),
        ("l.jsonl", "x", "x/a.jsonl", "l.jsonl"),
        ("x", "y", "y/a.jsonl", "x/a.jsonl"),
        ("x/*.jsonl", "y/a.jsonl", "y/a.jsonl", "x/a.jsonl"),
        ("docs", "again", "again/1.txt", "docs/1.txt"),
        ("docs", "l.txt", "l.txt", "docs/1.txt"),
        ("docs/2.txt", "more", "more/4.txt", "docs/2.txt"),
    ):
        with pytest.raises(InputError) as error:
            texts(*(tmp_path / name for name in given))
        said = f"{tmp_path / refused} is given twice, before as {tmp_path / before}; name it once"
        assert str(error.value).startswith(said), given
    assert texts(tmp_path / "y") == texts(tmp_path / "l.jsonl") == ["x/a.jsonl"]  # a link alone
    documents = read_documents(Source((str(tmp_path / "docs"), str(tmp_path / "more"))), TextColumns())
    assert [one.id for one in documents] == [
        "docs/1.txt",
        "docs/2.txt",
        "more/3.txt",
        "more/4.txt",
    ]  # rows of their own


def test_a_pattern_follows_links_to_folders_once_too(tmp_path, monkeypatch):
    put(tmp_path, "real/a.txt", "real/a.jsonl", "real/deep/b.txt")
    os.symlink(tmp_path / "real", tmp_path / "a-link")
    for pattern, expected in (("*/*.jsonl", ["real/a.jsonl"]), ("**/*.txt", ["real/a.txt", "real/deep/b.txt"]), ("*/deep", ["real/deep/b.txt"])):  # fmt: skip  # noqa: E501
        assert texts(tmp_path / pattern) == expected
    monkeypatch.chdir(tmp_path)
    assert [one.id for one in read_documents(Source(("**/*.txt",)), TextColumns())] == ["a.txt", "deep/b.txt"]
    os.symlink(tmp_path, tmp_path.with_name(f"{tmp_path.name}-link"))  # all of it lies behind a link
    assert texts(tmp_path.with_name(f"{tmp_path.name}-link") / "*/*.txt") == ["real/a.txt"]
    assert len(texts(tmp_path / "a-link/*.txt")) == 1


def test_a_folder_of_save_to_disk_gives_its_data_and_not_its_descriptions(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "kind": datasets.ClassLabel(names=["web", "book"])})
    data = datasets.Dataset.from_dict({"text": ["soup", "rope"], "kind": [1, -1]}, features=features)
    data.save_to_disk(tmp_path / "one")
    (tmp_path / "one/cache-123.arrow").write_bytes((tmp_path / "one/data-00000-of-00001.arrow").read_bytes())
    documents = list(read_documents(Source((str(tmp_path / "one"),)), TextColumns(domain="kind")))
    assert documents == [Document("0", "book", "soup"), Document("1", "", "rope")]  # -1: no class
    datasets.DatasetDict({"train": data, "tests_of_web": data.select([1])}).save_to_disk(tmp_path / "both")
    assert texts(tmp_path / "both") == ["soup", "rope"]
    assert texts(tmp_path / "both", split="tests_of_web") == ["rope"]
    assert texts(tmp_path / "both", split="all") == ["soup", "rope", "rope"]
    with pytest.raises(InputError, match=r"no split 'test'; its splits are: train, tests_of_web"):
        texts(tmp_path / "both", split="test")
    os.remove(tmp_path / "one/data-00000-of-00001.arrow")
    with pytest.raises(InputError, match=r"is missing, which state.json beside it names"):
        texts(tmp_path / "one")


def save_mds(folder, *words):
    """An MDS folder of one shard, a row a word; what its index says of the shard."""
    shards = MdsShards({"text": "str"}, 100)
    for word in words:
        shards.add({"text": word})
    name, data = shards.rest()
    folder.mkdir(parents=True)
    (folder / name).write_bytes(data)
    (folder / "index.json").write_text(shards.index())
    return json.loads(shards.index())["shards"][0]


def test_an_index_of_mds_may_name_shards_in_folders_but_none_elsewhere(tmp_path):
    shards = [save_mds(tmp_path / "mds/0", "soup", "rope"), save_mds(tmp_path / "mds/1/2", "boat")]
    for place, shard in zip(("0", "1/2"), shards, strict=True):  # as merge_index of `streaming` writes it
        shard["raw_data"]["basename"] = f"{place}/{shard['raw_data']['basename']}"
    index = tmp_path / "mds/index.json"
    index.write_text(json.dumps({"version": 2, "shards": shards}))
    assert texts(tmp_path / "mds") == ["soup", "rope", "boat"]
    packed = gzip.compress((tmp_path / "mds/0/shard.00000.mds").read_bytes())
    (tmp_path / "mds/0/shard.00000.mds").rename(tmp_path / "shard.00000.mds")
    (tmp_path / "mds/0/shard.00000.mds.gz").write_bytes(packed)
    shards[0] |= {"compression": "gz", "zip_data": {"basename": "0/shard.00000.mds.gz"}}
    index.write_text(json.dumps({"version": 2, "shards": shards}))
    assert texts(tmp_path / "mds") == ["soup", "rope", "boat"]
    for elsewhere in ("../shard.00000.mds", "0/../../shard.00000.mds", str(tmp_path / "shard.00000.mds")):
        shards[0]["raw_data"]["basename"] = elsewhere
        index.write_text(json.dumps({"version": 2, "shards": shards}))
        with pytest.raises(InputError, match=r"shard.00000.mds is missing, or names no shard"):
            texts(tmp_path / "mds")


def test_an_mds_folder_without_splits_is_train_alone(tmp_path):
    save_mds(tmp_path / "mds", "soup")
    for split in (None, "train", "training", "all"):
        assert texts(tmp_path / "mds", split=split) == ["soup"]
    for split in ("test", "trian"):
        with pytest.raises(InputError, match=rf"mds has no split '{split}'; its splits are: train"):
            texts(tmp_path / "mds", split=split)


def test_images_and_tables_in_one_folder_are_refused(tmp_path):
    (tmp_path / "assets").mkdir()
    Image.new("RGB", (3, 2)).save(tmp_path / "assets/banner.png")
    pq.write_table(pa.table({"text": ["soup"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="holds images and parquet files"):
        texts(tmp_path)
    assert texts(tmp_path / "*.parquet") == ["soup"]


def test_overlap_looks_at_every_split_of_a_target(tmp_path):
    leak = " ".join(f"word{n}" for n in range(20))
    put(tmp_path / "target", "train.jsonl")
    (tmp_path / "target/test.jsonl").write_text(json.dumps({"text": leak}) + "\n")
    (tmp_path / "pool.jsonl").write_text(json.dumps({"text": "x " + leak}) + "\n")
    arguments = ["overlap", "--data", tmp_path / "pool.jsonl", "--targets", f"t={tmp_path / 'target'}"]
    assert main([*map(str, arguments), "--out", str(tmp_path / "o"), "--quiet"]) == 0
    assert documents_hit(open_artifact(tmp_path / "o")) == {"0": "t"}
