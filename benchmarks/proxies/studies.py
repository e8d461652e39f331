"""The three studies of which proxy can be trusted, on real data.

    python -m benchmarks.proxies.studies width CIFAR OUT [--json FILE]
    python -m benchmarks.proxies.studies transfer DATA OUT [--json FILE]
    python -m benchmarks.proxies.studies rates DATA OUT [--json FILE]

width      LDS against width on CIFAR-10: RN-1/16 to RN-1/2, 64 half subsets x 2 seeds, own retrainings too
transfer   38 training sets of a 13-domain corpus x 7 test sets x 3 seeds, three sizes against a reference
rates      the same training sets, one of these sizes at 3 multiples of its rate

CIFAR has the pool and target that `benchmarks.attribution.lds` prepared. DATA has `corpus/documents.parquet` (text,
domain) and `targets/*.jsonl` (context, continuation). Each takes 20 to 60 minutes of two cores; every run is kept, so
run it again to go on.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from benchmarks.command import result_of
from benchmarks.loop import machine

RATE = 0.05
"""Of SGD at RN-1/16; the others follow by muP."""
TARGETS = ("squad", "gsm8k", "lambada", "jeopardy")
DOMAINS = ("python", "law", "dialogue")
SHAPE = ("--vocab-size", 320, "--sequence-length", 128)
"""Few words, so that a reference leaves token frequencies within a minute of a core."""
PARTS = (0, 0.7), (0.97, 1)
"""Of the corpus: the pool, and what is held out."""
LIMIT = 150, 20
"""Examples of a task, documents of a domain: some 150 sequences either way."""
TOKENS = 1_536_000
"""That every recipe is drawn to: one epoch."""
SIZES = ("10k", "30k", "50k", "0.4M")
SEEDS = 3
RESAMPLES = 10_000
"""With 1,000 an end of an interval moves by .003 from one seed of the resamples to the next."""
MIXED = {
    "natural": "all",
    "prose": "mixture:books=.4,stories=.3,web=.3",
    "technical": "mixture:python=.4,math=.3,techdocs=.3",
    "talk": "mixture:forum=.3,dialogue=.3,reviews=.2,medical_qa=.2",
    "news": "mixture:newswire=.4,newsgroups=.3,law=.3",
}
ALONE = (
    "books", "python", "law", "medical_qa", "newswire", "web",
    "dialogue", "forum", "math", "newsgroups", "reviews", "stories", "techdocs",
)  # fmt: skip
HALVES = ("books", "dialogue"), ("forum", "law"), ("math", "medical_qa"), ("newsgroups", "newswire")
"""Domains by the alphabet, two and two, half of the tokens each: nothing that a result could have had a say in."""
METHODS = ("dsir", "classifier")
"""Selections for each of the targets, and the pool without them."""


def width(arguments: argparse.Namespace) -> dict[str, Any]:
    """CIFAR-10: ground truth from RN-1/2, scores from four widths, one set of hyper-parameters."""
    return _result(
        "lds", "--pool", arguments.cifar / "pool", "--target", arguments.cifar / "target", "--out", arguments.out,
        "--model", "rn-1/2", "--ladder", "rn-1/16", "rn-1/8", "rn-1/4", "--subsets", 64, "--repeats", 2,
        "--checkpoints", 5, "--epochs", 8, "--batch-size", 64, "--learning-rate", RATE,
    )  # fmt: skip


def transfer(arguments: argparse.Namespace) -> dict[str, Any]:
    """Sizes against the reference: mixtures, domains, selections for each task, and the pool without some."""
    more = ("--sizes", *SIZES, "--top", 1, 3)
    result = _result("study", "transfer", *_common(arguments.data, arguments.out), *more)
    return result | {"natural": _of_reference(Path(result["path"]), result["reference"], "natural")}


def rates(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same recipes; the reference at its usual rate, whose runs are those of `transfer`."""
    more = ("--multiples", 0.1, 0.3, 1, "--reference-multiples", 1)
    sizes = ("--proxy", SIZES[1], "--reference", SIZES[-1])
    return _result("study", "learning-rate", *_common(arguments.data, arguments.out), *sizes, *more)


