"""Every selector for every target on a 13-domain corpus: held-out loss of a larger reference, three paired seeds.

    python -m benchmarks.selection.table DATA OUT [--rows selectors | scorers] [--json FILE] [--seeds N] [--part P]

DATA has `corpus/documents.parquet` (text, domain) and `targets/*.jsonl` (context, continuation). Every selector keeps a
fifth of the pool's tokens for one target (half of its examples; the other half validates), trained for the same epochs.
`--rows scorers`: DsDm on several scorers, beside the gradient cosine, BM25 and a classifier. `--part` is the share of
the corpus that makes the pool. About an hour and a half of two cores; every run is kept, so run it again to go on, or
with more seeds.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.command import thresher
from benchmarks.loop import machine
from thresher.artifacts import Artifact
from thresher.attribution import open_features
from thresher.data import Examples, open_examples
from thresher.progress import SILENT
from thresher.proxies import ModelSettings, selection_flops
from thresher.selection import open_selection
from thresher.studies import (
    POOL,
    AttributionTable,
    ProxyTable,
    Sources,
    TrainingSet,
    ValidationPlan,
    compare,
    evidence_of,
    featurize_study,
    random_set,
    read_runs,
    select_from,
    train_proxies,
    validate,
)
from thresher.workspace import Workspace

TARGETS = ("squad", "gsm8k", "lambada", "jeopardy")
SHAPE = ("--vocab-size", 2048, "--sequence-length", 128)
SHARE = 0.2
PROXY = ProxyTable(size="0.25M", count=3, fraction=0.5, epochs=1.0, batch_size=16)
REFERENCE = ModelSettings(size="0.7M", epochs=1.0, batch_size=16)
RANDOM_BUDGETS = (0.5, 2, 4)
OF_TARGET = {
    "dsdm": "dsdm",
    "dsdm diverse": "dsdm_diverse",
    "gradient cosine": "gradient_cosine",
    "dsir": "dsir",
    "bm25": "bm25",
    "classifier": "classifier",
    "embedding": "embedding",
    "bottom": "bottom",
}
OF_SCORER = {
    "dsdm, trak": "dsdm:scorer=trak",
    "dsdm, ekfac": "dsdm:scorer=ekfac",
    "dsdm, ekfac+bm25": "dsdm:scorer=ekfac+bm25",
    "gradient cosine": "gradient_cosine",
    "bm25": "bm25",
    "classifier": "classifier",
}
OF_NONE = {
    "loss middle": "loss:band=middle",
    "gradient norm": "gradient_norm",
    "minhash": "minhash | random",
    "semdedup": "semdedup:keep=0.5 | random",
    "d4": "d4",
}
ROWS: dict[str, tuple[dict[str, str], dict[str, str]]] = {"selectors": (OF_TARGET, OF_NONE), "scorers": (OF_SCORER, {})}
"""What is compared: specs that look at a target, and specs that look at none."""


@dataclass(frozen=True)
class Study:
    pool: Examples
    targets: dict[str, Examples]
    heldout: dict[str, Examples]
    off_target: Examples
    workspace: Workspace
    rows: str = "selectors"
    """One of `ROWS`."""


def prepare(data: Path, out: Path, workspace: Workspace, rows: str, part: float) -> Study:
    def prepared(name: str, file: Path, *options: object) -> Examples:
        _run("prepare", "--data", file, "--out", out / name, *options)
        return open_examples(out / name)

    corpus = data / "corpus" / "documents.parquet"
    pool = prepared("pool", corpus, "--domain", "domain", "--part", 0, part, *SHAPE)
    again = ("--tokenizer", out / "pool-tokenizer", *SHAPE[2:])
    off_target = prepared("off-target", corpus, "--domain", "domain", "--part", 0.997, 1, *again)
    task = ("--prompt", "context", "--continuation", "continuation", "--group", "context", *again)
    halves = {"": (0, 0.5, 600), "-heldout": (0.5, 1, 400)}
    made = {
        (name, half): prepared(
            name + half, data / "targets" / f"{name}.jsonl", "--part", *part, "--limit", limit, *task
        )
        for name in TARGETS
        for half, (*part, limit) in halves.items()
    }
    targets, heldout = ({name: made[name, half] for name in TARGETS} for half in halves)
    return Study(pool, targets, heldout, off_target, workspace, rows)


def select_all(study: Study, budget: int) -> tuple[dict[str, Artifact], dict[str, float]]:
    """`NAME for TARGET` or `NAME` -> selection of `budget` tokens; target -> FLOPs of attributing for it."""
    pool, workspace, table = study.pool, study.workspace, AttributionTable()
    proxies = train_proxies(pool, PROXY, seed=0, workspace=workspace)
    # Together, so that every selector finds the same features.
    stores = featurize_study(proxies, pool, study.targets, table, 0, workspace)
    models = [str(proxy.path) for proxy in proxies]
    costs = {}
    for name, examples in study.targets.items():
        costs[name] = sum(selection_flops(proxies, pool=pool, targets={name: examples}, k=table.k).values())
    features = {name: open_features(artifact.path) for name, artifact in stores.items()}
    chosen = {}
    for only in (*TARGETS, None):
        targets = {only: study.targets[only]} if only else {}
        sources = Sources(
            workspace=workspace,
            pool=pool,
            targets=targets,
            models=models,
            features=features[POOL],
            target_features={only: features[only]} if only else {},
        )
        evidence = evidence_of(sources, 0)
        for name, spec in ROWS[study.rows][0 if only else 1].items():
            full = f"{name} for {only}" if only else name
            place = workspace.place(f"selections/{full.replace(' ', '-')}", spec, only, budget, sources.inputs)
            print(full, flush=True)
            chosen[full] = select_from(sources, spec, out=place, seed=0, tokens=budget, evidence=evidence)
    return chosen, costs


def run(data: Path, out: Path, num_seeds: int, rows: str, part: float) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    study = prepare(data, out, Workspace(out, "cpu", SILENT), rows, part)
    budget = int(SHARE * study.pool.artifact.facts["num_tokens"])
    start = time.perf_counter()
    chosen, costs = select_all(study, budget)
    seconds = time.perf_counter() - start
    arms = [TrainingSet.of(name, open_selection(artifact.path).positions) for name, artifact in chosen.items()]
    arms.append(random_set(study.pool.lengths(), budget, num_repeats=num_seeds, seed=0))
    made = validate(
        study.pool,
        arms,
        study.heldout,
        {"off-target": study.off_target},
        model=REFERENCE,
        plan=ValidationPlan(num_seeds=num_seeds, budget=budget, random_budgets=budgets_of(study)),
        seed=0,
        workspace=study.workspace,
    )
    return summary(made, chosen, costs, seconds, study)


def budgets_of(study: Study) -> tuple[float, ...]:
    """Amounts of random data, for the multiplier."""
    return RANDOM_BUDGETS if study.rows == "selectors" else ()


def summary(made: Artifact, chosen: dict[str, Artifact], costs: dict[str, float], seconds: float, study: Study) -> dict:
    rows = read_runs(made.path)
    tables = {}
    for target in TARGETS:
        arms = [name for name in chosen if " for " not in name or name.endswith(f" for {target}")] + ["random"]
        budgets = [f"random x {times:g}" for times in budgets_of(study)]
        own = [row for row in rows if row["arm"] in (*arms, *budgets) and row["task"] in (target, "off-target")]
        cost = {name: costs[target] for name in arms if name.startswith("dsdm")}
        tables[target] = compare(own, arms, cost)
    return {
        "benchmark": f"{study.rows} by target on a 13-domain corpus",
        "rows": study.rows,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "pool": {"examples": len(study.pool), "tokens": study.pool.artifact.facts["num_tokens"]},
        "kept": {name: artifact.facts["num_kept"] for name, artifact in chosen.items()},
        "select_seconds": round(seconds, 1),
        "tables": tables,
        "facts": {key: made.facts[key] for key in ("num_parameters", "num_runs", "epochs", "flops", "train_seconds")},
        "proxy": PROXY.size,
        "domain_shares": {name: artifact.facts["domain_shares"] for name, artifact in chosen.items()},
    }


def show(found: dict) -> str:
    """A table in Markdown: loss minus random's of each selector (rows) for each target (columns), and places."""
    of_target, of_none = ROWS[found["rows"]]
    names = ["random", *of_target, *of_none]
    lines = ["| | " + " | ".join(TARGETS) + " |", "| --- |" + " --- |" * len(TARGETS)]
    for name in names:
        cells = []
        for target in TARGETS:
            table = found["tables"][target]
            arm = f"{name} for {target}" if name in of_target else name
            place = next(row for row in table["standings"][target] if row["arm"] == arm)
            paired = [row for row in table["paired"] if row["arm"] == arm and row["task"] == target]
            if paired:
                row = paired[0]
                cells.append(f"{row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], {place['rank']}")
            else:
                cells.append(f"{place['mean']:.3f}, {place['rank']}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for target in TARGETS:
        for row in found["tables"][target]["multipliers"]:
            if row["task"] == target and row["arm"].startswith("dsdm for"):
                lines.append(f"{target}: {json.dumps(row)}")
    return "\n".join(lines)


def _run(*arguments: object) -> None:
    if thresher([*map(str, arguments), "--quiet", "--json"]):
        raise SystemExit(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", choices=ROWS, default="selectors")
    parser.add_argument("--part", type=float, default=0.17)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    found = run(options.data, options.out, options.seeds, options.rows, options.part)
    print(show(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
