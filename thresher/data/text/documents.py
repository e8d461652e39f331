"""Documents out of a source's rows: whole text, prompts with continuations, multiple choice, or labelled text."""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from thresher.data.sources.rows import Row
from thresher.data.sources.seen import Seen
from thresher.data.sources.skipped import BadRows, Skipped
from thresher.data.sources.source import IdCheck, Source
from thresher.data.sources.values import ClassName, Unusable, is_field, joined_id, name_of, text_of
from thresher.data.splits import content_of
from thresher.data.text.columns import TextColumns


class Document(NamedTuple):
    """A document of a source: a whole text, or a prompt and what follows it."""

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
    pieces: tuple[str, ...] = ()
    """Of which `text` was joined, where their order means nothing."""

    @property
    def content(self) -> bytes:
        """What makes two documents the same, for `part_of`: the group, else the prompt, else the text."""
        return content_of(self.group or self.prompt or self.text)


def as_one_text(prompt: str, text: str) -> str:
    """A prompt and what follows it as one text: with a space between them where neither has white space there."""
    apart = not prompt or not text or prompt[-1].isspace() or text[0].isspace()
    return prompt + text if apart else f"{prompt} {text}"


def texts_to_learn_from(documents: Iterable[Document]) -> Iterator[str]:
    """Every text of `documents` that a tokenizer meets: each with its prompt, then what else could follow the prompt.

    A choice is given the first time it occurs (the classes of labelled text are the same for all).
    """
    seen = Seen()
    for document in documents:
        yield as_one_text(document.prompt, document.text)
        for choice in document.choices:
            if choice != document.text and seen.add(choice):
                yield as_one_text(document.prompt, choice)[len(document.prompt) :]


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
    named = source.named_by(columns.id)
    check, make = IdCheck(source, bad), _Reader(columns, bad)
    needed = list(dict.fromkeys([*columns.needed(), *named]))
    for number, row in enumerate(source.read(needed, skipped, whole_rows=whole_rows)):
        if row.values is None:
            continue
        id = None
        try:
            id = check(joined_id([make.label(row, column) for column in named]), row) if named else str(number)
            if id is None:
                continue
            document = make(id, row)
            if document is not None and whole_rows:
                document = document._replace(columns=_own_columns(row, columns, source.natural_id, make))
        except Unusable as error:
            reason, message = error.args
            bad(reason, f"{row.where}: {message}", file=row.file, row=row.number, id=id or "")
            continue
        if document is None:
            skipped.add("empty", file=row.file, row=row.number, id=id)
        else:
            yield document


def _own_columns(row: Row, columns: TextColumns, path: str | None, make: "_Reader") -> dict[str, Any]:
    """All columns of a row as JSON can hold them, without the texts that the document holds itself."""
    assert row.values is not None
    is_there = set() if columns.has_choices else {columns.text, columns.prompt}
    needed = set(columns.needed())
    return {
        make.whole(name, name, row): None
        if name in is_there
        else _jsonable(value, lambda text, name=name: make.whole(text, name, row))
        for name, value in row.values.items()
        if name != path and not (name in needed and is_field(name, row.values))
    }


def _jsonable(value: Any, whole: Callable[[str], str]) -> Any:
    """Dates as ISO 8601, decimal numbers as text, bytes as base64; of a text what `whole` makes of it."""
    if isinstance(value, Mapping):
        return {whole(str(key)): _jsonable(item, whole) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item, whole) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, str):
        return whole(value)
    return value if value is None or isinstance(value, int | float) else str(value)


def read_whole_rows(source: Source) -> Iterator[Document]:
    """Each row as one document, all its texts (also those in lists) joined: for what asks only whether words occur."""
    for number, row in enumerate(source.read([])):
        if row.values is not None:
            pieces = tuple(_texts_in(list(row.values.values())))
            yield Document(str(number), "", " ".join(pieces), pieces=pieces)


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
            choices, answer = tuple(self.words.values()), self._class(row)
            prompt, text = prompt + columns.question, choices[answer]
        else:
            choices, answer, text = (), 0, self._text(values, columns.text, row)
        return Document(id, domain, text, prompt, choices, answer, group) if text.strip() else None

    def _text(self, values: Mapping, column: str, row: Row) -> str:
        return self.whole(text_of(values[column], column), column, row)

    def label(self, row: Row, column: str) -> str:
        """What stands in `column`, as the text of a name."""
        assert row.values is not None
        return self.whole(name_of(row.values[column], column), column, row)

    def whole(self, text: str, column: str, row: Row) -> str:
        """`text` without lone surrogates, which stand for bytes that are no UTF-8 (or are written so in JSON)."""
        if text.isascii():
            return text
        try:
            text.encode()
            return text
        except UnicodeEncodeError as error:
            if self.bad.policy != "replace":
                where = f"column {column!r} is not UTF-8 at character {error.start}"
                raise Unusable("not UTF-8", f"{where}; repair it, or have bad_rows skip or replace it") from None
            self.bad.skipped.add("not UTF-8, replaced", file=row.file, row=row.number)
            return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in text)

    def _choices(self, values: Mapping, row: Row) -> tuple[tuple[str, ...], int]:
        columns, given = self.columns, values[self.columns.choices]
        labels = None
        if isinstance(given, Mapping) and {"text", "label"} <= given.keys():
            given, labels = given["text"], [name_of(label, str(columns.choices)) for label in given["label"] or ()]
        if not isinstance(given, list) or not all(isinstance(choice, str) and choice.strip() for choice in given):
            raise Unusable("no choices", f"column {columns.choices!r} holds no list of texts; repair it")
        choices = tuple(self.whole(choice, str(columns.choices), row) for choice in given)
        named = values[columns.gold]
        gold = name_of(named, str(columns.gold))
        if labels is not None and gold in labels:
            return choices, labels.index(gold)
        if isinstance(named, ClassName):  # A to D of a numbered class, or 1 to 4: its number counts the choices
            gold = str(named.number)
        if len(choices) >= 2 and gold.isdecimal() and int(gold) < len(choices):
            return choices, int(gold)
        what = f"column {columns.gold!r} holds {values[columns.gold]!r}"
        raise Unusable("no right answer", f"{what}, which is none of {len(choices)} choices counted from 0; repair it")

    def _class(self, row: Row) -> int:
        column = str(self.columns.classify)
        value = self.label(row, column)
        if not value.strip():
            raise Unusable("no class", f"column {column!r} holds no class; give the row one, or leave it out")
        if value not in self.words:
            there = ", ".join(self.words)
            raise Unusable("unknown class", f"class {value!r} is none of the classes {there}; add it to the classes")
        return list(self.words).index(value)
