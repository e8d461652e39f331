"""Tasks of lm-evaluation-harness as rows: `lm_eval:NAME`, a task, a group or a tag, or `lm_eval:FILE.yaml`, one's file.

Prompts and continuations are those that the harness itself would send to a model without examples before them
(`num_fewshot=0`), so a loss or an accuracy here is of the same texts as there. The package is an optional extra.
"""

import importlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from thresher.data.sources.named_splits import ALL, check_split
from thresher.errors import InputError, near

PREFIX = "lm_eval:"
SPLITS = {"train": "training", "validation": "validation", "test": "test"}
"""Of a task, by our names, as the harness calls them."""


def is_task(data: Sequence[str]) -> bool:
    """Whether a source names a task of the harness."""
    return len(data) == 1 and data[0].startswith(PREFIX)


def task_rows(name: str, split: str | None = None) -> list[dict[str, Any]]:
    """The rows of the task (group, tag, file) `name`: id, domain, prompt, text, choices and gold.

    id       TASK/SPLIT/NUMBER, from 0
    domain   the task's name
    prompt   what is given; empty where the whole text is measured
    text     what is predicted: the right choice or the right answer, the first where several are right
    choices  what could follow the prompt, in the harness's order; None where the task has no choices, and where they
             differ in their prompts instead (as in Winogrande)
    gold     the number of the right choice; None where there is none

    `split`: train, validation, test or all; None: what the harness evaluates on (test, else validation). Raises
    InputError for a task that is unknown, whose data cannot be loaded, or that does not ask a language model for text.
    """
    tasks = _tasks(name)
    return [row for task in tasks for row in _rows(task, split, name)]


def columns_there(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The columns, as `TextColumns` takes them, that say all of `rows`."""
    asked: dict[str, str] = {"id": "id", "domain": "domain"}
    if all(row["choices"] for row in rows):
        return asked | {"prompt": "prompt", "choices": "choices", "gold": "gold"}
    return asked | ({"prompt": "prompt"} if any(row["prompt"] for row in rows) else {})


def _rows(task: Any, split: str | None, name: str) -> Iterator[dict[str, Any]]:
    there = [own for own, theirs in SPLITS.items() if getattr(task, f"has_{theirs}_docs")()]
    if not there:
        raise InputError(f"{name}: the task {task.task_name} has no data; give another")
    usual = next(own for own in ("test", "validation", "train") if own in there)
    splits = there if split == ALL else [check_split(split or usual, there, name)]
    for own in splits:
        for number, document in enumerate(getattr(task, f"{SPLITS[own]}_docs")()):
            id = f"{task.task_name}/{own}/{number}"
            try:
                texts = _texts(task, document, name)
            except InputError:
                raise
            except Exception as error:  # what a task's own code and templates raise
                raise _failed(f"{name}: document {id}", error) from error
            yield {"id": id, "domain": task.task_name, **texts}


def _failed(what: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:160]
    return InputError(
        f"{what} could not be loaded ({type(error).__name__}: {reason}); check the task, its data and the network"
    )


def _texts(task: Any, document: Any, name: str) -> dict[str, Any]:
    """prompt, text, choices and gold of one document of a task."""
    kind = task.OUTPUT_TYPE
    if kind not in KINDS:
        raise InputError(f"{name} is a task of the kind {kind!r}; give one of {', '.join(KINDS)}")
    if getattr(task.config, "doc_to_image", None) or getattr(task.config, "doc_to_audio", None):
        raise InputError(f"{name} shows pictures or sounds, which language models here do not read; give another task")
    context = task.fewshot_context(document, 0)
    return {"prompt": "", "choices": None, "gold": None} | KINDS[kind](task, document, context)


def _multiple_choice(task: Any, document: Any, context: Any) -> dict[str, Any]:
    requests = [request.args for request in task.construct_requests(document, context)]
    if isinstance(context, list):  # as many prompts as there are choices, and one continuation
        gold = _first(task.doc_to_text(document))
        return {"prompt": context[gold], "text": requests[gold][1]}
    choices = [text for given, text, *_ in requests if given == context]  # not those that are scored without the prompt
    gold = _gold(task, document, choices)
    return {"prompt": context, "text": choices[gold] if gold is not None else "", "choices": choices, "gold": gold}


def _gold(task: Any, document: Any, choices: Sequence[str]) -> int | None:
    given = document.get("gold") if not hasattr(task, "doc_to_choice") else task.doc_to_target(document)
    gold = _first(given)
    if isinstance(gold, str):
        written = [choice.strip() for choice in choices]
        return written.index(gold.strip()) if gold.strip() in written else None
    return int(gold) if gold is not None and 0 <= int(gold) < len(choices) else None


def _loglikelihood(task: Any, document: Any, context: Any) -> dict[str, Any]:
    prompt, text = task.construct_requests(document, context).args[:2]
    return {"prompt": prompt, "text": str(_first(text))}


def _whole(task: Any, document: Any, context: Any) -> dict[str, Any]:
    return {"text": str(task.construct_requests(document, context).args[0])}


def _generated(task: Any, document: Any, context: Any) -> dict[str, Any]:
    """The right answer where a model would be asked to write one, joined as the harness joins examples."""
    answer = _first(task.doc_to_target(document))
    text = "" if answer is None else str(answer)
    joined = text if context[-1:].isspace() or text[:1].isspace() else f"{task.config.target_delimiter}{text}"
    return {"prompt": context, "text": joined}


def _first(value: Any) -> Any:
    """The first where several are right; None where none is."""
    return (value[0] if value else None) if isinstance(value, list | tuple) else value


KINDS: dict[str, Callable[[Any, Any, Any], dict[str, Any]]] = {
    "multiple_choice": _multiple_choice,
    "loglikelihood": _loglikelihood,
    "loglikelihood_rolling": _whole,
    "generate_until": _generated,
}


def _tasks(name: str) -> list[Any]:
    """The harness's tasks of a name, or of the file of one; a group's in its order."""
    asked = name.removeprefix(PREFIX)
    is_file = asked.endswith((".yaml", ".yml"))
    if is_file and not Path(asked).expanduser().is_file():
        raise InputError(f"{name}: {asked} does not exist; check the path of the task's file")
    with _quiet():
        manager = _manager(is_file)
        if not is_file and asked not in manager.task_index:
            raise InputError(
                f"{name} is no task of lm-evaluation-harness{near(asked, manager.all_tasks)}; name another"
            )
        try:
            return list(manager.load(str(Path(asked).expanduser()) if is_file else asked)["tasks"].values())
        except Exception as error:  # what a task's own code, its YAML and `datasets` raise
            raise _failed(name, error) from error


@cache
def _manager(is_file: bool) -> Any:
    """The harness's index of tasks; that of the 14,000 that it brings takes seconds, so a file does without them."""
    try:
        tasks = importlib.import_module("lm_eval.tasks")
    except ImportError:
        raise InputError(f"{PREFIX} tasks need lm-evaluation-harness; pip install 'thresher[integrations]'") from None
    return tasks.TaskManager(include_defaults=not is_file)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and remarks of the harness and of `datasets`; what goes wrong is said once, by us."""
    import datasets  # slow to load, and only where its data are read

    logger, bars = logging.getLogger("lm_eval"), datasets.are_progress_bars_disabled()
    level = logger.level
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()