def _common(data: Path, out: Path) -> list[object]:
    tests = _prepared(data, out)
    halves = {f"{one}-{other}": f"mixture:{one}=.5,{other}=.5" for one, other in HALVES}
    recipes = MIXED | {domain: f"domain:{domain}" for domain in ALONE} | _selections(out) | halves
    return [
        "--pool", out / "pool", "--out", out / "study",
        "--test-sets", *[f"{name}={path}" for name, path in tests.items()],
        "--recipes", *[f"{name}={how}" for name, how in recipes.items()],
        "--tokens", TOKENS, "--seeds", SEEDS, "--batch-size", 4, "--average", 4, "--resamples", RESAMPLES,
    ]  # fmt: skip


def _prepared(data: Path, out: Path) -> dict[str, Path]:
    """Name -> test set; the pool, and for each task what selections look at, are made too."""
    corpus = data / "corpus" / "documents.parquet"
    _prepare(corpus, out / "pool", PARTS[0], "--domain", "domain", *SHAPE)
    again = ("--tokenizer", out / "pool-tokenizer", *SHAPE[2:])
    task = ("--prompt", "context", "--continuation", "continuation", "--group", "context", *again)
    for name in TARGETS:
        file = data / "targets" / f"{name}.jsonl"
        _prepare(file, out / f"{name}-target", (0, 0.5), *task)
        _prepare(file, out / name, (0.5, 1), *task, "--limit", LIMIT[0])
    for name in DOMAINS:
        file = out / f"{name}.parquet"
        if not file.exists():
            documents = pq.read_table(corpus, columns=["text", "domain"])
            pq.write_table(documents.filter(pc.equal(documents["domain"], name)), file)
        _prepare(file, out / name, PARTS[1], *again, "--limit", LIMIT[1])
    return {name: out / name for name in (*TARGETS, *DOMAINS)}


def _prepare(file: Path, out: Path, part: tuple[float, float], *options: object) -> None:
    _result("prepare", "--data", file, "--out", out, "--part", *part, *options)


def _selections(out: Path) -> dict[str, str]:
    """Name -> recipe: as many tokens as a run sees by every method for every target, and the pool without some."""
    made = {f"{method}-{name}": (method, name) for method in METHODS for name in TARGETS}
    places = {full: out / "selections" / full for full in made}
    for full, (method, name) in made.items():
        looks = ("--pool", out / "pool", "--targets", f"{name}={out / f'{name}-target'}")
        _result("select", "--method", method, *looks, "--tokens", TOKENS, "--out", places[full])
    recipes = {full: f"selection:{place}" for full, place in places.items()}
    return recipes | {f"without-{full}": f"remove:{selection}" for full, selection in recipes.items()}


def _of_reference(study: Path, reference: str, recipe: str) -> dict[str, float]:
    """Test set -> mean loss of the reference on one recipe: beside `ngrams` it says what that has learned."""
    table = csv.read_csv(study / "losses.csv")
    own = table.filter((pc.field("size") == reference) & (pc.field("recipe") == recipe))
    means = own.group_by("test_set").aggregate([("loss", "mean")])
    return dict(zip(means["test_set"].to_pylist(), means["loss_mean"].to_pylist(), strict=True))


def _result(*arguments: object) -> dict[str, Any]:
    """What a command prints with --json; its progress stays on the screen."""
    return json.loads(result_of([*map(str, arguments), "--json"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    studies = parser.add_subparsers(required=True)
    for study, inputs in ((width, ("cifar",)), (transfer, ("data",)), (rates, ("data",))):
        own = studies.add_parser(study.__name__)
        for name in (*inputs, "out"):
            own.add_argument(name, type=Path)
        own.add_argument("--json", type=Path)
        own.set_defaults(study=study)
    options = parser.parse_args()
    start = time.perf_counter()
    result = options.study(options)
    # Below OUT: where that was says nothing to others.
    result["path"] = str(Path(result["path"]).relative_to(options.out))
    about = {"benchmark": options.study.__name__, "date": time.strftime("%Y-%m-%d"), "machine": machine()}
    about["seconds"] = round(time.perf_counter() - start)
    if options.json:
        options.json.write_text(json.dumps({**about, "result": result}, indent=1) + "\n")
    else:
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
