"""Attribution quality against proxy size: ground truth from the reference, scores from every size of a ladder.

Small-to-Large Generalization (arXiv 2505.16260), section 5. Costs are those of its model: training, attribution, all
checkpoints together (`proxies.costs`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

import numpy as np
from jaxtyping import Float

from thresher.artifacts import Artifact, Draft, build, open_artifact
from thresher.attribution.gradients.projection import usual
from thresher.attribution.gradients.views import VIEWS
from thresher.attribution.quality.agreement import jaccard, rank_biased_overlap, top_k
from thresher.attribution.quality.lds import lds_table, noise_ceiling, predict_outputs
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.costs import selection_flops
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trainable import check_distinct, check_trainable
from thresher.shown import with_interval
from thresher.studies.experiments.lds import train_checkpoints
from thresher.studies.experiments.retraining import retrain
from thresher.studies.report.charts import against_cost, standalone
from thresher.studies.scoring.basis import Attribution, Basis
from thresher.studies.scoring.pairs import pairs_by
from thresher.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class LadderPlan:
    """What is trained: subsets for the ground truth, checkpoints to attribute with, at every size."""

    num_subsets: int = 100
    fraction: float = 0.5
    repeats: int = 2
    checkpoints: int = 5
    own: bool = True
    """Whether every size is judged by its own retrainings too."""
    top: int = 100
    """How many of the most helpful examples are compared with those at the reference's size."""


def lds_ladder(
    pool: Examples,
    target: Examples,
    table: ModelSettings,
    sizes: Sequence[str],
    attribution: Attribution,
    plan: LadderPlan,
    *,
    output: str = "margin",
    seed: int,
    workers: int | None,
    workspace: Workspace,
) -> Artifact:
    """LDS of TRAK at each of `sizes` against the outputs of the reference (`table.size`), and against their own.

    An artefact of kind "lds-ladder"; facts: `sizes` -> `lds` to the reference and `own_lds` with 95 % intervals,
    `ceiling`s, `jaccard` and `rbo` of the top with the reference-size scores (mean over targets), `flops`, and
    `relative` (to the reference's own scores); `lds.svg`. `output` is what retraining is measured by: margin, or loss
    (negated). Every training is resumed or found again.
    """
    everything = list(dict.fromkeys([*sizes, table.size]))
    if len(everything) < 2:
        raise InputError("a ladder needs a size other than the reference's; pass more of --ladder")
    check_distinct(pool, [replace(table, size=size) for size in everything])
    for size in everything:
        check_trainable(pool, replace(table, size=size), {"target": target})
    common = {"seed": seed, "workers": workers}
    drawn = {"num_subsets": plan.num_subsets, "fraction": plan.fraction, "repeats": plan.repeats}
    made, bases, truths = {}, {}, {}
    for size in everything:
        own_table, own = replace(table, size=size), _folder(workspace, size)
        models = train_checkpoints(pool, own_table, count=plan.checkpoints, workspace=own, **common)
        made[size] = [open_artifact(path, "model") for path in models]
        bases[size] = Basis(models, pool, attribution, own)
        if plan.own or size == table.size:
            truths[size] = retrain(pool, target, own_table, workspace=own, **drawn, **common)
    inputs = {f"truth {size}": truth.artifact.content_hash for size, truth in truths.items()}
    inputs |= {
        f"model {size} {m}": model.content_hash for size, models in made.items() for m, model in enumerate(models)
    }
    config = {"reference": table.size, "sizes": everything, **asdict(attribution), **asdict(plan)}
    config |= {} if output == "margin" else {"measured": output}  # came later

    def write(draft: Draft) -> dict[str, Any]:
        truth = truths[table.size]
        outputs, subsets = truth.to_predict(output), truth.subsets
        scores = {size: _matrix(basis, target) for size, basis in bases.items()}
        predicted = {size: predict_outputs([(0, values)], subsets) for size, values in scores.items()}
        judged = lds_table(predicted, outputs, seed=seed)
        best = top_k(scores[table.size], min(plan.top, len(pool)))
        rows = {}
        for size in everything:
            own_best = top_k(scores[size], min(plan.top, len(pool)))
            rows[size] = {
                "lds": asdict(judged[size]["lds"]),
                "jaccard": float(jaccard(own_best, best).mean()),
                "rbo": float(rank_biased_overlap(own_best, best).mean()),
                "flops": _cost(made[size], pool, target, attribution),
                "num_parameters": made[size][0].facts["num_parameters"]["total"],
            }
            if size in truths:
                own = truths[size].to_predict(output)
                rows[size]["own_lds"] = asdict(lds_table({size: predicted[size]}, own, seed=seed)[size]["lds"])
                if plan.repeats > 1:
                    rows[size]["ceiling"] = asdict(noise_ceiling(own, seed=seed)["ceiling"])
        for row in rows.values():
            row["relative"] = row["flops"] / rows[table.size]["flops"]
        with draft.file("lds.svg") as file:
            file.write_text(standalone(against_cost(rows, "LDS to the reference")), encoding="utf-8")
        counts = {"num_pool": len(pool), "num_targets": len(target), **drawn, "checkpoints": plan.checkpoints}
        return {"reference": table.size, "sizes": rows, **counts}

    out = workspace.place("lds-ladder", config, inputs, seed)
    return build(out, kind="lds-ladder", config=config, seed=seed, inputs=inputs, write=write)


def show(result: Mapping[str, Any]) -> list[str]:
    """A line a size, by cost."""
    lines = [
        f"TRAK from {result['checkpoints']} checkpoints a size, {result['num_targets']} targets; ground truth: "
        f"{result['num_subsets']} subsets x {result['repeats']} retrainings of {result['reference']} (95 % intervals)",
        "size            cost    LDS to the reference     LDS to itself            ceiling  Jaccard  RBO",
    ]
    for size, row in sorted(result["sizes"].items(), key=lambda item: item[1]["flops"]):
        own = _interval(row.get("own_lds"))
        ceiling = f"{row['ceiling']['mean']:.3f}" if "ceiling" in row else "-"
        lines.append(
            f"{size:<15} {row['relative']:<7.3g} {_interval(row['lds']):<24} {own:<24} {ceiling:<8} "
            f"{row['jaccard']:<8.3f} {row['rbo']:.3f}"
        )
    return lines


def _interval(estimate: Mapping[str, float] | None) -> str:
    return "-" if estimate is None else with_interval(estimate["mean"], estimate["low"], estimate["high"])


def _folder(workspace: Workspace, size: str) -> Workspace:
    return replace(workspace, root=workspace.root / size.replace("/", "-").replace(":", "-"))


def _matrix(basis: Basis, target: Examples) -> Float[np.ndarray, "n t"]:
    scores = np.empty((len(basis.pool), len(target)), dtype=np.float32)
    for start, block in pairs_by("trak", basis, target):
        scores[start : start + len(block)] = block
    return scores


def _cost(models: Sequence[Artifact], pool: Examples, target: Examples, attribution: Attribution) -> float:
    """FLOPs of training all checkpoints and of attributing with them, every view a pass of its own."""
    k = usual(attribution.projection, attribution.k, is_classified=pool.is_classified)[1]
    flops = selection_flops(models, pool=pool, targets={"target": target}, k=k, num_solved=len(target))
    return flops["train"] + flops["score"] + flops["featurize"] * prod(len(VIEWS[name]) for name in attribution.views)
