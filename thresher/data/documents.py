"""Documents out of a source's rows: whole text, prompts with continuations, multiple choice, or labelled text."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from thresher.data.readers import Row
from thresher.data.skipped import BadRows, Skipped
from thresher.data.sources import IdCheck, Source
from thresher.errors import InputError


class Document(NamedTuple):
    id: str
    domain: str
    text: str
    prompt: str = ""
    """What is given; only `text` is predicted then."""
    choices: tuple[str, ...] = ()
    """What could follow the prompt; `text` is one of them, the right one."""
    answer: int = 0
    """Which of the choices `text` is."""
    group: str = ""
    """Documents of one group, if named, stay on one side of every split."""
    columns: Mapping[str, Any] | None = None
    """The source's row, to be handed on with the document; a column that is `text` or `prompt` itself holds None."""

    @property
    def content(self) -> bytes:
        """What makes two documents the same, for `part_of`: the group, the prompt, or the text, but for case and
        white space."""
        own = self.group or self.prompt or self.text
        return " ".join(own.casefold().split()).encode("utf-8", "surrogatepass")


@dataclass(frozen=True, kw_only=True)
class TextColumns:
    """Which columns of the source are what. Without an id column, files go by their path, other rows are numbered.

    Whole text: `text`. A prompt and its continuation: `prompt`, and `text` is the continuation. Multiple choice:
    `prompt`, `choices` (a list of texts, or {"text", "label"} as in ARC) and `gold` (the number of the right one from
    0, or its label). A classification set: `text`, and `classify` names the column of the classes.
    """

    text: str = "text"
    prompt: str | None = None
    domain: str | None = None
    id: str | None = None
    choices: str | None = None
    gold: str | None = None
    classify: str | None = None
    classes: tuple[str, ...] = ()
    """Of a classification set: VALUE or VALUE=WORD of each class; none: those that occur, found by `with_classes`."""
    question: str = "\nLabel:"
    """Of a classification set: what follows the text and its class follows."""
    group: str | None = None

    def __post_init__(self) -> None:
        if (self.choices is None) != (self.gold is None) or (self.choices and not self.prompt):
            raise InputError("multiple choice needs the columns prompt, choices and gold; give all three")
        if self.classify and (self.prompt or self.choices):
            raise InputError("classify reads text and its class; leave out prompt, continuation and choices")

    @property
    def packed(self) -> bool:
        """Whether documents follow each other in sequences; else each is an example of its own."""
        return self.prompt is None and self.classify is None

    @property
    def has_choices(self) -> bool:
        return self.choices is not None or self.classify is not None

    def needed(self) -> list[str]:
        text = None if self.choices else self.text
        names = (text, self.prompt, self.choices, self.gold, self.classify, self.domain, self.id, self.group)
        return list(dict.fromkeys(name for name in names if name is not None))

    def with_classes(self, source: Source) -> "TextColumns":
        """The same with the classes that occur in `source`, where they are needed and not given; one pass over it."""
        if self.classify is None or self.classes:
            return self
        found = sorted({str(row[self.classify]) for row in source.rows([self.classify])})
        if len(found) < 2:
            raise InputError(f"{source.name} has {len(found)} classes {found}; classification needs at least two")
        return replace(self, classes=tuple(found))


class _Unusable(Exception):
    """A row that gives no document: a reason to count it by, and what is said where it is refused."""


def read_documents(
    source: Source, columns: TextColumns, skipped: Skipped | None = None, *, whole_rows: bool = False
) -> Iterator[Document]:
    """Documents in the source's order; empty ones are left out, counted and listed in `skipped`.

    With `whole_rows` each remembers all columns of its row, not only those that are named.

    A row that cannot be used (no text in a text column, an id that occurs twice, no right answer) is handled as
    `source.bad_rows` says; under `refuse` it is an InputError that names it.
    """
    skipped = skipped or Skipped()
    bad = BadRows(source.bad_rows, skipped)
    named, check = columns.id or source.natural_id, IdCheck(source, bad)
    make = _Reader(columns, bad)
    needed = columns.needed() if columns.id or named is None else [*columns.needed(), named]
    for number, row in enumerate(source.read(needed, skipped, whole_rows=whole_rows)):
        if row.values is None:
            continue
        id = None
        try:
            id = str(number) if named is None else check(make.label(row, named), row)
            if id is None:
                continue
            document = make(id, row)
        except _Unusable as error:
            reason, message = error.args
            bad(reason, f"{row.where}: {message}", file=row.file, row=row.number, id=id or "")
            continue
        if document is None:
            skipped.add("empty", file=row.file, row=row.number, id=id)
        else:
            yield document._replace(columns=_own_columns(row, columns, source.natural_id)) if whole_rows else document


