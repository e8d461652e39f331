"""LDS of our scores, of traker's recipe and of cheap baselines, on the grounds of `benchmarks.attribution.grounds`.

    python -m benchmarks.attribution.lds [--only cifar mnist-logistic mnist-mlp language] [--json FILE]

`traker` is its recipe (its projection, kernel, Q; damping 0) with its package's own numbers
(tests/attribution/traker); `traker, best damping` takes the best damping after looking at the answer.
"""

import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.attribution.grounds import SETTINGS, Setting, asked, ground_of, keep
from thresher.attribution import lds_table, noise_ceiling, predict_outputs, score_blocks
from thresher.studies import Attribution, Basis, pairs_by

DAMPINGS = (0.0, 0.1, 0.316, 1.0, 3.16, 10.0)


def main() -> None:
    arguments, results = asked(__doc__, SETTINGS)
    for name in arguments.only:
        results[name] = measure(name, arguments.data)
        for row in results[name]["rows"]:
            ratio = row.get("ratio")
            print(
                f"{name:15} M={row['checkpoints']:<3} k={row['k']:<5} {row['scorer']:34} {_text(row['lds'])}"
                + (f"  {_text(ratio)} x traker" if ratio else ""),
                flush=True,
            )
        results[name]["date"] = time.strftime("%Y-%m-%d")
        keep(arguments, results)


def measure(name: str, data: Path) -> dict:
    setting = SETTINGS[name]
    ground, rows = ground_of(name, data, max(setting.checkpoints)), []
    outputs = ground.outputs
    for count in setting.checkpoints:
        for k in setting.ks:
            judge = Judge(
                ground.models[:count], ground.pool, ground.target, k, ground.workspace, ground.subsets, setting.views
            )
            rows += _rows(judge, outputs, setting)
    facts = {"num_subsets": len(outputs), "repeats": setting.repeats}
    facts |= {"num_pool": len(ground.pool), "num_targets": len(ground.target)}
    if setting.repeats > 1:
        facts["ceiling"] = {key: asdict(value) for key, value in noise_ceiling(outputs).items()}
    return facts | {"model": asdict(setting.table), "rows": rows}


class Judge:
    """What each scorer predicts of the subsets, under some checkpoints and one k."""

    def __init__(self, models, pool, target, k, workspace, subsets, views) -> None:
        self.num_checkpoints, self.k, self.subsets = len(models), k, subsets
        self.models, self.pool, self.target, self.workspace = models, pool, target, workspace
        self.ours, self.dense = self.basis(), self.basis(projection="normal")
        self.viewed = {
            "ours, views " + " + ".join(group): self.basis(views=group) for group in (views, views[:1])[: len(views)]
        }

    def basis(self, **options) -> Basis:
        return Basis(self.models, self.pool, Attribution(k=self.k, **options), self.workspace)

    def trak(self, basis: Basis, **options):
        stores = basis.pool_features, basis.features("target", self.target)
        return predict_outputs(score_blocks(*stores, **options), self.subsets)

    def plain(self, name: str):
        return predict_outputs(pairs_by(name, self.ours, self.target), self.subsets)


def _rows(judge: Judge, outputs, setting: Setting) -> list[dict]:
    theirs = {damping: judge.trak(judge.dense, damping=damping, q="mean") for damping in DAMPINGS}
    means = lds_table({str(damping): p for damping, p in theirs.items()}, outputs, num_resamples=2)
    best = max(DAMPINGS, key=lambda damping: means[str(damping)]["lds"].mean)
    predicted = {
        "traker": judge.trak(judge.dense, convention="traker"),
        f"traker, best damping ({best})": theirs[best],
        "ours": judge.trak(judge.ours),
        "ours, damping loo": judge.trak(judge.ours, damping="loo"),
        "ours, q mean": judge.trak(judge.ours, q="mean"),
        "ours, q none": judge.trak(judge.ours, q="none"),
        "ours, dense projection": judge.trak(judge.dense),
        "ours, dense projection, loo": judge.trak(judge.dense, damping="loo"),
    }
    predicted |= {name: judge.trak(basis) for name, basis in judge.viewed.items()}
    if setting.exact:
        predicted["ours, exact kernel"] = judge.plain("dual")
    predicted |= {
        name: judge.plain(name)
        for name in ("grad-cosine", "embedding", "random", *(["bm25"] if setting.is_text else []))
    }
    table = lds_table(predicted, outputs, baseline="traker", num_resamples=200)
    shared = {"checkpoints": judge.num_checkpoints, "k": judge.k}
    return [shared | {"scorer": s} | {key: asdict(value) for key, value in row.items()} for s, row in table.items()]


def _text(estimate: dict) -> str:
    return f"{estimate['mean']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


if __name__ == "__main__":
    main()
