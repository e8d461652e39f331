"""The three studies of which proxy can be trusted, on real data.

    python -m benchmarks.proxies.studies width CIFAR OUT [--json FILE]
    python -m benchmarks.proxies.studies transfer DATA TABLE OUT [--json FILE]
    python -m benchmarks.proxies.studies rates DATA TABLE OUT [--json FILE]

width      LDS against width on CIFAR-10: RN-1/16 to RN-1/2, 64 half subsets x 2 seeds, own retrainings too
transfer   5 sizes x 12 training sets x 7 test sets x 2 seeds of a 13-domain corpus
rates      10 training sets of 4 kinds, a proxy at 5 multiples of its rate, a reference 8 times larger at 4, 2 seeds

CIFAR has the pool and target that `benchmarks.attribution.lds` prepared. DATA has `corpus/documents.parquet` (text,
domain); TABLE is what `benchmarks.selection.table` made: its pool, held-out targets and selections. Each takes 20 to 60
minutes of two cores; every run is kept, so run it again to go on.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.command import result_of
from benchmarks.loop import machine
from benchmarks.selection.table import TARGETS

RATE = 0.05
"""Of SGD at RN-1/16; the others follow by muP."""
DOMAINS = ("python", "law", "dialogue")
SEQUENCES = 150
"""Of each held-out domain."""
EXAMPLES = 3200
"""Sequences of 128 tokens that every recipe is drawn to."""
SIZES = ("80k", "130k", "240k", "540k", "1.07M")
MIXED = {
    "natural": "all",
    "prose": "mixture:books=.4,stories=.3,web=.3",
    "technical": "mixture:python=.4,math=.3,techdocs=.3",
    "talk": "mixture:forum=.3,dialogue=.3,reviews=.2,medical_qa=.2",
    "news": "domain:newswire+newsgroups+law",
}
CHOSEN = {
    "dsdm-squad": "dsdm-for-squad",
    "dsdm-gsm8k": "dsdm-for-gsm8k",
    "bottom-squad": "bottom-for-squad",
    "dsir-lambada": "dsir-for-lambada",
    "classifier-jeopardy": "classifier-for-jeopardy",
}
FILTERED = {"middle-losses": "loss-middle"}
DEDUPLICATED = {"minhash": "minhash", "semdedup": "semdedup"}


def width(arguments: argparse.Namespace) -> dict[str, Any]:
    """CIFAR-10: ground truth from RN-1/2, scores from four widths, one set of hyper-parameters."""
    return _result(
        "lds", "--pool", arguments.cifar / "pool", "--target", arguments.cifar / "target", "--out", arguments.out,
        "--model", "rn-1/2", "--ladder", "rn-1/16", "rn-1/8", "rn-1/4", "--subsets", 64, "--repeats", 2,
        "--checkpoints", 5, "--epochs", 8, "--batch-size", 64, "--learning-rate", RATE,
    )  # fmt: skip


def transfer(arguments: argparse.Namespace) -> dict[str, Any]:
    """The 13-domain corpus: five sizes, mixtures, domains, selections and removals."""
    chosen = CHOSEN | FILTERED
    removed = [f"without-dsdm-squad=remove:selection:{_selection(arguments.table, 'dsdm-for-squad')}"]
    recipes = [f"{name}={how}" for name, how in MIXED.items()] + _selections(arguments.table, chosen) + removed
    return _result(
        "study", "transfer", *_common(arguments, recipes), "--sizes", *SIZES, "--top", 1, 3,
    )  # fmt: skip


def rates(arguments: argparse.Namespace) -> dict[str, Any]:
    """Mixtures, corpora, filters and deduplication; the reference gives each its best of four rates."""
    mixtures = {name: MIXED[name] for name in ("natural", "prose", "technical")}
    corpora = {"books": "domain:books", "python": "domain:python", "newswire": "domain:newswire"}
    recipes = [f"{name}={how}" for name, how in {**mixtures, **corpora}.items()]
    recipes += _selections(arguments.table, {"dsdm-squad": "dsdm-for-squad", **FILTERED, **DEDUPLICATED})
    return _result(
        "study", "learning-rate", *_common(arguments, recipes), "--proxy", "130k", "--reference", "1.07M",
        "--multiples", 0.03, 0.1, 0.3, 1, 3, "--reference-multiples", 0.25, 0.5, 1, 2,
    )  # fmt: skip


def _common(arguments: argparse.Namespace, recipes: Sequence[str]) -> list[object]:
    table = arguments.table
    sets = [f"{name}={table / f'{name}-heldout'}" for name in TARGETS]
    sets += [f"{name}={path}" for name, path in _held_out(arguments.data, table).items()]
    return [
        "--pool", table / "pool", "--out", arguments.out, "--test-sets", *sets, "--recipes", *recipes,
        "--examples", EXAMPLES, "--seeds", 2, "--batch-size", 16,
    ]  # fmt: skip


def _selections(table: Path, wanted: dict[str, str]) -> list[str]:
    return [f"{name}=selection:{_selection(table, folder)}" for name, folder in wanted.items()]


def _selection(table: Path, folder: str) -> Path:
    """The folder ends with a hash of what it was made from."""
    return next(path for path in (table / "selections").iterdir() if path.name.rpartition("-")[0] == folder)


def _held_out(data: Path, table: Path) -> dict[str, Path]:
    """Domain -> sequences of it that are not in the pool."""
    made = {name: table / f"{name}-only" for name in DOMAINS}
    for name, out in made.items():
        if not out.exists():
            file = table / f"{name}-documents.parquet"
            documents = pq.read_table(data / "corpus" / "documents.parquet", columns=["text", "domain"])
            pq.write_table(documents.filter(pc.equal(documents["domain"], name)), file)
            own = ("--tokenizer", table / "pool-tokenizer", "--sequence-length", 128, "--limit", SEQUENCES)
            _result("prepare", "--data", file, "--part", 0.97, 0.997, "--out", out, *own)
    return made


def _result(*arguments: object) -> dict[str, Any]:
    """What a command prints with --json; its progress stays on the screen."""
    return json.loads(result_of([*map(str, arguments), "--json"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    studies = parser.add_subparsers(required=True)
    for study, inputs in ((width, ("cifar",)), (transfer, ("data", "table")), (rates, ("data", "table"))):
        own = studies.add_parser(study.__name__)
        for name in (*inputs, "out"):
            own.add_argument(name, type=Path)
        own.add_argument("--json", type=Path)
        own.set_defaults(study=study)
    options = parser.parse_args()
    start = time.perf_counter()
    result = options.study(options)
    about = {"benchmark": options.study.__name__, "date": time.strftime("%Y-%m-%d"), "machine": machine()}
    about["seconds"] = round(time.perf_counter() - start)
    if options.json:
        options.json.write_text(json.dumps({**about, "result": result}, indent=1) + "\n")
    else:
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
