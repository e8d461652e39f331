"""Each package's scores of a pool for targets under given models: `NAME.npy` [n, t], higher is more helpful."""

import argparse
import json
import shutil
import time

from benchmarks.attribution.peers.common import Job
from benchmarks.attribution.peers.environments import NotInstalled
from benchmarks.attribution.peers.launch import Failed, run_job

VISION = {"thresher": ("two-sided", "normal"), "traker": ("",), "dattri": ("",), "kronfluence": ("",)}
LANGUAGE = {"thresher": ("two-sided",), "traker": ("",), "bergson": ("global",)}


def score_all(arguments: argparse.Namespace) -> None:
    """Run every package that reads this kind of examples; `summary.json` says what was made, and what failed."""
    out = arguments.scores
    out.mkdir(parents=True, exist_ok=True)
    summary_file = out / "summary.json"
    summary = json.loads(summary_file.read_text()) if summary_file.exists() else {}
    kind = json.loads((arguments.pool / "meta.json").read_text())["kind"]
    for peer, methods in (LANGUAGE if kind == "text-examples" else VISION).items():
        if not any(word in peer for word in arguments.only):
            continue
        for method in methods:
            summary |= _score(arguments, peer, method)
            summary_file.write_text(json.dumps(summary, indent=1) + "\n")


def _score(arguments: argparse.Namespace, peer: str, method: str) -> dict:
    scratch = arguments.scores / "work" / f"{peer}-{method or 'default'}-{arguments.k}"
    shutil.rmtree(scratch, ignore_errors=True)
    job = Job(
        peer=peer,
        mode="scores",
        models=tuple(str(path) for path in arguments.models),
        pool=str(arguments.pool.resolve()),
        targets=str(arguments.targets.resolve()),
        out=str(scratch.resolve()),
        method=method,
        k=arguments.k,
    )
    facts = {"peer": peer, "k": arguments.k, "num_models": len(job.models), "date": time.strftime("%Y-%m-%d")}
    try:
        done = run_job(job)
    except (Failed, NotInstalled) as error:
        print(f"{peer} {method} failed: {str(error).splitlines()[-1]}", flush=True)
        return {f"{peer}-{method}".rstrip("-"): facts | {"error": str(error)}}
    facts |= {"seconds": done.seconds, "peak_mb": done.peak_mb}
    for file in scratch.glob("*.npy"):
        shutil.move(file, arguments.scores / file.name)
    shutil.rmtree(scratch, ignore_errors=True)
    print(f"{peer} {method}: {', '.join(done.answer['scores'])} in {done.seconds:.0f} s", flush=True)
    return {name: facts | made for name, made in done.answer["scores"].items()}
