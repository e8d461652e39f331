"""A command's options, read into its dataclass: every fault is one line, with the name that is near."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import tyro

from thresher.choices import words_of
from thresher.errors import InputError, near, unknown

WHOLE = re.compile(r"[+-]?[0-9](_?[0-9])*")
NUMBER = re.compile(r"[+-]?([0-9](_?[0-9])*)?\.?([0-9](_?[0-9])*)?([eE][+-]?[0-9]+)?")
NEGATIVE = re.compile(r"-([0-9.]|inf|nan)")
MOST_DIGITS = 30
"""Of a whole number; the rules of single options are far below."""
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Option:
    """One option: how it is written and what its values are."""

    name: str
    flags: tuple[str, ...]
    kind: Any
    is_positional: bool
    is_required: bool

    @property
    def label(self) -> str:
        """How messages call it."""
        return self.name.upper() if self.is_positional else self.flags[0]

    @property
    def is_switch(self) -> bool:
        """Written without a value."""
        return self.kind is bool

    @property
    def parts(self) -> tuple[Any, ...]:
        """The kinds of its values, where it takes several."""
        return get_args(self.kind) if get_origin(self.kind) is tuple else ()

    @property
    def most(self) -> float:
        """How many values it takes at most."""
        return math.inf if Ellipsis in self.parts else len(self.parts) or 1

    def value(self, texts: Sequence[str]) -> Any:
        """What `texts` say. Raises InputError for too few, too many, and values of another kind."""
        parts = self.parts
        if not texts:
            raise InputError(f"{self.label} has no value; write {self.label} {self._form()}")
        if not parts:
            if len(texts) > 1:
                raise InputError(f"{texts[1]!r} after {self.label} {texts[0]} belongs to no option; leave it out")
            return self._one(texts[0], self.kind)
        if parts[-1] is not Ellipsis and len(texts) != len(parts):
            raise InputError(f"{self.label} takes {len(parts)} values, not {len(texts)}; write {self._form()}")
        kinds = [parts[0]] * len(texts) if parts[-1] is Ellipsis else parts
        return tuple(self._one(text, kind) for text, kind in zip(texts, kinds, strict=True))

    def _one(self, text: str, kind: Any) -> Any:
        choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        if not text.isprintable() and any("\ud800" <= char <= "\udfff" for char in text):
            raise InputError(f"{self.label} {text!r} is not UTF-8; write it in UTF-8")
        if text == "None" and type(None) in choices:
            return None
        words = words_of(kind)
        if text in words:
            return text
        if Path in choices:
            return self._path(text)
        if str in choices:
            return text
        if words and int not in choices and float not in choices:
            raise unknown(self.label, text, words)
        return self._number(text, whole=float not in choices, words=words)

    def _path(self, text: str) -> Path:
        if not text.strip() or "\0" in text:
            raise InputError(f"{self.label} {text!r} is no path; write one")
        return typed_path(text)

    def _number(self, text: str, *, whole: bool, words: Sequence[str]) -> int | float:
        pattern, noun = (WHOLE, "whole number") if whole else (NUMBER, "number")
        if not pattern.fullmatch(text) or not re.search("[0-9]", text):
            others = "".join(f" or {word}" for word in words)
            raise InputError(f"{self.label} {text!r} is no {noun}; write a {noun}{others}")
        if whole:
            if len(text) > MOST_DIGITS:
                raise InputError(f"{self.label} has {len(text)} digits; write a smaller number")
            return int(text)
        number = float(text)
        if not math.isfinite(number):
            raise InputError(f"{self.label} {text} is beyond all numbers; write a smaller one")
        return number

    def _form(self) -> str:
        shown = {int: "NUMBER", float: "NUMBER", Path: "PATH"}
        parts = self.parts
        if not parts:
            return shown.get(self.kind, "VALUE")
        word = shown.get(parts[0], "VALUE")
        return f"{word} {word} ..." if parts[-1] is Ellipsis else " ".join([word] * len(parts))


def read(kind: type[Kind], arguments: Sequence[str], name: str) -> Kind:
    """The command `kind` that `arguments` describe; `name` is how a person calls it, such as `mix runs`.

    Of an option that is given twice the last value counts. Raises InputError for one that is unknown, is missing or has
    no such value, for lists in two places, and for words too many.
    """
    options = list(options_of(kind))
    flags = {flag: option for option in options for flag in option.flags}
    values: dict[str, Any] = {}
    loose = [option for option in options if option.is_positional]
    for flag, texts in _grouped(arguments, flags, name, getattr(kind, "former", {})):
        if flag is None:
            if not loose:
                raise InputError(f"{texts[0]!r} belongs to no option; thresher {name} --help lists what {name} takes")
            option = loose.pop(0)
            if not option.parts and len(texts) > 1:
                raise InputError(f"{texts[1]!r} is a word too many; {name} takes one {option.label}")
        else:
            option = flags[flag]
        if option.name in values and option.parts:
            raise InputError(f"{option.label} is given twice; give all its values after one")
        if option.is_switch:
            values[option.name] = flag == option.flags[0]
        else:
            values[option.name] = option.value(texts)
    for option in options:
        if option.is_required and option.name not in values:
            raise InputError(f"{option.label} is missing; thresher {name} needs it: write {option.label} VALUE")
    return kind(**values)


def dashed(name: str) -> str:
    """How the option `name` is written, without the dashes before it."""
    return name.replace("_", "-")


def flag_of(name: str) -> str:
    """How the option `name` is written."""
    return f"--{dashed(name)}"


def typed_path(text: str) -> Path:
    """A path as a shell reads it: `~` at its start is a home, also behind `--out=`, where a shell leaves it."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~NAME, and nobody is called so
        return Path(text)


