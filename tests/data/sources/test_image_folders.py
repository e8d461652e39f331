"""Folders of images: their classes, their splits, and what stands beside them."""

import json

import pytest
from PIL import Image

from thresher.cli.main import main
from thresher.data.images.image_examples import classes_of, prepare_images, read_images
from thresher.data.sources.source import Source
from thresher.errors import InputError


def save(path, colour=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2), (colour, 0, 0)).save(path)


def test_folders_of_images_that_are_splits_are_no_classes(tmp_path):
    for number, name in enumerate(["train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "test/dog/4.png"]):
        save(tmp_path / name, number)
    (tmp_path / "README.md").write_text("README.md")
    source = Source((str(tmp_path),))
    assert classes_of(source) == ["cat", "dog"]
    assert [(image.id, image.label, image.pixels[0, 0, 0]) for image in read_images(source)] == [
        ("cat/1.png", "cat", 0),
        ("dog/2.png", "dog", 1),
    ]
    test = list(read_images(Source((str(tmp_path),), "test")))
    assert [image.pixels[0, 0, 0] for image in test] == [2, 3]
    out = tmp_path.with_name(f"{tmp_path.name}-out")
    assert main(["prepare", "--task", "vision", "--data", str(tmp_path), "--out", str(out), "--quiet"]) == 0
    facts = json.loads((out / "meta.json").read_text())["facts"]
    assert facts["skipped"] == {"file of the split test": 2, "file not of the format that is read here": 1}


def test_an_image_beside_the_folders_of_classes_is_refused(tmp_path):
    for name in ("cat/1.png", "dog/2.png", "3.png"):
        save(tmp_path / name)
    with pytest.raises(InputError, match=r"3.png lies beside folders of images"):
        classes_of(Source((str(tmp_path),)))


def test_two_folders_of_one_name_are_no_class(tmp_path):
    for name in ("birds/black/1.png", "cats/black/2.png", "cats/white/3.png"):
        save(tmp_path / "x" / name)
    with pytest.raises(
        InputError, match=r"birds/black and cats/black in .* have one name, so the class cannot be told"
    ):
        classes_of(Source((str(tmp_path / "x"),)))
    both = Source((str(tmp_path / "x/birds"), str(tmp_path / "x/cats")))
    assert [(image.id, image.label) for image in read_images(both)] == [
        ("birds/black/1.png", "black"),
        ("cats/black/2.png", "black"),
        ("cats/white/3.png", "white"),
    ]
    for name in ("train/black/1.png", "test/black/2.png", "train/white/3.png"):
        save(tmp_path / "y" / name)
    assert classes_of(Source((str(tmp_path / "y"),), "all")) == ["black", "white"]
    save(tmp_path / "y/train/dev/1.png")
    assert classes_of(Source((str(tmp_path / "y"),))) == ["black", "dev", "white"]


def test_a_metadata_file_gives_the_columns_of_images(tmp_path):
    for name in ("a.png", "b.png"):
        save(tmp_path / "x" / name)
    (tmp_path / "x/metadata.csv").write_text("file_name,label,key\na.png,cat,7\nb.png,dog,8\n")
    found = list(read_images(Source((str(tmp_path / "x"),)), id="key"))
    assert [(image.id, image.label) for image in found] == [("7", "cat"), ("8", "dog")]
    save(tmp_path / "x/c.png")
    with pytest.raises(InputError, match=r"c.png is in no metadata file"):
        classes_of(Source((str(tmp_path / "x"),)))
    (tmp_path / "x/c.png").unlink()
    (tmp_path / "x/b.png").unlink()
    with pytest.raises(InputError, match=r"b.png does not exist, but metadata.csv names it"):
        classes_of(Source((str(tmp_path / "x"),)))


def test_the_notes_of_prepared_images_are_facts(tmp_path):
    save(tmp_path / "cat/1.png")
    Image.new("RGBA", (3, 2), (0, 0, 0, 100)).save(tmp_path / "cat/2.png")
    made = prepare_images(
        read_images(Source((str(tmp_path),))), out=tmp_path / "o", classes=["cat", "dog"], config={}, inputs={}
    )
    assert made.facts["notes"] == {"composed over white": 1, "read as RGB": 1, "read as RGBA": 1}
    assert made.facts["background"] == [255, 255, 255]
