"""`import thresher`: fast, complete, typed; and the verbs and handles of the loop on disk."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import thresher
from tests.api.cases import blobs, trained
from tests.toy_corpus import write_corpus
from thresher.cli.main import main
from thresher.data.examples import ImageExamples


def test_importing_is_fast_and_loads_nothing():
    code = "import time; t = time.perf_counter(); import thresher, sys; print(time.perf_counter() - t); dir(thresher);"
    code += "print([m for m in ('torch', 'numpy', 'transformers', 'pandas') if m in sys.modules])"
    seconds, loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split("\n")[
        :2
    ]
    assert float(seconds) < 0.1 and loaded == "[]"


def test_every_public_name_is_there_and_documented():
    assert set(thresher.__all__) <= set(dir(thresher))
    for name in thresher.__all__:
        assert getattr(thresher, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'atribute'"):
        thresher.atribute  # noqa: B018
    assert (Path(thresher.__file__).parent / "py.typed").exists()


@pytest.fixture(scope="module")
def loop(tmp_path_factory):
    """Pool, target, proxy, features and scores of small images, made by the verbs."""
    folder, draw = tmp_path_factory.mktemp("loop"), np.random.default_rng(0)

    def images(count):
        labels = np.arange(count) % 2
        pixels = (draw.integers(0, 100, (count, 4, 4, 1)) + 150 * labels[:, None, None, None]).astype(np.uint8)
        return [(f"{count}-{i}", image, str(y)) for i, (image, y) in enumerate(zip(pixels, labels, strict=True))]

    pool = thresher.prepare(images(24), out=folder / "pool")
    target = thresher.prepare(images(6), out=folder / "target", classes=["0", "1"])
    proxy = thresher.train("mlp-4x1", pool, out=folder / "proxy", epochs=5.0, batch_size=8, learning_rate=0.05)
    features = thresher.featurize(proxy, pool, out=folder / "features", k=16)
    targets = thresher.featurize([proxy], target.path, out=folder / "target-features", k=16)
    scores = thresher.score(features, {"t": targets}, out=folder / "scores")
    return {
        "pool": pool, "target": target, "proxy": proxy, "features": features, "targets": targets, "scores": scores,
    }  # fmt: skip


def test_each_verb_gives_a_handle_that_its_path_opens_again(loop):
    kinds = [thresher.Examples] * 2 + [thresher.Model] + [thresher.FeatureStore] * 2 + [thresher.Scores]
    for handle, kind in zip(loop.values(), kinds, strict=True):
        assert type(handle) is kind and thresher.open(handle.path) == handle == thresher.open(str(handle.path))
        assert repr(handle).startswith(f"{kind.__name__}('") and "<table>" in handle._repr_html_()


def test_handles_have_the_data_at_hand(loop):
    assert isinstance(loop["pool"].load(), ImageExamples) and len(loop["pool"]) == 24
    assert list(loop["pool"].table().columns) == ["id", "domain", "length"]
    assert isinstance(loop["proxy"].load(), nn.Module) and loop["proxy"].evaluate(loop["target"])["accuracy"] > 0.4
    assert loop["features"].features().shape == (24, 16) and len(loop["features"].table()) == 24
    table = loop["scores"].table()
    assert list(table.columns) == ["id", "domain", "t"] and loop["scores"].targets == ["t"]
    np.testing.assert_array_equal(loop["scores"].column(), table["t"])
    assert loop["scores"].top(k=1).index[0] == table["t"].argmax()


def test_paths_and_handles_and_modules_are_taken_alike(loop, tmp_path):
    again = thresher.score(str(loop["features"].path), loop["targets"].path, out=tmp_path / "scores")
    np.testing.assert_array_equal(again.column(), loop["scores"].column())
    module = thresher.featurize(loop["proxy"].load(), loop["pool"], out=tmp_path / "features", k=16)
    np.testing.assert_array_equal(module.features(), loop["features"].features())
    kept = thresher.select(loop["scores"], count=5, out=tmp_path / "kept")
    assert len(kept) == 5 and set(kept.positions) == set(np.argsort(-loop["scores"].column())[:5])
    assert kept.ids == kept.table()["id"].to_list() and len(kept.dropped()) == 19
    index = thresher.build_index(loop["features"], out=tmp_path / "index")
    found = thresher.search(index, loop["targets"], 0, k=3, pool=loop["pool"])
    assert len(found.helpful) == len(found.harmful) == 3 and found.helpful[0]["preview"].startswith("label")
    assert len(found.table()) == 6 and len(index.table()) == 24
    own = thresher.self_influence(loop["features"], out=tmp_path / "own")
    assert (own.column("self_influence") >= 0).all()


def test_a_handle_of_another_kind_is_refused_in_one_line(loop, tmp_path):
    with pytest.raises(thresher.InputError, match="holds 'features', but 'scores' is needed"):
        thresher.select(loop["features"], count=1, out=tmp_path / "kept")
    with pytest.raises(thresher.InputError, match="epochz is no setting"):
        thresher.train("mlp-4x1", loop["pool"], out=tmp_path / "model", epochz=3)


def test_a_checkpoint_is_known_by_its_weights(loop):
    model = loop["proxy"].load()
    one, same = thresher.Checkpoint(model), thresher.Checkpoint(loop["proxy"].load())
    assert one.content_hash == same.content_hash and one.load() is not model
    by_path = thresher.Checkpoint(loop["proxy"]).reading(loop["pool"])
    assert by_path.content_hash == loop["proxy"].content_hash
    assert all(map(torch.equal, by_path.load().parameters(), model.parameters()))
    with pytest.raises(thresher.InputError, match="is opened for examples"):
        _ = thresher.Checkpoint(loop["proxy"]).content_hash


def test_validation_compares_with_random_data(loop, tmp_path):
    validation = thresher.validate(
        loop["pool"], {"first": np.arange(12)}, {"t": loop["target"]}, out=tmp_path / "runs",
        model="mlp-4x1", seeds=2, epochs=2.0, batch_size=8, workers=1,
    )  # fmt: skip
    assert set(validation.table()["arm"]) == {"first", "random"} and set(validation.differences()["arm"]) == {"first"}


def test_prepared_examples_are_attributed_as_they_are(loop):
    result = thresher.attribute(loop["proxy"].load(), loop["pool"], loop["target"], device="cpu")
    assert result.scores.shape == (24, 6) and set(result.top(0, 1)["row"][0]) == {"id", "preview"}


def own_model_and_data():
    train = blobs(12, seed=1)
    return trained(train), train, blobs(3, seed=2)


def test_the_command_runs_a_function_of_the_users(tmp_path, capsys):
    function = "tests.api.test_front_door:own_model_and_data"
    out = tmp_path / "scores.npy"
    assert main(["attribute", function, "--out", str(out), "--top", "2", "--json", "--quiet", "--device", "cpu"]) == 0
    result = json.loads(capsys.readouterr().out)
    model, train, test = own_model_and_data()
    expected = thresher.attribute(model, train, test, device="cpu").scores
    np.testing.assert_allclose(np.load(out), expected, rtol=1e-4, atol=1e-7)
    assert len(result["top"]) == 12 and (tmp_path / "scores.csv").exists()
    assert main(["attribute", function, "--out", str(out), "--quiet", "--device", "cpu"]) == 0  # the same line again


def seeded():
    model, train, test = own_model_and_data()
    return {"model": model, "train": train, "test": test, "seed": 7, "method": "sjlt", "k": 8, "device": "cpu"}


def attributed(*options, status=0):
    assert main(["attribute", "tests.api.test_front_door:seeded", "--quiet", *map(str, options)]) == status


def test_what_is_typed_goes_before_what_the_function_says_and_that_before_the_defaults(tmp_path, capsys):
    for name, options, seed, k in (("own", (), 7, 8), ("typed", ("--seed", 3, "--k", 4), 3, 4)):
        attributed("--out", tmp_path / name, *options)
        meta = thresher.open(tmp_path / name).artifact.meta
        assert (meta["seed"], meta["config"]["method"], meta["config"]["k"]) == (seed, "sjlt", k)
    attributed("--device", "tpu", status=2)
    assert "device 'tpu'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    ["--task vision", "--text a", "--label b", "--size 9", "--sequence-length 5", "--tokenizer t", "--weights w"],
)
def test_options_of_named_models_are_refused_of_a_function(option, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w").touch()
    monkeypatch.setattr("thresher.cli.attribute.Attribute._check_models", lambda self, values: None)
    attributed(*option.split(), status=2)
    assert f"{option.split()[0]} is of a model's name" in capsys.readouterr().err


def test_options_of_texts_are_refused_of_images_and_the_other_way_round(tmp_path, capsys):
    for model, option in {"torchvision:squeezenet1_1": "--text", "0.4M": "--label"}.items():
        assert main(["attribute", model, "--train", str(tmp_path), "--test", str(tmp_path), option, "a"]) == 2
        assert f"{option} changes nothing with task" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["scores", "scores.v1", "scores.npy"])
def test_the_same_line_is_accepted_again_and_writes_over_nothing_of_others(name, tmp_path, capsys):
    out = tmp_path / name
    for _ in range(2):
        attributed("--out", out)
    files = {"scores": ["scores", "scores.csv"], "scores.v1": ["scores.v1", "scores.v1.csv"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == files.get(name, ["scores.csv", "scores.npy"])
    result = thresher.attribute(**seeded())
    result.save(out)  # the same scores: they stay
    with pytest.raises(thresher.InputError, match="is there already with something else"):
        thresher.attribute(**seeded() | {"train": blobs(12, seed=3)}).save(out)


def test_places_are_looked_at_before_anything_is_scored(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(thresher, "attribute", lambda *given, **options: pytest.fail("scored"))
    (tmp_path / "a.csv").write_text("mine")
    np.save(tmp_path / "b.npy", np.zeros((12, 3), dtype=np.float32))
    (tmp_path / "b.csv").write_text("test,side,index,id,score,spread\n0,helpful,1,,0.5,\n")
    np.save(tmp_path / "c.npy", np.zeros((12, 3), dtype=np.float32))
    (tmp_path / "d.npy").mkdir()
    for name, told in {
        "a.npy": "a.csv is there already, without the mark",
        "a": "a.csv is there already, without the mark",
        "b.npy": "b.npy is there already, without the mark",
        "c.npy": "c.npy is there already, without the mark",
        "d.npy": "is a folder; give the name of a file",
        "e.csv": "is named like the table beside it; give e.npy",
    }.items():
        attributed("--out", tmp_path / name, status=2)
        assert told in capsys.readouterr().err, name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv", "b.npy", "c.npy", "d.npy"]


def test_scores_are_not_written_into_an_artefact_of_another_kind(loop, capsys):
    attributed("--out", loop["pool"].path, status=2)
    assert "holds 'image-examples'" in capsys.readouterr().err


def test_the_command_takes_a_torchvision_model_and_folders(tmp_path, capsys):
    draw = np.random.default_rng(0)
    for side, count in {"train": 3, "test": 1}.items():
        for label in ("cat", "dog"):
            (tmp_path / side / label).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(
                    tmp_path / side / label / f"{number}.png"
                )
    from torchvision.models import squeezenet1_1

    torch.save(squeezenet1_1(num_classes=2).state_dict(), tmp_path / "weights.pth")
    folders = [part for side in ("train", "test") for part in (f"--{side}", str(tmp_path / side))]
    weights = ["--weights", str(tmp_path / "weights.pth"), "--out", str(tmp_path / "scores"), "--device", "cpu"]
    start = time.perf_counter()
    assert main(["attribute", "torchvision:squeezenet1_1", *folders, *weights, "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "6 train x 2 test examples" in printed and "cat/" in printed and time.perf_counter() - start < 60
    assert isinstance(thresher.open(tmp_path / "scores"), thresher.Attribution)
    assert main(["attribute", "torchvision:squeezenet1_1", *folders[:2]]) == 2
    assert "--train and --test" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("torchvision:squeezenet1_1 --train {here} --test {here} --page page.txt", "one that ends in .html"),
        ("tests.api.test_front_door:own_model_and_data --page page.html", "give --train and --test"),
        ("torchvision:squeezenet1_1 --train {here} --test {here} --page same.html --out same.html", "another output"),
        ("torchvision:squeezenet1_1 --train {here} --test {here} --page {here}/theirs.html", "is there already"),
    ],
)
def test_a_page_that_cannot_be_made_is_refused_before_anything_is_read(line, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.html").write_text("<p>not ours</p>")
    assert main(["attribute", *line.format(here=tmp_path).split()]) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "page.html").exists()


def test_the_loop_of_the_readme_runs_as_it_is_written(tmp_path, monkeypatch):
    write_corpus(tmp_path / "corpus.jsonl")
    rows = [{"context": "boil the rice", "answer": f"with salt and {word}"} for word in "butter flour soup".split()]
    (tmp_path / "squad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    readme = (Path(thresher.__file__).resolve().parents[1] / "README.md").read_text()
    loop = next(part for part in readme.split("```python\n") if part.startswith("pool = thresher.prepare"))
    names = {"thresher": thresher}
    exec(
        loop.partition("```")[0]
        .replace('"0.4M"', '"20k"')
        .replace('domain="source",', 'domain="source", vocab_size=300,'),
        names,
    )
    assert len(names["kept"]) == len(names["kept"].table()) > 0
