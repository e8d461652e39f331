"""Which columns of a source are what in a text set, and the classes that occur in one."""

from dataclasses import dataclass, replace

from thresher.data.sources.lm_eval_tasks import columns_there
from thresher.data.sources.source import Source
from thresher.data.sources.values import Unusable, alike, name_of
from thresher.errors import InputError


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
    id: str | tuple[str, ...] | None = None
    """Several columns are joined into one id, so that different values never make the same (`values.joined_id`)."""
    choices: str | None = None
    gold: str | None = None
    classify: str | None = None
    classes: tuple[str, ...] = ()
    """Of a classification set: VALUE or VALUE=WORD of each class; none: those that occur, found by `of_source`."""
    question: str = "\nLabel:"
    """Of a classification set: what follows the text and its class follows."""
    group: str | None = None

    def __post_init__(self) -> None:
        if (self.choices is None) != (self.gold is None) or (self.choices and not self.prompt):
            raise InputError("multiple choice needs the columns prompt, choices and gold; give all three")
        if self.classify and (self.prompt or self.choices):
            raise InputError("classify reads text and its class; leave out prompt, continuation and choices")

    @property
    def ids(self) -> tuple[str, ...]:
        """The columns that make the id; none: rows are numbered, or files go by their path."""
        return (self.id,) if isinstance(self.id, str) else tuple(self.id or ())

    @property
    def packed(self) -> bool:
        """Whether documents follow each other in sequences; else each is an example of its own."""
        return self.prompt is None and self.classify is None

    @property
    def has_choices(self) -> bool:
        """Whether documents have choices: multiple choice, or the classes of labelled text."""
        return self.choices is not None or self.classify is not None

    def needed(self) -> list[str]:
        """All columns that are named, each once."""
        text = None if self.choices else self.text
        names = (text, self.prompt, self.choices, self.gold, self.classify, self.domain, *self.ids, self.group)
        return list(dict.fromkeys(name for name in names if name is not None))

    def of_source(self, source: Source) -> "TextColumns":
        """The same with what only `source` can say: the columns of a task of lm-evaluation-harness, where none are
        named; the classes that occur, where they are needed and not given (one pass over it).
        """
        if source.task is not None and not (self.prompt or self.choices or self.classify or self.text != "text"):
            there = columns_there(source.task)
            return replace(self, **{name: value for name, value in there.items() if getattr(self, name) is None})
        if self.classify is None or self.classes:
            return self
        found = sorted(names_in(source, self.classify))
        odd = [name for name in found if "=" in name]
        if odd:
            raise InputError(
                f"{source.name} has the class {odd[0]!r}; VALUE=WORD gives a class a word, so write it without ="
            )
        return replace(self, classes=tuple(found))


def names_in(source: Source, column: str) -> set[str]:
    """The classes that occur in a column; rows that have none are left to whoever reads them.

    Raises InputError where there are fewer than two, or two that are written almost alike.
    """
    found: set[str] = set()
    for row in source.read([column]):
        if row.values is not None:
            try:
                found.add(name_of(row.values[column], column))
            except Unusable as error:
                if source.bad_rows == "refuse":
                    raise InputError(f"{row.where}: {error.args[1]}") from None
    found = {name for name in found if name.strip()}
    if len(found) < 2:
        raise InputError(f"{source.name} has {len(found)} classes {sorted(found)}; classification needs at least two")
    same = alike(sorted(found))
    if same is not None:
        raise InputError(
            f"{source.name} has the classes {same[0]!r} and {same[1]!r}, which differ only in how they are written; "
            "write one of them, or name the classes"
        )
    return found