def options_of(kind: type) -> Iterator[Option]:
    """The options of a command, in the order of its fields."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(cast(Any, kind)):
        hint, marks = hints[field.name], ()
        if get_origin(hint) is Annotated:
            hint, *marks = get_args(hint)
        flag = flag_of(field.name)
        others = (
            [f"--no-{flag[2:]}"]
            if hint is bool
            else [flag for mark in marks for flag in getattr(mark, "aliases", None) or ()]
        )
        yield Option(
            name=field.name,
            flags=(flag, *others),
            kind=hint,
            is_positional=tyro.conf.Positional in marks,
            is_required=field.default is MISSING and field.default_factory is MISSING,
        )


def _grouped(
    arguments: Sequence[str], flags: dict[str, Option], name: str, former: Mapping[str, str]
) -> Iterator[tuple[str | None, list[str]]]:
    """Each option with the words behind it that are its own; words of no option with None."""
    words, place = list(arguments), 0
    while place < len(words):
        word = words[place]
        place += 1
        if not word.startswith("-") or word == "-" or NEGATIVE.match(word):
            texts = [word]
            while place < len(words) and not _is_flag(words[place]):
                texts.append(words[place])
                place += 1
            yield None, texts
            continue
        flag, has_value, value = word.partition("=")
        flag = flag if flag in flags else dashed(flag)
        if flag in former:
            raise InputError(f"{flag} is no option of thresher {name} any more; write {former[flag]}")
        if flag not in flags:
            raise InputError(
                f"{flag!r} is no option of thresher {name}{near(flag, flags)}; thresher {name} --help lists them"
            )
        option = flags[flag]
        if option.is_switch:
            if has_value:
                raise InputError(f"{flag} takes no value, not {value!r}; write {flag} alone")
            yield flag, []
            continue
        texts = [value] if has_value else []
        while place < len(words) and not _is_flag(words[place]) and len(texts) < option.most:
            texts.append(words[place])
            place += 1
        yield flag, texts


def _is_flag(word: str) -> bool:
    return word.startswith("-") and word != "-" and not NEGATIVE.match(word)
