"""The help pages: what a command does, examples, what it needs, then its other options in groups. No torch, no rich."""

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

from thresher.cli.arguments import Option, options_of
from thresher.cli.groups import SAID, SPOKEN, groups_of

WIDTH = 80
INDENT = 24
"""The column where what an option says begins."""
FEW = 10
"""Options that need no groups."""


def page_of(name: str, kind: type) -> str:
    """The page of a command; `name` is how a person calls it, such as `mix runs`."""
    options = list(options_of(kind))
    needed = [option for option in options if option.is_required]
    docs = said_of(kind)
    form = " ".join(["thresher", *name.split(), *(_usage(option) for option in needed), "[options]"])
    parts = [
        textwrap.fill(f"usage: {form}", WIDTH, subsequent_indent=" " * 9, break_on_hyphens=False),
        *_paragraphs(inspect.cleandoc(kind.__doc__ or "")),
    ]
    if lines := examples_of(kind):
        parts.append("\n".join(["example:" if len(lines) == 1 else "examples:", *map(_wrapped_command, lines)]))
    for title, members in _groups(name, kind, options):
        parts.append("\n".join([f"{title}:", *(_entry(option, docs, kind) for option in members)]))
    return "\n\n".join(parts)


def page_of_actions(name: str, module: ModuleType) -> str:
    """The page of a command that has actions."""
    wide = max(map(len, module.ACTIONS)) + 2
    lines = []
    for action, kind in module.ACTIONS.items():
        first = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        lines.append(_hanging(f"  {action:<{wide}}", first, wide + 2))
    examples = [line for kind in module.ACTIONS.values() for line in examples_of(kind)[:1]]
    return "\n\n".join(
        [
            f"usage: thresher {name} ACTION [options]     thresher {name} ACTION --help",
            *_paragraphs(module.DESCRIPTION),
            "\n".join(["actions:", *lines]),
            "\n".join(["examples:", *map(_wrapped_command, examples)]),
        ]
    )


def examples_of(kind: type) -> list[str]:
    """The lines that a person may type, of a command."""
    return inspect.cleandoc(getattr(kind, "usage", "")).splitlines()


@cache
def said_of(kind: type) -> dict[str, str]:
    """What every option of a command says: the text below its field, in the class or what it is made from."""
    said: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base is object:
            continue
        body = cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]).body
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                said[cast(ast.Name, field.target).id] = " ".join(str(cast(ast.Constant, text.value).value).split())
    return {field.name: said.get(field.name, SAID.get(field.name, "")) for field in fields(cast(Any, kind))}


def _groups(name: str, kind: type, options: Sequence[Option]) -> Iterator[tuple[str, list[Option]]]:
    needed = [option for option in options if option.is_required]
    if needed:
        yield "required", needed
    others = [option for option in options if not option.is_required]
    groups = groups_of(name, others)
    said = groups.pop(SPOKEN, [])
    if len(others) - len(said) > FEW:
        yield from groups.items()
    elif len(others) > len(said):
        yield "options", [option for option in others if option not in said]
    if said:
        yield SPOKEN, said


def _paragraphs(text: str) -> list[str]:
    """Filled paragraphs; lines that are indented or that are commands stay as they are."""
    parts = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.splitlines()
        pieces: list[str] = []
        for line in lines:
            if pieces and not re.match(r"\s|torchrun |\w+: ", line) and not pieces[-1].startswith(" "):
                pieces[-1] += f" {line}"
            else:
                pieces.append(line)
        parts.append("\n".join(textwrap.fill(piece, WIDTH, break_on_hyphens=False) for piece in pieces))
    return parts


def _wrapped_command(line: str) -> str:
    """A command that can be copied; where it is long, over several lines that begin with options."""
    lines = [""]
    for piece in re.split(r"\s+(?=--)", " ".join(line.split())):
        if lines[-1] and len(lines[-1]) + len(piece) + 8 > WIDTH:
            lines.append(piece)
        else:
            lines[-1] = f"{lines[-1]} {piece}".strip()
    return " \\\n      ".join([f"  {lines[0]}", *lines[1:]])


def _entry(option: Option, docs: dict[str, str], kind: type) -> str:
    flag = f"  {_usage(option)}"
    text = docs[option.name]
    words = _words(option.kind)
    if (
        words
        and not _takes_numbers(option.kind)
        and not all(re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) for word in words)
    ):
        text = f"{_ended(text)} One of {', '.join(words)}.".strip()
    default = next(field.default for field in fields(cast(Any, kind)) if field.name == option.name)
    if (
        not option.is_required
        and default not in (None, (), False, "")
        and isinstance(default, str | int | float | tuple)
    ):
        if default is True:
            text = f"{_ended(text)} Off: {option.flags[1]}."
        else:
            values = " ".join(map(_plain, default)) if isinstance(default, tuple) else _plain(default)
            text = f"{_ended(text)} [{values}]"
    return _hanging(flag, text.strip(), INDENT)


def _ended(text: str) -> str:
    return f"{text}." if text and text[-1] not in ".:)" else text


def _plain(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else repr(value) if value != str(value).strip() else str(value)


def _hanging(head: str, text: str, indent: int) -> str:
    """`head`, and `text` beside it from the column `indent` on, or below where the head is too long."""
    body = textwrap.wrap(text, WIDTH - indent, break_on_hyphens=False) or [""]
    head = head.rstrip()
    if len(head) <= indent - 2:
        head, body = f"{head:<{indent}}{body[0]}".rstrip(), body[1:]
    return "\n".join([head, *(" " * indent + line for line in body if line)])


def _usage(option: Option) -> str:
    value = _value(option)
    if option.is_positional:
        return f"{option.label} ..." if Ellipsis in option.parts else option.label
    return f"{option.flags[0]} {value}".strip()


def _value(option: Option) -> str:
    if option.is_switch:
        return ""
    parts = option.parts
    word = _noun(parts[0] if parts else option.kind)
    if not parts:
        return word
    return f"{word} ..." if Ellipsis in parts else " ".join([word] * len(parts))


def _noun(kind: Any) -> str:
    choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if Path in choices:
        return "PATH"
    if _words(kind) and not _takes_numbers(kind):
        return "WORD"
    if str in choices:
        return "TEXT"
    return "N"


def _takes_numbers(kind: Any) -> bool:
    choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return float in choices or int in choices


def _words(kind: Any) -> list[str]:
    choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if get_origin(kind) is tuple:
        choices = get_args(kind)[:1]
    return [word for choice in choices if get_origin(choice) is Literal for word in get_args(choice)]
