"""What makes a study impossible, said before anything is trained."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from thresher.choices import TRAKER_PROJECTIONS, check_words
from thresher.data.sources.lm_eval_tasks import PREFIX, is_task
from thresher.data.text.text_examples import check_shape
from thresher.data.text.tokenizer import check_vocab_size, open_tokenizer
from thresher.errors import InputError, unknown
from thresher.idle import PREPARING, Idle, check_task, given_in
from thresher.places import check_name
from thresher.proxies.models.names import parse as parse_model
from thresher.rules import check_numbers
from thresher.scorers import CURVATURE, HOW, KERNEL, LOO, SCORERS, TRAKER
from thresher.selection.methods import METHODS, check_embeddings_for, needs_of_stage, stages_of
from thresher.selection.statistics.comparison import POOLED
from thresher.studies.study import BASELINE, OFF_TARGET, AttributionTable, Study, TargetTable, asks_for_trust

FROM_FEATURES = {"features", "gradient_cosines", "gradient_norms"}
"""Evidence that methods take from features, which are made where the scorer makes none."""
TARGETS = replace(PREPARING, needs={"question": ("classify",), "classes": ("classify",)})
SELECTING = Idle(replaced={"fraction": ("tokens",)})
RESERVED = ("id", "domain", POOLED, OFF_TARGET)


def check_study(study: Study, where: str = "study") -> Study:
    """`study` as it is, or an InputError that names the first setting that cannot be used; `where` it was written."""
    table = study.attribution
    check_name(study.name, f"{where}: name")
    _check_idle(where, study)
    if study.task == "language":
        _check_text(where, study)
    if study.select.method == BASELINE:
        raise InputError(f"{where}: select.method = {BASELINE!r} is what selections are compared with; name another")
    _spec(f"{where}: select.method", study.select.method)
    for control in study.validate.controls:
        _spec(f"{where}: validate.controls", control)
    if study.select.tokens is not None and study.select.tokens < 1:
        raise InputError(f"{where}: select.tokens = {study.select.tokens} keeps nothing; give 1 or more")
    if study.select.tokens is not None and study.task == "vision":
        raise InputError(f"{where}: select.tokens = {study.select.tokens} is for text; give select.fraction")
    budgets = study.validate.random_budgets
    if any(times <= 0 or times == float("inf") for times in budgets) or (budgets and len({1.0, *budgets}) < 3):
        raise InputError(
            f"{where}: validate.random_budgets = {budgets}; give at least two above 0 beside 1, such as [0.5, 2, 4]"
        )
    _check_embeddings(where, study)
    _check_scorer(where, study)
    if table.views and study.task != "vision":
        raise InputError(f"{where}: attribution.views = {table.views} are of images; leave them out for text")
    for name, size in (("proxy", study.proxy.size), ("reference", study.reference.size)):
        try:
            parse_model(size)
        except InputError as error:
            raise InputError(f"{where}: {name}.size: {error}") from None
    _share(f"{where}: select.fraction", study.select.fraction)
    _share(f"{where}: proxy.fraction", study.proxy.fraction)
    _share(f"{where}: pool.share", study.pool.share)
    if not 0 <= study.pool.holdout < 1:
        raise InputError(f"{where}: pool.holdout = {study.pool.holdout} is outside [0, 1); give a share of the whole")
    if study.pool.ngram < 1:
        raise InputError(f"{where}: pool.ngram = {study.pool.ngram}; give 1 word or more")
    if not study.target:
        raise InputError(f"{where}: no target; add a [target.NAME] table")
    for name, target in study.target.items():
        _check_target(f"{where}: target", name, target)
    if study.proxy.count < 1:
        raise InputError(f"{where}: proxy.count = {study.proxy.count}; at least 1 proxy is needed")
    if study.reference.seeds < 2:
        raise InputError(f"{where}: reference.seeds = {study.reference.seeds}; an interval needs at least 2")
    _check_values(where, study)
    return study


def _check_values(where: str, study: Study) -> None:
    """Every number of every table keeps the rule of its name, every word is one of its kind."""
    names = ("pool", "proxy", "reference", "attribution", "select", "validate")
    tables = {"": study} | {f"{name}.": getattr(study, name) for name in names}
    tables |= {f"target.{name}.": target for name, target in study.target.items()}
    for prefix, table in tables.items():
        check_words(table, f"{where}: {prefix}{{}} =")
        check_numbers(vars(table), f"{where}: {prefix}{{}} =")


def _check_idle(where: str, study: Study) -> None:
    """Settings of data that the study's task, or what stands beside them, leaves without effect."""
    tables = [("", study, PREPARING), ("pool.", study.pool, Idle()), ("select.", study.select, SELECTING)]
    tables += [(f"target.{name}.", target, TARGETS) for name, target in study.target.items()]
    try:
        for prefix, table, idle in tables:
            given = [name for name in given_in(table) if name != "task"]
            check_task(given, study.task, f"{prefix}{{}}".format)
            idle.check(given, f"{prefix}{{}}".format)
        if study.validate.average > 1 and not asks_for_trust(study):
            raise InputError(
                "validate.average is of the verdict on the proxy, which takes validate.verdict, three ways to choose "
                "and two sizes; leave it out"
            )
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_text(where: str, study: Study) -> None:
    try:
        check_shape(study.sequence_length, None)
        if study.tokenizer is None:
            check_vocab_size(study.vocab_size)
        else:
            open_tokenizer(study.tokenizer)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_embeddings(where: str, study: Study) -> None:
    if study.select.embeddings is None:
        return
    try:
        check_embeddings_for([study.select.method, *study.validate.controls], study.select.embeddings)
    except InputError as error:
        raise InputError(f"{where}: select.{error}") from None
    if study.task == "vision":
        raise InputError(f"{where}: select.embeddings = {study.select.embeddings!r} are of texts; leave them out")


