"""`thresher mix validate`: does the proposed mixture help the reference? Train it and the baselines, paired."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thresher.cli.command import made, named_paths
from thresher.cli.mix.options import Training, command_line


@dataclass(frozen=True, kw_only=True)
class Validate(Training):
    """Train the reference on the proposed, natural, uniform and best observed mixtures, from paired seeds, and compare.

    Every run is an artefact under --out; run the same command again to resume, with more --seeds to go on.
    """

    targets: tuple[str, ...]
    """NAME=PREPARED of each held-out target (a part that the proposal has not seen)."""
    mixtures: tuple[str, ...]
    """NAME=mixture.json (or the folder it is in) of each proposal. The best observed joins, if known."""
    out: Path
    """A folder for all runs, the comparison and its page."""
    model: str = "1.6M"
    """The reference: parameters, or a model's name."""
    tokens: int | None = None
    """Tokens that each run trains on, repetitions counted; none: what --examples hold."""
    examples: int = 8000
    """Images that each run trains on, repetitions counted; of text, what so many average documents hold."""
    seeds: int = 3
    """Paired seeds: the initialisations and draws that every arm is trained from."""
    seed: int = 0

    def run(self, progress):
        from thresher.data.examples import open_examples
        from thresher.errors import InputError
        from thresher.seeds import derive
        from thresher.selection.mixture.baselines import natural, uniform
        from thresher.studies.experiments.training_sets import supply
        from thresher.studies.mixtures.runs import MixtureRun, make_runs, run_budget

        if self.seeds < 2:
            raise InputError(f"{self.seeds} seed gives no interval; pass at least 2")
        pool = open_examples(self.pool)
        tokens, budget = supply(pool), run_budget(pool, self.tokens, self.examples)
        arms = _read_arms(named_paths(self.mixtures, "--mixtures"))
        names = list(tokens)
        arms["natural"] = dict(zip(names, natural(names, tokens).tolist(), strict=True))
        arms["uniform"] = dict(zip(names, uniform(len(names)).tolist(), strict=True))
        planned = [
            MixtureRun(f"{arm}-{repeat}", weights, budget, derive(self.seed, "reference", repeat))
            for repeat in range(self.seeds)
            for arm, weights in arms.items()
        ]
        facts = make_runs(planned, self.bench(self.out), workers=self.workers, progress=progress)
        rows = [
            {"arm": run.name.rpartition("-")[0], "seed": int(run.name.rpartition("-")[2]), "task": task, "loss": loss}
            for run, found in zip(planned, facts, strict=True)
            for task, loss in found["losses"].items()
        ]
        return made(self._write(rows, arms, facts))

    def show(self, result):
        lines = ["held-out loss of each arm minus the baseline's (95 % interval, paired seeds; negative is better)"]
        for row in result["paired"]:
            versus = f"{row['arm']} - {row['baseline']}"
            lines.append(
                f"  {versus:<32}{row['task']:<16}{row['mean']:+.4f}  [{row['low']:+.4f}, {row['high']:+.4f}]"
                f"  n={row['n']}"
            )
        return "\n".join([*lines, f"report: {result['path']}/report.html"])

    def _write(self, rows: Sequence[Mapping[str, Any]], arms: Mapping[str, Mapping[str, float]], facts):
        """An artefact of kind "mixture-validation": `runs.parquet` (arm, seed, task, loss) and the report's page."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from thresher.artifacts import build
        from thresher.canonical import hash_json
        from thresher.workspace import Workspace

        config = {
            "mixtures": arms,
            "model": self.model,
            "tokens": self.tokens,
            "examples": self.examples,
            "seeds": self.seeds,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "optimizer": self.optimizer,
        }
        inputs = {"losses": hash_json(list(rows))}

        def write(draft):
            with draft.file("runs.parquet") as file:
                pq.write_table(pa.Table.from_pylist(list(rows)), file)
            report = self._report(rows, arms, facts)
            with draft.file("report.html") as file:
                file.write_text(report, encoding="utf-8")
            return {
                **compare_mixtures(rows, list(arms)),
                "num_parameters": facts[0]["num_parameters"],
                "num_runs": len(facts),
                "seen": facts[0]["seen"],
                "flops": sum(found["flops"] for found in facts),
                "train_seconds": round(sum(found["seconds"] for found in facts), 3),
            }

        place = Workspace(self.out).place("validation", config, inputs, self.seed)
        return build(place, kind="mixture-validation", config=config, seed=self.seed, inputs=inputs, write=write)

    def _report(self, rows, arms: Mapping[str, Mapping[str, float]], facts) -> str:
        from thresher.selection.statistics.comparison import Run
        from thresher.studies.report.content import Model, Report, Reproduction, Results
        from thresher.studies.report.render import render

        runs = [Run(row["arm"], row["seed"], row["task"], row["loss"]) for row in rows]
        count = len(facts)
        model = Model(
            name="reference",
            parameters=facts[0]["num_parameters"]["total"],
            count=count,
            flops=sum(found["flops"] for found in facts) / count,
            seconds=sum(found["seconds"] for found in facts) / count,
        )
        mixtures = {
            arm: ", ".join(f"{domain} {share:.3f}" for domain, share in weights.items() if share > 0)
            for arm, weights in arms.items()
        }
        budget = f"{facts[0]['seen']:,} tokens (images), one seed's draws shared"
        return render(
            Report(
                title="Mixtures on the reference",
                settings=mixtures,
                results=Results(runs=runs, chosen=next(iter(arms)), baseline="natural", budget=budget),
                models=[model],
                reproduction=Reproduction(command=command_line("validate", self)),
            )
        )


def compare_mixtures(rows: Sequence[Mapping[str, Any]], arms: Sequence[str]) -> dict[str, Any]:
    """`arms`: arm -> task -> mean loss with its interval; `paired`: proposals minus each baseline, seed by seed."""
    import numpy as np

    from thresher.intervals import interval
    from thresher.selection.statistics.comparison import Run, compare_arms

    losses: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        losses.setdefault(row["arm"], {}).setdefault(row["task"], []).append(row["loss"])
    means = {
        arm: {task: asdict(interval(np.array(values))) for task, values in tasks.items()}
        for arm, tasks in losses.items()
    }
    runs = [Run(row["arm"], row["seed"], row["task"], row["loss"]) for row in rows]
    others = [arm for arm in arms if arm not in BASELINES]
    paired = []
    for baseline in (name for name in BASELINES if name in losses):
        chosen = [run for run in runs if run.arm in (*others, baseline)]
        for line in compare_arms(chosen, baseline=baseline):
            difference = asdict(line.difference)
            paired.append({"arm": line.arm, "baseline": baseline, "task": line.task, **difference})
    return {"arms": means, "paired": paired}


BASELINES = ("natural", "uniform", "best-observed")


def _read_arms(paths: Mapping[str, Path]) -> dict[str, dict[str, float]]:
    """The weights of each proposal, and the best observed mixture of the first that has one."""
    from thresher.errors import InputError

    arms: dict[str, dict[str, float]] = {}
    first: dict[str, float] | None = None
    for name, path in paths.items():
        if name in BASELINES:
            raise InputError(f"--mixtures {name!r} stands for a baseline; give the proposal another name")
        file = path / "mixture.json" if path.is_dir() else path
        try:
            result = json.loads(file.read_text(encoding="utf-8"))
            arms[name] = {domain: float(share) for domain, share in result["weights"].items()}
            observed = (result.get("baselines") or {}).get("best observed")
        except FileNotFoundError:
            raise InputError(f"{file} does not exist; give the mixture.json of `thresher mix ... --out`") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{file} is no proposal; give the mixture.json of `thresher mix ... --out`") from None
        first = first or observed
    return arms if first is None else {**arms, "best-observed": first}
