"""A way to select as one line: `minhash | dsdm:0.2,per_domain=0.3`.

    spec  = stage { "|" stage }
    stage = name [ ":" value { "," value } ]
    value = plain | parameter "=" plain

The first value of a stage may be plain: it is that of the stage's main parameter, which is the fraction to keep for a
method that ranks. In names, - and _ are the same. Spaces do not matter.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from thresher.errors import InputError, near


@dataclass(frozen=True)
class Parameter:
    """A parameter that a spec may set."""

    kind: type
    """float, int or str."""
    default: Any
    choices: tuple[str, ...] = ()
    """The words that may be written; empty: any number."""


@dataclass(frozen=True)
class Stage:
    """One method with the parameters that were written for it."""

    name: str
    values: Mapping[str, Any]

    def __str__(self) -> str:
        written = ",".join(f"{name}={value}" for name, value in self.values.items())
        return f"{self.name}:{written}" if written else self.name


def parse(spec: str, methods: Mapping[str, Mapping[str, Parameter]], main: Mapping[str, str]) -> list[Stage]:
    """The stages of `spec`.

    `methods` gives the parameters of each method, `main` the parameter that is written without its name. Raises
    InputError that names the column (from 1) of a mistake and what could stand there.
    """
    stages, start = [], 0
    for part in spec.split("|"):
        stages.append(_stage(_At(spec, part, start), methods, main))
        start += len(part) + 1
    return stages


@dataclass(frozen=True)
class _At:
    """A piece of a spec and where it starts."""

    spec: str
    text: str
    start: int

    def split(self, separator: str) -> list["_At"]:
        pieces, start = [], self.start
        for part in self.text.split(separator):
            pieces.append(_At(self.spec, part, start))
            start += len(part) + len(separator)
        return pieces

    @property
    def word(self) -> str:
        return self.text.strip()

    def refuse(self, what: str) -> NoReturn:
        blank = len(self.text) - len(self.text.lstrip()) if self.word else 0
        column = self.start + blank + 1
        raise InputError(f"method {self.spec!r}, column {column}: {what}")


def _stage(at: _At, methods: Mapping[str, Mapping[str, Parameter]], main: Mapping[str, str]) -> Stage:
    named, *rest = at.split(":")
    name = named.word.replace("-", "_")
    known = ", ".join(methods)
    if not name:
        named.refuse(f"a method is missing; write one of: {known}")
    if name not in methods:
        named.refuse(f"{named.word!r} is unknown{near(name, methods)}; write one of: {known}")
    if len(rest) > 1:
        rest[1].refuse("a second ':'; separate parameters by ','")
    values: dict[str, Any] = {}
    for number, piece in enumerate(rest[0].split(",") if rest else []):
        key, *value = piece.split("=")
        if len(value) > 1:
            value[1].refuse("a second '='; write parameter=value")
        if not value and number == 0 and name in main:
            parameter, written = main[name], key
        elif not value:
            key.refuse(f"{key.word!r} is no parameter=value; {_takes(name, methods[name])}")
        else:
            parameter, written = key.word.replace("-", "_"), value[0]
        if parameter not in methods[name]:
            hint = near(parameter, methods[name])
            key.refuse(f"{name} has no parameter {key.word!r}{hint}; {_takes(name, methods[name])}")
        if parameter in values:
            key.refuse(f"{parameter} is given twice; give it once")
        values[parameter] = _value(written, parameter, methods[name][parameter])
    return Stage(name, values)


def _takes(name: str, parameters: Mapping[str, Parameter]) -> str:
    return f"{name} takes {', '.join(parameters)}" if parameters else f"{name} takes none"


def _value(at: _At, name: str, parameter: Parameter) -> Any:
    if parameter.choices:
        if at.word not in parameter.choices:
            at.refuse(f"{name}={at.word} is unknown; write one of: {', '.join(parameter.choices)}")
        return at.word
    try:
        value = float(at.word)
    except ValueError:
        at.refuse(f"{name}={at.word!r} is no number; write one")
    if parameter.kind is int:
        if not value.is_integer():
            at.refuse(f"{name}={at.word} is no whole number; write one")
        return int(value)
    if not math.isfinite(value):
        at.refuse(f"{name}={at.word} is no finite number; write one")
    return value