def _own_columns(row: Row, columns: TextColumns, path: str | None) -> dict[str, Any]:
    """All columns of a row as JSON can hold them, without the texts that the document holds itself."""
    assert row.values is not None
    is_there = set() if columns.has_choices else {columns.text, columns.prompt}
    return {name: None if name in is_there else _jsonable(value) for name, value in row.values.items() if name != path}


def _jsonable(value: Any) -> Any:
    """Dates as ISO 8601, decimal numbers as text, bytes as base64."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if value is None or isinstance(value, str | int | float) else str(value)


def read_whole_rows(source: Source) -> Iterator[Document]:
    """Each row as one document, all its texts (also those in lists) joined: for what asks only whether words occur."""
    for number, row in enumerate(source.read([])):
        if row.values is not None:
            yield Document(str(number), "", " ".join(_texts_in(list(row.values.values()))))


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts_in(item)
    elif isinstance(value, Mapping):
        yield from _texts_in(list(value.values()))


class _Reader:
    """From a row's values to a document, by the columns."""

    def __init__(self, columns: TextColumns, bad: BadRows) -> None:
        self.columns, self.bad = columns, bad
        pairs = [entry.partition("=") for entry in columns.classes]
        self.words = {value: word if equals else value for value, equals, word in pairs}

    def __call__(self, id: str, row: Row) -> Document | None:
        columns, values = self.columns, row.values
        assert values is not None
        domain = "" if columns.domain is None else self.label(row, columns.domain)
        group = "" if columns.group is None else self.label(row, columns.group)
        prompt = "" if columns.prompt is None else self._text(values, columns.prompt, row)
        if columns.choices is not None:
            choices, answer = self._choices(values, row)
            text = choices[answer]
        elif columns.classify is not None:
            prompt = self._text(values, columns.text, row)
            if not prompt.strip():
                return None
            choices, answer = tuple(self.words.values()), self._class(values)
            prompt, text = prompt + columns.question, choices[answer]
        else:
            choices, answer, text = (), 0, self._text(values, columns.text, row)
        return Document(id, domain, text, prompt, choices, answer, group) if text.strip() else None

    def _text(self, values: Mapping, column: str, row: Row) -> str:
        value = values[column]
        if value is None:
            return ""
        if not isinstance(value, str):
            raise _Unusable("not text", f"column {column!r} holds {type(value).__name__}, not text; name another")
        return self._whole(value, column, row)

    def label(self, row: Row, column: str) -> str:
        """What stands in `column`, as text."""
        assert row.values is not None
        value = row.values[column]
        return "" if value is None else self._whole(str(value), column, row)

    def _whole(self, text: str, column: str, row: Row) -> str:
        """`text` without lone surrogates, which stand for bytes that are no UTF-8 (or are written so in JSON)."""
        if text.isascii():
            return text
        try:
            text.encode()
            return text
        except UnicodeEncodeError as error:
            if self.bad.policy != "replace":
                where = f"column {column!r} is not UTF-8 at character {error.start}"
                raise _Unusable("not UTF-8", f"{where}; repair it, or have bad_rows skip or replace it") from None
            self.bad.skipped.add("not UTF-8, replaced", file=row.file, row=row.number)
            return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in text)

    def _choices(self, values: Mapping, row: Row) -> tuple[tuple[str, ...], int]:
        columns, given = self.columns, values[self.columns.choices]
        labels = None
        if isinstance(given, Mapping) and {"text", "label"} <= given.keys():
            given, labels = given["text"], [str(label) for label in given["label"]]
        if not isinstance(given, list) or not all(isinstance(choice, str) and choice.strip() for choice in given):
            raise _Unusable("no choices", f"column {columns.choices!r} holds no list of texts; repair it")
        choices = tuple(self._whole(choice, str(columns.choices), row) for choice in given)
        gold = values[columns.gold]
        if labels is not None and str(gold) in labels:
            return choices, labels.index(str(gold))
        if len(choices) >= 2 and str(gold).isdecimal() and int(gold) < len(choices):
            return choices, int(gold)
        message = f"column {columns.gold!r} holds {gold!r}, which is none of {len(choices)} choices counted from 0"
        raise _Unusable("no right answer", f"{message}; repair it")

    def _class(self, values: Mapping[str, Any]) -> int:
        value = str(values[str(self.columns.classify)])
        if value not in self.words:
            there = ", ".join(self.words)
            raise _Unusable("unknown class", f"class {value!r} is none of the classes {there}; add it to the classes")
        return list(self.words).index(value)
