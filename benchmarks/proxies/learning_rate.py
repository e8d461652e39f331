"""Does the default rate serve every width and depth? Held-out loss by rate, width, depth and seed, at equal tokens.

    python -m benchmarks.proxies.learning_rate DOCUMENTS OUT [--seeds 3] [--minutes 60] [--json FILE] [--picture FILE]

DOCUMENTS has a column `text`. GPT-2 models of every width and depth of the grid, apart from the ladder's own choice of
a depth for a width, are trained by CompleteP at multiples of the default rate of their depth, half of it and once
first, from every seed; a rung whose lowest mean loss stands at an end gets the next multiple too, and one whose does
not the half step on the better side. With `--standard` multiples of the standard parametrisation's own rule as well,
where the grid meets the ladder.
Besides, at the base rung, other batches and durations. The grid's runs are long enough to leave token frequencies: in
shorter ones some seeds have left them and some have not, and chance decides.
Each run is a line of OUT/runs.jsonl: started again, the benchmark goes on; after --minutes no other run is begun. A
line whose rate is not that of its multiple today is of another default, and left out.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import thresher
from benchmarks.loop import machine
from thresher.data import Examples, open_examples
from thresher.errors import InputError
from thresher.proxies import Shape, TrainConfig, evaluate, model_spec, open_model, train

WIDTHS, DEPTHS = (32, 64, 128, 256), (1, 2, 4, 8)
BASE = (64, 2)
MULTIPLES = (0.5, 1.0)
RANGE = (1 / 16, 16.0)
BATCHES, DURATIONS = (2, 32), (400, 4870)
"""Of the base rung: other batches over as many tokens; other numbers of steps, too few and 20 tokens a parameter."""
VOCAB_SIZE, LENGTH, BATCH, STEPS = 320, 64, 8, 1600


@dataclass(frozen=True)
class Run:
    width: int
    depth: int
    multiple: float
    seed: int
    parametrization: str = "completep"
    batch: int = BATCH
    steps: int = STEPS

    @property
    def rung(self) -> "Run":
        """What is compared over rates and seeds."""
        return replace(self, multiple=0.0, seed=0)

    @property
    def cost(self) -> float:
        return self.batch * self.steps * (self.depth * self.width**2 * 12 + self.width * VOCAB_SIZE)


class Sweep:
    """The runs that are there, and a way to the others."""

    def __init__(self, documents: Path, root: Path, minutes: float) -> None:
        self.root, self.end = root, time.monotonic() + 60 * minutes
        _prepare(documents, root)
        self.pool, self.held_out = open_examples(root / "pool"), open_examples(root / "held-out")
        self.losses: dict[Run, float | None] = {}
        if (root / "runs.jsonl").is_file():
            for line in (root / "runs.jsonl").read_text().splitlines():
                row = json.loads(line)
                run = Run(**row["run"])
                if row.get("rate") == self.rate(run):
                    self.losses[run] = row["loss"]

    def loss(self, run: Run) -> float:
        """Held-out loss in nats a token; infinite where training diverged. Raises TimeoutError after the time."""
        if run not in self.losses:
            if time.monotonic() > self.end:
                raise TimeoutError
            begun = time.perf_counter()
            self.losses[run] = self._measure(run)
            row = {"run": asdict(run), "rate": self.rate(run), "loss": self.losses[run]}
            row |= {"seconds": round(time.perf_counter() - begun, 1)}
            with (self.root / "runs.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)
        loss = self.losses[run]
        return float("inf") if loss is None else loss

    def rate(self, run: Run) -> float:
        """The peak rate of a run, which is what it was trained at."""
        return run.multiple * TrainConfig.for_language().peak_rate(_spec(run, self.pool))

    def _measure(self, run: Run) -> float | None:
        out = self.root / "model"
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(self.root / ".model.partial", ignore_errors=True)
        config = TrainConfig.for_language(
            steps=run.steps, batch_size=run.batch, learning_rate=self.rate(run), precision="float32"
        )
        try:
            train(_spec(run, self.pool), self.pool, out=out, config=config, seed=run.seed, device="cpu")
        except InputError:
            return None
        indices = np.arange(len(self.held_out))
        losses = evaluate(open_model(out), self.held_out, indices=indices, device="cpu")["loss"]
        tokens = np.asarray(self.held_out.lengths())[indices]
        return float((losses * tokens).sum() / tokens.sum())

    def search(self, rung: Run, seeds: int) -> None:
        """The rates of a rung: two, further ones while the lowest mean loss stands at an end, and a half step."""
        multiples = list(MULTIPLES)
        while True:
            losses = {times: self.mean(replace(rung, multiple=times), seeds) for times in sorted(multiples)}
            best = min(losses, key=losses.__getitem__)
            further = best / 2 if best == min(multiples) else 2 * best if best == max(multiples) else None
            if further is None or not RANGE[0] <= further <= RANGE[1]:
                break
            multiples.append(further)
        if further is None:
            step = 2**0.5 if losses[2 * best] < losses[best / 2] else 0.5**0.5
            self.mean(replace(rung, multiple=best * step), seeds)

    def mean(self, run: Run, seeds: int) -> float:
        """The mean loss over seeds."""
        return sum(self.loss(replace(run, seed=seed)) for seed in range(seeds)) / seeds


def rungs(standard: bool) -> list[Run]:
    """What is swept: the cheapest first, the standard parametrisation last."""
    grid = [Run(width, depth, 0.0, 0) for width in WIDTHS for depth in DEPTHS]
    if standard:
        grid += [replace(rung, parametrization="standard") for rung in grid if Shape(rung.width).depth == rung.depth]
    base = Run(*BASE, 0.0, 0)
    grid += [replace(base, batch=batch, steps=STEPS * BATCH // batch) for batch in BATCHES]
    grid += [replace(base, steps=steps) for steps in DURATIONS]
    return sorted(grid, key=lambda run: (run.parametrization, run.cost))


def summary(losses: dict[Run, float | None], seeds: int) -> list[dict[str, Any]]:
    """Of each rung that all seeds have: mean losses, the best multiple, what multiple 1 loses to it; and seed by seed.

    The best is that of a parabola in log2 of the multiple through the lowest loss and its two neighbours. What the
    default loses, it loses to the lowest loss that was measured; the lowest of several noisy numbers is too low, so
    that is too much, of a seed alone above all.
    """
    table = []
    for rung in dict.fromkeys(run.rung for run in losses):
        curves = {}
        for seed in range(seeds):
            own = {run.multiple: loss for run, loss in losses.items() if run.rung == rung and run.seed == seed}
            curves[seed] = {times: loss for times, loss in sorted(own.items()) if loss is not None}
        common = sorted(set.intersection(*(set(curve) for curve in curves.values())))
        if len(common) < 3 or 1.0 not in common:
            continue
        mean = {times: float(np.mean([curve[times] for curve in curves.values()])) for times in common}
        about = {key: value for key, value in asdict(rung).items() if key not in ("multiple", "seed")}
        alone = [{"seed": seed, **_optimum(curve)} for seed, curve in curves.items()]
        table.append({**about, **_optimum(mean), "seeds": alone})
    return table


def _optimum(losses: dict[float, float]) -> dict[str, Any]:
    lowest = min(losses, key=losses.__getitem__)
    return {
        "losses": {f"{times:.4g}": loss for times, loss in losses.items()},
        "best_multiple": _vertex(np.log2([*losses]), np.array([*losses.values()])),
        "at_an_end": lowest in (min(losses), max(losses)),
        "default_loses": losses[1.0] - losses[lowest],
    }


def _vertex(x: np.ndarray, y: np.ndarray) -> float:
    middle = int(np.clip(y.argmin(), 1, len(y) - 2))
    a, b, _ = np.polyfit(x[middle - 1 : middle + 2], y[middle - 1 : middle + 2], 2)
    is_inside = a > 0 and x[0] <= -b / (2 * a) <= x[-1]
    return float(2 ** (-b / (2 * a) if is_inside else x[y.argmin()]))


def draw(table: Sequence[dict[str, Any]], file: Path) -> None:
    """Mean loss above its best by multiple of the default rate: a panel a width, a line a depth, a dot a seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    grid = [row for row in table if (row["batch"], row["steps"]) == (BATCH, STEPS)]
    widths = sorted({row["width"] for row in grid})
    size = (3.2 * len(widths), 3.4)
    figure, axes = plt.subplots(1, len(widths), figsize=size, sharex=True, sharey=True, squeeze=False)
    for axis, width in zip(axes[0], widths, strict=True):
        for row in grid:
            if row["width"] != width:
                continue
            multiples, mean = [float(m) for m in row["losses"]], np.array([*row["losses"].values()])
            is_ours = row["parametrization"] == "completep"
            name = f"{row['depth']} layers" + ("" if is_ours else ", standard")
            (line,) = axis.plot(multiples, mean - mean.min(), "-" if is_ours else "--", label=name)
            for one in row["seeds"]:
                dots = np.array([one["losses"][times] for times in row["losses"]])
                axis.plot(multiples, dots - mean.min(), ".", color=line.get_color(), markersize=4)
        axis.axvline(1.0, color="grey", linewidth=0.8)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set(title=f"width {width}", xlabel="rate / default")
        axis.set_ylim(-0.01, 0.4)
        axis.legend(fontsize=7)
    axes[0, 0].set_ylabel("held-out loss above the best, nats")
    figure.tight_layout()
    figure.savefig(file)


