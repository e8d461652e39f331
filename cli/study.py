"""A study: one TOML file that says everything, every key with a default that works."""

import glob
import json
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from thresher.attribution.projection import PROJECTIONS
from thresher.attribution.scores import Q_CHOICES
from thresher.errors import InputError
from thresher.selection.comparison import POOLED
from thresher.selection.methods import METHODS

BACKENDS = ("thresher", "traker")
BASELINE = "random"
"""The arm that every other one is compared with."""
OFF_TARGET = "off-target"
RESERVED = ("id", "domain", POOLED, OFF_TARGET)


@dataclass(frozen=True, kw_only=True)
class PoolTable:
    """`[pool]`: the training candidates."""

    data: str | list[str]
    """Files, globs, a folder, or the name of a data set on the hub."""
    split: str = "train"
    subset: str | None = None
    text: str = "text"
    domain: str | None = None
    id: str | None = None
    image: str = "image"
    label: str = "label"
    size: int | None = None
    """Images are resized to size x size."""
    share: float = 1.0
    """The share of the source that is used, drawn at random by document."""
    holdout: float = 0.02
    """The share of that kept out of the pool, to measure losses off the target."""


@dataclass(frozen=True, kw_only=True)
class TargetTable:
    """`[target.NAME]`: examples of a task one cares about."""

    data: str | list[str]
    split: str = "train"
    subset: str | None = None
    text: str = "text"
    prompt: str | None = None
    """A column that is given and not predicted; then `continuation` is predicted."""
    continuation: str | None = None
    id: str | None = None
    image: str = "image"
    label: str = "label"
    weight: float = 1.0
    limit: int | None = None
    holdout: float = 0.5
    """The share of the target's examples that selection never sees and validation uses."""


@dataclass(frozen=True, kw_only=True)
class ModelTable:
    """`[proxy]` and `[reference]`: a model and how it is trained; what is None follows from the size."""

    size: str
    """The one dial: parameters ("0.4M"), or a model's name ("rn-1/16", "mlp-64x2", "hf:PATH", "module:function")."""
    epochs: float | None = None
    """Passes over its data; None: 1 for language, 30 for vision."""
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: str | None = None


@dataclass(frozen=True, kw_only=True)
class ProxyTable(ModelTable):
    size: str = "0.4M"
    count: int = 2
    """How many proxies, each on its own random part of the pool."""
    fraction: float = 0.5
    """How large that part is."""


@dataclass(frozen=True, kw_only=True)
class ReferenceTable(ModelTable):
    size: str = "1.6M"
    seeds: int = 3
    """Paired: each arm is trained from the same so many initialisations."""


@dataclass(frozen=True, kw_only=True)
class AttributionTable:
    """`[attribution]`: how proxies are turned into scores."""

    k: int = 512
    projection: str = "two-sided"
    output: str = "margin"
    damping: float | str = 1.0
    """A multiple of the kernel's mean diagonal, or "loo": chosen on the pool by leave-one-out prediction."""
    q: str = "mean"
    backend: str = "thresher"


@dataclass(frozen=True, kw_only=True)
class SelectTable:
    """`[select]`: what is kept."""

    method: str = "dsdm"
    fraction: float = 0.2


@dataclass(frozen=True, kw_only=True)
class ValidateTable:
    """`[validate]`: what the selection is compared with. Random data of the same size is always there."""

    controls: list[str] = field(default_factory=lambda: ["random", "bottom"])


@dataclass(frozen=True, kw_only=True)
class Study:
    """A whole study, as `study.toml` holds it."""

    name: str = "study"
    task: str = "language"
    """`language` or `vision`."""
    seed: int = 0
    sequence_length: int = 128
    vocab_size: int = 4096
    tokenizer: str | None = None
    """A tokenizer.json or a checkpoint that has one; None: trained on the pool with `vocab_size` entries."""
    pool: PoolTable
    target: dict[str, TargetTable]
    proxy: ProxyTable = field(default_factory=ProxyTable)
    reference: ReferenceTable = field(default_factory=ReferenceTable)
    attribution: AttributionTable = field(default_factory=AttributionTable)
    select: SelectTable = field(default_factory=SelectTable)
    validate: ValidateTable = field(default_factory=ValidateTable)


def read_study(path: Path) -> Study:
    """Read `study.toml`; paths in it are relative to the file. Raises InputError for unknown keys and wrong values."""
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path, or start from the example in the README") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give the study's TOML file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not TOML: {error}; repair it") from None
    return _check(_from_table(Study, table, str(path), base=path.parent), path)


def study_text(study: Study) -> str:
    """The TOML that replays `study`."""
    lines: list[str] = []
    _write_table(asdict(study), [], lines)
    return "\n".join(lines).strip() + "\n"


