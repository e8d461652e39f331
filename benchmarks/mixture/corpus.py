"""Mixtures on a 13-domain corpus, from proxy runs to a larger reference, through the commands a person would type.

    python -m benchmarks.mixture.corpus DATA OUT [--json FILE] [--collect]

DATA has `corpus/documents.parquet` (text, domain) and `targets/*.jsonl` (context, continuation). Three targets, a fifth
of each seen by the proposals and the rest kept for validation. Every step is resumable: run it again. About an hour of
two cores. `--collect` only gathers the figures of what is there.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.mixture.measured import measured
from thresher.data import open_examples
from thresher.studies import supply

TARGETS = ("squad", "gsm8k", "lambada")
SHAPE = ("--vocab-size", 1024, "--sequence-length", 128)
DOCUMENTS = 3200
# Of a proxy; a reference sees twice as many, the larger of AutoScale's two budgets.
PROXY = ("--model", "80k", "--examples", DOCUMENTS, "--batch-size", 8)
REFERENCE = ("--model", "450k", "--examples", 2 * DOCUMENTS, "--batch-size", 8, "--seeds", 3)
# What AutoScale is asked for, of the proxies' tokens; 8 is far beyond what was fitted. No proposal has ceilings.
TIMES = (1, 2, 8)
PROPOSALS = {"joint": TARGETS, **{target: (target,) for target in TARGETS}}


def thresher(*arguments) -> None:
    command = [sys.executable, "-m", "thresher", *map(str, arguments), "--quiet", "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def study(data: Path, out: Path) -> None:
    pool = out / "pool"
    thresher("prepare", "--data", data / "corpus/documents.parquet", "--domain", "domain", *SHAPE, "--part", 0, 0.3,
             "--out", pool)  # fmt: skip
    for target in TARGETS:
        for name, part, limit in ((target, (0, 0.2), 300), (f"{target}-heldout", (0.2, 1), 800)):
            thresher("prepare", "--data", data / f"targets/{target}.jsonl", "--prompt", "context", "--continuation",
                     "continuation", "--tokenizer", out / "pool-tokenizer", "--sequence-length", 128, "--part", *part,
                     "--limit", limit, "--out", out / name)  # fmt: skip
    seen = [f"{target}={out / target}" for target in TARGETS]
    kept = [f"{target}={out / target}-heldout" for target in TARGETS]
    common = ("runs", "--pool", pool, "--targets", *seen, *PROXY, "--workers", 1)
    thresher("mix", *common, "--runs", 44, "--first", 28, "--resamples", 100, "--out", out / "fill")
    thresher("mix", *common, "--design", "ddo", "--out", out / "ddo")
    examples = open_examples(pool)
    tokens = [f"{domain}={count}" for domain, count in supply(examples).items()]
    budget = DOCUMENTS * float(examples.lengths().mean())
    for name, targets in PROPOSALS.items():
        weights = [f"{target}=1" for target in targets]
        thresher("mix", "table", out / "fill/runs.csv", "--tokens", *tokens, "--target-weights", *weights,
                 "--resamples", 100, "--out", out / f"prop-{name}")  # fmt: skip
    for times in TIMES:
        thresher("mix", "table", out / "ddo/runs.csv", "--tokens", *tokens, "--method", "autoscale", "--fitted-budget",
                 round(budget), "--budget", round(times * budget), "--max-repeats", 100, "--out",
                 out / f"prop-as{times}")  # fmt: skip
    mixtures = [f"joint={out / 'prop-joint'}"]
    mixtures += [f"autoscale-{times}x={out / f'prop-as{times}'}" for times in TIMES]
    mixtures += [f"{target}={out / f'prop-{target}'}" for target in TARGETS]
    thresher("mix", "validate", "--pool", pool, "--targets", *kept, "--mixtures", *mixtures, *REFERENCE, "--out",
             out / "ref")  # fmt: skip


def collect(out: Path) -> dict:
    """The proposals and, of the validation with most arms, every arm and paired difference."""
    found = measured("mixtures on a 13-domain corpus, targets " + ", ".join(TARGETS))
    for path in sorted(out.glob("prop-*/mixture.json")):
        result = json.loads(path.read_text())
        keys = ("method", "num_runs", "num_resamples", "t", "budget", "weights", "weight_intervals", "predicted_losses",
                "gains", "held_out", "warnings")  # fmt: skip
        found[path.parent.name] = {key: result[key] for key in keys if result.get(key) is not None}
    metas = [json.loads(path.read_text()) for path in out.glob("ref/validation-*/meta.json")]
    if metas:
        facts = max(metas, key=lambda meta: meta["facts"]["num_runs"])
        found["validation"] = {"mixtures": facts["config"]["mixtures"], **facts["facts"]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--collect", action="store_true")
    options = parser.parse_args()
    if not options.collect:
        study(options.data, options.out)
    found = collect(options.out)
    for row in found.get("validation", {}).get("paired", []):
        print(f"{row['arm']:>14} - {row['baseline']:<14}{row['task']:<10}"
              f"{row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}] n={row['n']}")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