def tell(table: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "width depth batch steps                 best  default loses  by seed (* at an end)"
    for row in sorted(table, key=lambda row: (row["parametrization"], row["steps"], row["batch"], row["width"])):
        shape = f"{row['width']:5d} {row['depth']:5d} {row['batch']:5d} {row['steps']:5d} {row['parametrization']:>13s}"
        alone = [
            f"x{one['best_multiple']:.2f}{'*' * one['at_an_end']} {one['default_loses']:.3f}" for one in row["seeds"]
        ]
        yield f"{shape}  x{row['best_multiple']:.2f}  {row['default_loses']:13.4f}  {', '.join(alone)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--standard", action="store_true", help="also the standard parametrisation, where depth fits")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    sweep = Sweep(options.documents, options.out, options.minutes)
    try:
        for rung in rungs(options.standard):
            sweep.search(rung, options.seeds)
    except TimeoutError:
        pass
    table = summary(sweep.losses, options.seeds)
    print("\n".join(tell(table)))
    if options.picture:
        draw(table, options.picture)
    if options.json:
        about = {"benchmark": "learning-rate", "machine": machine(), "date": time.strftime("%Y-%m-%d")}
        runs = [{**asdict(run), "rate": sweep.rate(run), "loss": loss} for run, loss in sweep.losses.items()]
        options.json.write_text(json.dumps(about | {"table": table, "runs": runs}, indent=1) + "\n")


def _spec(run: Run, pool: Examples) -> dict[str, Any]:
    """The model of a run: a ladder's description with another width and depth, heads of 16 or 32 numbers."""
    spec = model_spec("0.4M", pool, parametrization=run.parametrization)
    shape = {"n_embd": run.width, "n_layer": run.depth, "n_head": Shape(run.width).heads}
    return spec | {"name": f"{run.width}x{run.depth}", "config": spec["config"] | shape}


def _prepare(documents: Path, root: Path) -> None:
    shape = ("--sequence-length", LENGTH, "--quiet")
    if not (root / "pool").is_dir():
        _thresher(
            "prepare",
            "--data",
            documents,
            "--part",
            0,
            0.05,
            "--vocab-size",
            VOCAB_SIZE,
            "--out",
            root / "pool",
            *shape,
        )
    if not (root / "held-out").is_dir():
        held_out = ("--part", 0.999, 1, "--tokenizer", root / "pool-tokenizer", "--out", root / "held-out")
        _thresher("prepare", "--data", documents, *held_out, *shape)


def _thresher(*arguments: object) -> None:
    status = thresher([str(argument) for argument in arguments])
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    main()