def _from_table(kind: type, table: Mapping[str, Any], where: str, base: Path) -> Any:
    if not isinstance(table, Mapping):
        raise InputError(f"{where} must be a table, not {table!r}")
    hints, known = get_type_hints(kind), {item.name for item in fields(kind)}
    unknown = sorted(set(table) - known)
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; the keys here are {', '.join(sorted(known))}")
    values: dict[str, Any] = {}
    for name, value in table.items():
        hint = hints[name]
        if isinstance(hint, type) and is_dataclass(hint):
            values[name] = _from_table(hint, value, f"{where} [{name}]", base)
        elif name == "target" and isinstance(value, Mapping):
            values[name] = {
                key: _from_table(TargetTable, item, f"{where} [target.{key}]", base) for key, item in value.items()
            }
        else:
            values[name] = _value(name, value, hint, where, base)
    try:
        return kind(**values)
    except TypeError:
        missing = [
            item.name for item in fields(kind) if item.name not in values and item.name in ("pool", "target", "data")
        ]
        raise InputError(f"{where}: {missing[0]!r} is missing; add it") from None


def _value(name: str, value: Any, hint: Any, where: str, base: Path) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and hint in (float, float | None):
        value = float(value)
    allowed = tuple(typing.get_origin(part) or part for part in (typing.get_args(hint) or (hint,)))
    if hint == list[str]:
        allowed = (list,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        names = " or ".join("nothing" if part is type(None) else part.__name__ for part in allowed)
        raise InputError(f"{where}: {name} = {value!r} is {type(value).__name__}, but {names} is needed")
    if name in ("tokenizer", "data") or (name == "size" and isinstance(value, str) and value.startswith("hf:")):
        return _anchored(base, value)
    return value


def _anchored(base: Path, value: Any) -> Any:
    """Paths in a study are relative to its file."""
    if isinstance(value, list):
        return [_beside(base, str(entry)) for entry in value]
    return "hf:" + _beside(base, value[3:]) if value.startswith("hf:") else _beside(base, value)


def _beside(base: Path, entry: str) -> str:
    """A relative path is relative to the study's file, if something is there; else it stays (a hub name)."""
    path = Path(entry).expanduser()
    inside = base.resolve() / path
    there = not path.is_absolute() and (inside.exists() or bool(glob.glob(entry, root_dir=base, recursive=True)))
    return str(inside) if there else entry


def _check(study: Study, path: Path) -> Study:
    def between(name: str, value: float, *, zero: bool) -> None:
        if not (0 <= value <= 1) or (value == 0 and not zero):
            raise InputError(
                f"{path}: {name} = {value} is outside {'[' if zero else '('}0, 1]; give a share of the whole"
            )

    def known(name: str, value: str, choices: Iterable[str]) -> None:
        if value not in choices:
            raise InputError(f"{path}: {name} = {value!r} is unknown; write one of: {', '.join(choices)}")

    known("task", study.task, ("language", "vision"))
    if not study.target:
        raise InputError(f"{path}: no target; add a [target.NAME] table")
    known("select.method", study.select.method, [method for method in METHODS if method != BASELINE])
    for control in study.validate.controls:
        known("validate.controls", control, METHODS)
    known("attribution.projection", study.attribution.projection, PROJECTIONS)
    known("attribution.q", study.attribution.q, Q_CHOICES)
    known("attribution.output", study.attribution.output, ("margin", "loss"))
    known("attribution.backend", study.attribution.backend, BACKENDS)
    if study.attribution.damping != "loo" and not isinstance(study.attribution.damping, float):
        raise InputError(f'{path}: attribution.damping = {study.attribution.damping!r}; give a number, or "loo"')
    between("select.fraction", study.select.fraction, zero=False)
    between("proxy.fraction", study.proxy.fraction, zero=False)
    between("pool.share", study.pool.share, zero=False)
    between("pool.holdout", study.pool.holdout, zero=True)
    for name, target in study.target.items():
        if "/" in name or name.startswith("."):
            raise InputError(
                f"{path}: the target's name {name!r} cannot be part of a file name; leave out / and a leading ."
            )
        if not 0 < target.holdout < 1:
            raise InputError(f"{path}: target.{name}.holdout = {target.holdout}; give a share above 0 and below 1")
        if target.weight < 0:
            raise InputError(f"{path}: target.{name}.weight = {target.weight}; pass 0 or more")
        if name in RESERVED:
            raise InputError(f"{path}: a target cannot be named {name!r}; give it another name")
        if (target.prompt is None) != (target.continuation is None):
            raise InputError(f"{path}: target.{name} needs both prompt and continuation, or neither; add the other")
    if study.proxy.count < 1:
        raise InputError(f"{path}: proxy.count = {study.proxy.count}; at least 1 proxy is needed")
    if study.reference.seeds < 2:
        raise InputError(f"{path}: reference.seeds = {study.reference.seeds}; an interval needs at least 2")
    return study


def _write_table(table: Mapping[str, Any], name: list[str], lines: list[str]) -> None:
    if name:
        lines += ["", f"[{'.'.join(part if part.isalnum() else _toml(part) for part in name)}]"]
    for key, value in table.items():
        if not isinstance(value, Mapping) and value is not None:
            lines.append(f"{key} = {_toml(value)}")
    for key, value in table.items():
        if isinstance(value, Mapping):
            _write_table(value, [*name, key], lines)


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # TOML's strings, numbers, booleans and arrays of them are JSON's
