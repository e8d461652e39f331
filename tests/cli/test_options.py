"""The options of every command that trains reach the models that it trains."""

import pytest

from tests.cli.test_help import ALL
from tests.toy_corpus import write_corpus
from thresher.cli.arguments import options_of
from thresher.cli.main import main
from thresher.cli.options import ModelOptions
from thresher.errors import InputError

RECIPES = "all=all sea=domain:sailing food=domain:cooking"
COMMANDS = {
    "train": "--pool {f}/pool --model 20k --out {o}/x",
    "validate": "--pool {f}/pool --arms a={f}/subset --targets t={f}/target --model 20k --out {o}/x",
    "lds": "--pool {f}/pool --target {f}/target --model 20k --subsets 3 --checkpoints 1 --out {o}/x",
    "mix runs": "--pool {f}/pool --targets t={f}/target --model 20k --out {o}/x",
    "mix validate": "--mixtures m={f}/mixture.json --pool {f}/pool --targets t={f}/target --model 20k --out {o}/x",
    "mix doremi": "--pool {f}/pool --model 20k --out {o}/x",
    "study transfer": f"--pool {{f}}/pool --test-sets t={{f}}/target --recipes {RECIPES} --sizes 20k 60k --out {{o}}/x",
    "study learning-rate": f"--pool {{f}}/pool --test-sets t={{f}}/target --recipes {RECIPES} --proxy 20k "
    "--reference 60k --out {o}/x",
}
TRAINING = {"epochs", "batch_size", "learning_rate", "optimizer", "schedule"}
"""Fields that say how a model is trained."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A pool of three domains, a target, a selection and a mixture of the pool."""
    folder = tmp_path_factory.mktemp("options")
    corpus, shape = write_corpus(folder / "corpus.jsonl", 30), ("--id", "id", "--domain", "source")
    for name, part, words in (("pool", (0.3, 1), ("--vocab-size", 300)),
                              ("target", (0, 0.3), ("--tokenizer", folder / "pool-tokenizer"))):  # fmt: skip
        words = ["prepare", "--data", corpus, *shape, "--part", *part, *words, "--sequence-length", 16, "--out"]
        assert main([*map(str, words), str(folder / name), "--quiet"]) == 0
    chosen = ["select", "--pool", folder / "pool", "--method", "random", "--fraction", 0.5, "--out", folder / "subset"]
    assert main([*map(str, chosen), "--quiet"]) == 0
    (folder / "mixture.json").write_text('{"weights": {"cooking": 0.5, "sailing": 0.3, "numbers": 0.2}}')
    (folder / "study.toml").write_text(STUDY.format(corpus=corpus))
    return folder


STUDY = """
[pool]
data = "{corpus}"
id = "id"
domain = "source"
[target.t]
data = "{corpus}"
id = "id"
[proxy]
size = "20k"
parametrization = "PROXY"
[reference]
size = "30k"
parametrization = "REFERENCE"
"""


@pytest.fixture
def asked(monkeypatch):
    """The parametrizations that models are asked for; the first one ends the command."""
    seen = []

    def model_spec(name, examples, *, trained=False, parametrization=None):
        seen.append((name, parametrization))
        raise InputError("a model was asked for")

    monkeypatch.setattr("thresher.proxies.training.chosen.model_spec", model_spec)
    monkeypatch.setattr("thresher.api.training.model_spec", model_spec)
    return seen


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("word", [None, "standard"])
def test_the_parametrization_reaches_the_models_of_every_command_that_trains(name, word, made, asked, tmp_path, capsys):
    words = [*name.split(), *COMMANDS[name].format(f=made, o=tmp_path).split(), "--quiet", "--device", "cpu"]
    assert main([*words, *(["--parametrization", word] if word else [])]) == 2
    assert capsys.readouterr().err.count("a model was asked for") == 1
    assert asked == [("20k", word)]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_parametrization_that_there_is_not_is_refused_with_the_words(name, made, tmp_path, capsys):
    words = [*name.split(), *COMMANDS[name].format(f=made, o=tmp_path).split(), "--parametrization", "mup"]
    assert main(words) == 2
    assert "completep" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_every_command_that_says_how_models_are_trained_has_all_their_options():
    said = {name: {option.name for option in options_of(kind)} for name, kind in ALL.items()}
    trains = {name for name, options in said.items() if options & TRAINING}
    assert trains - {"attribute", "score"} == COMMANDS.keys()
    assert all(issubclass(ALL[name], ModelOptions) for name in COMMANDS)


def test_a_study_has_it_for_its_proxies_and_its_reference(made, monkeypatch, tmp_path):
    from thresher.studies.study_file import read_study

    text = (made / "study.toml").read_text().replace("PROXY", "standard").replace("REFERENCE", "completep")
    (tmp_path / "study.toml").write_text(text)
    study = read_study(tmp_path / "study.toml")
    assert (study.proxy.parametrization, study.reference.parametrization) == ("standard", "completep")
    (tmp_path / "study.toml").write_text(text.replace("completep", "complete"))
    with pytest.raises(InputError, match=r"parametrization.*complete.*completep"):
        read_study(tmp_path / "study.toml")
