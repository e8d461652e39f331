"""All ways to select, by name: each ranks the pool or filters it, and a line of them is a spec."""

import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from thresher.errors import InputError
from thresher.selection.evidence import FROM_MODELS, check_embedder, check_embeddings
from thresher.selection.selectors import bm25, classifier, controls, diverse, dsir, duplicates, embedding, semdedup
from thresher.selection.spec import Parameter, Stage, parse

BUDGET = {
    "fraction": Parameter(float, None),
    "count": Parameter(int, None),
    "tokens": Parameter(int, None),
    "per_domain": Parameter(float, None),
}
SAMPLING = {
    "temperature": Parameter(float, 0.0),
    "repeats": Parameter(int, 1),
    "repeat_cost": Parameter(float, 1.0),
}


@dataclass(frozen=True)
class Method:
    """One way to select."""

    kind: Literal["score", "order", "filter"]
    """"score" judges each example of the pool by itself, "order" orders those still there, "filter" leaves some out."""
    needs: tuple[str, ...]
    """The evidence it looks at."""
    run: Callable[..., Any]
    """The function that does it, whose keyword-only parameters a spec may set."""
    main: str = "fraction"
    """The parameter that is written without its name."""
    samples: bool = True
    """Whether it takes SAMPLING; not where the order is no score."""
    is_greedy: bool = False
    """Whether it chooses one by one, and is told when that is enough."""

    @property
    def own(self) -> dict[str, Parameter]:
        """The parameters of `run` itself."""
        hints = typing.get_type_hints(self.run)
        return {
            name: _parameter(hints[name], item.default)
            for name, item in inspect.signature(self.run).parameters.items()
            if item.kind is inspect.Parameter.KEYWORD_ONLY
        }

    @property
    def parameters(self) -> dict[str, Parameter]:
        """All parameters that a spec may set."""
        if self.kind == "filter":
            return self.own
        return BUDGET | (SAMPLING if self.samples else {}) | self.own


def _parameter(hint: Any, default: Any) -> Parameter:
    choices = typing.get_args(hint)
    return Parameter(str, default, choices) if choices else Parameter(hint, default)


METHODS: dict[str, Method] = {
    "dsdm": Method("score", ("scores",), controls.dsdm),
    "dsdm_diverse": Method("order", ("scores", "features"), diverse.dsdm_diverse, samples=False, is_greedy=True),
    "random": Method("score", (), controls.random, samples=False),
    "bottom": Method("score", ("scores",), controls.bottom),
    "gradient_norm": Method("score", ("gradient_norms",), controls.gradient_norm),
    "gradient_cosine": Method("score", ("gradient_cosines",), controls.gradient_cosine),
    "loss": Method("score", ("loss",), controls.loss, samples=False),
    "dsir": Method("score", ("texts", "target_texts"), dsir.dsir, samples=False),
    "bm25": Method("score", ("texts", "target_texts"), bm25.bm25),
    "classifier": Method("score", ("texts", "target_texts"), classifier.classifier),
    "embedding": Method("score", ("embeddings", "target_embeddings"), embedding.embedding),
    "d4": Method("order", ("embeddings",), semdedup.d4, samples=False),
    "exact": Method("filter", ("texts",), duplicates.exact, main=""),
    "minhash": Method("filter", ("texts",), duplicates.minhash, main="threshold"),
    "semdedup": Method("filter", ("embeddings",), semdedup.semdedup, main="eps"),
}


def stages_of(spec: str) -> list[Stage]:
    """The stages of a spec. Raises InputError that names the column of a mistake and what could stand there."""
    parameters = {name: method.parameters for name, method in METHODS.items()}
    return parse(spec, parameters, {name: method.main for name, method in METHODS.items() if method.main})


def needs_of_stage(stage: Stage) -> tuple[str, ...]:
    """The evidence that a stage looks at; a scorer of its own stands in the place of the given scores."""
    needs = METHODS[stage.name].needs
    if stage.values.get("scorer", "given") == "given":
        return needs
    return tuple("scored_by" if need == "scores" else need for need in needs)


def needs_of(spec: str) -> list[str]:
    """The evidence that a spec looks at, by the names of `selection.evidence`."""
    return list(dict.fromkeys(need for stage in stages_of(spec) for need in needs_of_stage(stage)))


def check_embeddings_for(specs: Sequence[str], name: str) -> None:
    """Raise InputError for a name of embeddings that is none, that is not on this machine, or that no spec looks at."""
    check_embeddings(name)
    if not any("embeddings" in need for spec in specs for need in needs_of(spec)):
        raise InputError(f"embeddings {name!r} change nothing with {', '.join(specs)}; leave them out")
    check_embedder(name)


def needs_no_model(stages: Sequence[Stage]) -> bool:
    """Whether a selection by `stages` can be made before any proxy is trained."""
    return not any(need in FROM_MODELS for stage in stages for need in needs_of_stage(stage))
