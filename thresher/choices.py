"""The words that a person chooses among, by what they are for, the same for options, keys of a study and arguments."""

from dataclasses import fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from thresher.errors import unknown

BadRows = Literal["refuse", "skip", "replace"]
POLICIES: tuple[str, ...] = get_args(BadRows)

Task = Literal["language", "text-classification", "vision"]
TASKS: tuple[str, ...] = get_args(Task)
StudyTask = Literal["language", "vision"]

Executor = Literal["processes", "ray"]
EXECUTORS: tuple[str, ...] = get_args(Executor)
Optimizer = Literal["adamw", "sgd"]
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)
Schedule = Literal["cosine", "linear", "onecycle", "constant"]
SCHEDULES: tuple[str, ...] = get_args(Schedule)
Tracker = Literal["tensorboard", "wandb", "trackio"]
TRACKERS: tuple[str, ...] = get_args(Tracker)
Precision = Literal["auto", "float32", "bf16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
Parametrization = Literal["completep", "standard"]
PARAMETRIZATIONS: tuple[str, ...] = get_args(Parametrization)

Projection = Literal[
    "two-sided", "two-sided-layers", "factor-mask", "normal", "rademacher", "sjlt", "mask+sjlt", "identity"
]
PROJECTIONS: tuple[str, ...] = get_args(Projection)
TRAKER_PROJECTIONS = ("normal", "rademacher", "identity")
"""Those that the traker package has too."""
View = Literal["flip", "shift"]
VIEWS: tuple[str, ...] = get_args(View)
"""Of images."""
Output = Literal["margin", "loss"]
Q = Literal["sqrt", "mean", "none", "square"]
Q_CHOICES: tuple[str, ...] = get_args(Q)
Convention = Literal["thresher", "traker", "dattri"]
CONVENTIONS: tuple[str, ...] = get_args(Convention)
Goal = Literal["auto", "selection", "labels"]
GOALS: tuple[str, ...] = get_args(Goal)
Backend = Literal["thresher", "traker"]

Format = Literal["parquet", "jsonl", "jsonl.zst", "mds", "megatron", "ids"]
FORMATS: tuple[str, ...] = get_args(Format)
Design = Literal["dirichlet", "space-filling", "ddo"]
DESIGNS: tuple[str, ...] = get_args(Design)
Measure = Literal["decision_accuracy", "weighted_accuracy", "clear_accuracy", "spearman", "r2"]
MEASURES: tuple[str, ...] = get_args(Measure)
DecidingSets = Literal["all", "able", "weighted"]
ComparedLoss = Literal["loss", "bits_per_byte"]
NUMBER = "a number"


def words_of(hint: Any) -> tuple[str, ...]:
    """The words that an annotation allows; none where any text may stand."""
    return tuple(word for kind in _kinds(hint) if get_origin(kind) is Literal for word in get_args(kind))


def check_word(value: Any, hint: Any, label: str) -> None:
    """Raise InputError for a text that is none of the words of an annotation; what is no text is others' to check."""
    words = words_of(hint)
    if words and isinstance(value, str) and value not in words:
        raise unknown(label, value, (*words, NUMBER) if {int, float} & set(_kinds(hint)) else words)


def check_words(table: Any, label: str = "{}") -> None:
    """Raise InputError for the first text in the fields of a dataclass that is none of the words of its annotation.

    `label` is how messages call a field: "select.{} =".
    """
    hints = get_type_hints(type(table))
    for field in fields(table):
        value = getattr(table, field.name)
        for word in value if isinstance(value, list) else (value,):
            check_word(word, hints[field.name], label.format(field.name))


def _kinds(hint: Any) -> list[Any]:
    """What an annotation allows, one by one; of a list what it holds."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [get_args(kind)[0] if get_origin(kind) is list else kind for kind in kinds]
