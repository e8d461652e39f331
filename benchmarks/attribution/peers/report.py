"""The dated JSON file of rows, and the table in docs/ that is written from it."""

import json
from pathlib import Path

from benchmarks.attribution.peers.cases import WORKLOADS

INTRODUCTION = """# Benchmarks against other packages

Written by `make bench-attribution` from `{source}`; do not edit by hand.
Label noise is measured in `docs/label-noise.md`.

{machine}. Every package runs in an environment of its own, made under `.venv-peers/` when it is first needed: the peer
at the version below and its requirements, with the packages of the project's environment appended behind them by a
`.pth` file, so that all share one build of torch. bergson's is without torchaudio, which it requires and never imports
and whose last release does not load beside that torch. Same random weights, data, batches and threads for all, float32.
Seconds are of one round. *Ratio* is to a plain forward and backward pass of the same examples in the same process, in
alternation: the median over rounds, with quartiles. *Process* is a run of its own that featurises the examples and
writes the result, start-up included, and the peak of its resident memory.
"""
NOTES = """
A round is one batch for Thresher, traker and dattri, and a whole pass for kronfluence (factors of 512 images and scores
for 64 targets; its eigendecompositions cost the same at any number of images) and bergson (128 documents, 32 with the
global projection; only the collection of gradients counts, not the loading). Not all packages take the same gradients:
kronfluence leaves out norms, and bergson everything but the weights of linear layers inside the transformer, so the
output matrix too. k of bergson's per-module projection is the sum over its 16 modules. The process of Thresher and of
bergson is its command line with its own batch size; where none stands it was not run. Thresher's rows are of two-sided
and dense projections: what the default one takes today stands in `docs/projections.md`.
"""


def merge(path: Path, key: str, rows: list[dict], machine: dict) -> None:
    """Put `rows` under `key` of the file, over those of the same name; an earlier error does not outlive a result."""
    record: dict = json.loads(path.read_text()) if path.exists() else {"benchmark": "attribution peers"}
    found = {row["name"]: row for row in record.get(key, [])}
    for row in rows:
        before = {name: value for name, value in found.get(row["name"], {}).items() if name != "error"}
        found[row["name"]] = before | row
    record |= {"machine": machine, key: list(found.values())}
    path.write_text(json.dumps(record, indent=1) + "\n")


def write_table(source: Path, out: Path) -> None:
    """`out` as Markdown: a table for each workload, then LDS where the file has it."""
    record = json.loads(source.read_text())
    machine = "{processor}, {cores} cores, {threads} threads, Python {python}".format(**record["machine"])
    rows = record.get("rows", [])
    sections = [INTRODUCTION.format(source=f"benchmarks/results/{source.name}", machine=machine)]
    for name, workload in WORKLOADS.items():
        chosen = [row for row in rows if row["workload"] == name]
        if chosen:
            sections.append(f"\n## {workload.title}\n\n{_timings(chosen)}")
    sections.append(NOTES)
    if record.get("lds"):
        sections.append(f"\n## LDS on the same ground truth\n\n{_scores(record['lds'])}")
    if failed := [row for row in rows if "error" in row]:
        sections.append("\n## What failed\n")
        sections += [f"\n{row['name']}:\n\n```\n{row['error']}\n```\n" for row in failed]
    out.write_text("".join(sections))


def _timings(rows: list[dict]) -> str:
    head = (
        "package",
        "method",
        "k",
        "batch",
        "plain s",
        "its own s",
        "ratio (quartiles, n)",
        "examples",
        "process s",
        "MB",
    )
    lines = [_line(head), _line(["---"] * len(head))]
    for row in rows:
        who = [f"{row['peer']} {row['version']}".removesuffix(" this checkout"), row["method"], f"{row['k'] or '-'}"]
        examples = f"{row['num_examples']:,}"
        if "error" in row or "ratio" not in row:
            why = "failed, see below" if "error" in row else "not measured"
            lines.append(_line([*who, row["batch"], "", "", why, examples, "", ""]))
            continue
        low, high = row["ratio_quartiles"]
        ratio = f"**{row['ratio']:.2f}** ({low:.2f} to {high:.2f}, {row['rounds']})"
        times = [row["batch"], f"{row['plain_seconds']:.3f}", f"{row['seconds']:.3f}", ratio, examples]
        has_process = "process_seconds" in row
        process = [f"{row['process_seconds']:.1f}", f"{row['peak_mb']:.0f}"] if has_process else ["", ""]
        lines.append(_line([*who, *times, *process]))
    lines += ["", *filter(None, map(_parts, rows))]
    return "\n".join(lines).rstrip() + "\n"


def _parts(row: dict) -> str:
    if "parts" in row:
        parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in row["parts"].items())
        return f"{row['peer']}, {row['method']}, of a round: {parts}."
    if "pass_seconds" in row and "process_seconds" in row:
        share = row["process_seconds"] / row["pass_seconds"]
        return f"`thresher featurize` on {row['num_examples']:,} images as a process: {share:.2f} times its pass."
    return ""


def _scores(rows: list[dict]) -> str:
    """Rows of `lds`: name, setting, scorer; mean, low and high, or error; seconds where they were measured."""
    lines = [_line(["setting", "scores", "LDS (95 % interval)", "seconds"]), _line(["---"] * 4)]
    for row in rows:
        estimate = (
            f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
            if "mean" in row
            else f"failed: {row['error'].splitlines()[-1]}"
        )
        lines.append(
            _line([row["setting"], row["scorer"], estimate, f"{row['seconds']:.0f}" if "seconds" in row else ""])
        )
    return "\n".join(lines) + "\n"


def _line(cells) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