def _check_scorer(where: str, study: Study) -> None:
    table = study.attribution
    _known(f"{where}: attribution.scorer", table.scorer, SCORERS)
    if table.scorer != "trak" and table.backend != "thresher":
        raise InputError(f"{where}: attribution.scorer = {table.scorer!r} is not of {table.backend}; leave out backend")
    if table.backend == "traker" and table.projection not in ("auto", *TRAKER_PROJECTIONS):
        raise InputError(
            f"{where}: attribution.projection = {table.projection!r} is none of traker's; give one of: "
            f"{', '.join(TRAKER_PROJECTIONS)}"
        )
    for name, value in idle_settings(study).items():
        if name not in HOW | {KERNEL, CURVATURE} or value == LOO:
            asked = table.scorer if table.backend == "thresher" else table.backend
            raise InputError(f"{where}: attribution.{name} = {value!r} does not go with {asked}; leave one of them out")
    if "texts" in SCORERS[table.scorer].needs and study.task == "vision":
        raise InputError(f"{where}: attribution.scorer = {table.scorer!r} compares texts; name another for images")
    if "training" in SCORERS[table.scorer].needs and study.proxy.precision != "float32":
        raise InputError(
            f"{where}: attribution.scorer = {table.scorer!r} goes back through training, which bf16 rounds away; set "
            'proxy.precision = "float32"'
        )


def idle_settings(study: Study) -> dict[str, Any]:
    """What `[attribution]` sets and has no effect on the study's scorer, on those of its methods, or on features."""
    table, specs = study.attribution, [study.select.method, *study.validate.controls]
    stages = [stage for spec in specs for stage in stages_of(spec)]
    named = {stage.values.get("scorer") for stage in stages}
    takes = TRAKER if table.backend == "traker" else SCORERS[table.scorer].takes
    takes = takes.union(*(scorer.takes for name, scorer in SCORERS.items() if name in named))
    if FROM_FEATURES & {need for stage in stages for need in needs_of_stage(stage)}:
        takes |= {"k", "projection", "output"}
    usual, given = vars(AttributionTable()), vars(table) | ({LOO: LOO} if table.damping == LOO else {})
    idle = {name: value for name, value in given.items() if name not in takes and value != usual.get(name)}
    return {KERNEL if name == LOO else name: value for name, value in idle.items() if name not in ("scorer", "backend")}


def _check_target(where: str, name: str, target: TargetTable) -> None:
    if name in RESERVED:
        raise InputError(f"{where} cannot be named {name!r}, which stands for something else; give it another name")
    check_name(name, where)
    if not target.data and not target.task:
        raise InputError(f"{where}.{name}: 'data' is missing; add it, or a task of lm-evaluation-harness as 'task'")
    if target.task is not None and (target.data or not is_task([target.task])):
        raise InputError(f"{where}.{name}.task = {target.task!r}; write it in place of data, as {PREFIX}NAME")
    if not 0 < target.holdout < 1:
        raise InputError(f"{where}.{name}.holdout = {target.holdout}; give a share above 0 and below 1")
    if target.limit is not None and target.limit < 1:
        raise InputError(f"{where}.{name}.limit = {target.limit} keeps nothing; give 1 or more, or leave it out")
    if target.weight < 0:
        raise InputError(f"{where}.{name}.weight = {target.weight}; pass 0 or more")
    if target.choices is not None and target.continuation is not None:
        raise InputError(f"{where}.{name}: the continuation is the right one of the choices; leave out continuation")
    if "=" in name:
        raise InputError(f"{where} cannot be named {name!r}: commands write NAME=PATH; give it a name without =")
    if (target.prompt is None) != (target.continuation is None and target.choices is None):
        raise InputError(f"{where}.{name} needs both prompt and continuation, or neither; add the other")


def _spec(setting: str, spec: str) -> None:
    """A line of methods that ends in a ranking and leaves the budget to the study, so that all arms have the same."""
    try:
        last = stages_of(spec)[-1]
    except InputError as error:
        raise InputError(f"{setting}: {error}") from None
    if METHODS[last.name].kind == "filter":
        raise InputError(f"{setting} = {spec!r} ends in {last.name}, which does not rank; add one: {spec} | dsdm")
    own = [name for name in ("fraction", "count", "tokens") if name in last.values]
    if own:
        raise InputError(f"{setting} = {spec!r} has a {own[0]} of its own; write it as select.{own[0]}, for every arm")


def _known(setting: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise unknown(f"{setting} =", value, choices)


def _share(setting: str, value: float) -> None:
    if not 0 < value <= 1:
        raise InputError(f"{setting} = {value} is outside (0, 1]; give a share of the whole")
