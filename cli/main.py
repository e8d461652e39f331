"""`thresher COMMAND`: finds the command, runs it, prints its result on stdout and everything else on stderr."""

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from thresher.cli.stopping import Stopping, stopping
from thresher.cli.telling import abandon, close_log, command_line, note, open_log, say, say_next
from thresher.errors import InputError, near
from thresher.shown import shown

# Kept as text, so that `thresher --help` loads no command and none of their libraries.
COMMANDS = {
    "attribute": "your model and data: what training examples did to test ones",
    "prepare": "a corpus or images into a prepared pool or target",
    "overlap": "which documents of a pool share a run of words with targets",
    "train": "a proxy (or any model) on a prepared pool or a part of it",
    "featurize": "projected per-example gradients, outputs and losses, in one pass",
    "score": "what each pool example does to the targets (higher: it helps)",
    "index": "a FAISS index over the pool's features",
    "search": "what helped and what harmed one target example most",
    "lds": "how well scores predict retraining, against baselines",
    "explore": "a page to look at what helped and hurt, and to decide",
    "select": "keep the best examples for the targets, or a control",
    "validate": "train the reference on selections and controls, and compare",
    "mix": "domain weights for a budget, from runs or scores; validated",
    "study": "which proxy can be trusted: small sizes against the reference",
    "report": "the HTML page of a finished study",
    "run": "a whole study from one file: every step above, resumed",
    "demo": "the whole loop on embedded data, ends with a report",
    "doctor": "what this machine has, and whether a projection works on it",
    "completion": "the script that makes bash, zsh or fish complete all this",
}


# What `torchrun` may start in several processes.
TOGETHER = ("train",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status.

    0: done; 2: bad input, or a machine that cannot; 128 + n: ended by signal n, such as 130 for Ctrl-C, 141 for a
    reader of the result that went away.
    """
    is_program = arguments is None
    with stopping(is_program=is_program) as stop:
        arguments = list(sys.argv[1:] if arguments is None else arguments)
        status = 1
        try:
            status = _caught(arguments, stop, is_program=is_program)
        finally:
            close_log(f"ended with status {status}")
        return status


def _caught(arguments: list[str], stop: Stopping, *, is_program: bool) -> int:
    """The exit status; what a person can mend, and what a machine cannot do, is said in one line."""
    try:
        return _main(arguments, stop)
    except InputError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        stop.say()
        if is_program:  # without the second in which an interpreter takes itself apart
            stop.end_now()
        return stop.status
    except SystemExit:  # of the parser: its own words are said
        _show("")
        raise
    except BaseException as error:
        from thresher.cli.faults import line_of  # only where it is needed

        line = line_of(error, arguments[0] if arguments else "")
        if line is None:
            raise
        return _fail(line)


def _main(arguments: list[str], stop: Stopping) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        return _show(_help())
    if arguments[0] in ("-V", "--version"):
        from thresher import __version__

        return _show(f"thresher {__version__}")
    name, *rest = arguments
    if name not in COMMANDS:
        return _fail(f"{name!r} is no command{near(name, COMMANDS)}; the commands are {', '.join(COMMANDS)}")
    return _run(name, rest, stop)


def _run(name: str, arguments: list[str], stop: Stopping) -> int:
    # Telemetry-free and quiet, before any library reads these.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import logging
    import warnings

    processes = os.environ.get("WORLD_SIZE", "1")
    if processes != "1" and name not in TOGETHER:
        raise InputError(f"{name} runs in one process, not in {processes}; start it without torchrun")
    command = _command(name, arguments)
    if isinstance(command, str):
        return _show(command)
    command.check()
    # Of several processes the first speaks; a rank that something left behind is none of one process.
    is_first = processes == "1" or os.environ.get("RANK", "0") == "0"
    if command.log is not None and is_first:
        open_log(command.log)
        note(f"begun: {command_line(['thresher', name, *arguments])}")
    from thresher.cli.command import Warnings
    from thresher.cli.faults import refuse_too_little_memory
    from thresher.cli.progress_bar import progress_for

    refuse_too_little_memory()
    # Of torch about itself, where it first differentiates forward.
    warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)
    logger = logging.getLogger("thresher")
    logger.handlers = [Warnings()]
    logger.setLevel(logging.WARNING if command.quiet else logging.INFO)
    progress = progress_for(
        quiet=command.quiet or not is_first, verbose=command.verbose, log=command.log is not None and is_first
    )
    with contextlib.redirect_stdout(sys.stderr), stop.unwinding():  # stdout is for the result alone
        result = command.run(progress)
    if not is_first:
        return 0
    status = _show(_as_json(result) if command.json else shown(command.show(result), keep="\n\t"))
    if status == 0 and not command.quiet and not command.json:
        say_next(command.then(result))
    return status


def _as_json(result: object) -> str:
    """JSON has no NaN and no infinity: they are null there."""
    import json

    from thresher.canonical import without_nan

    return json.dumps(without_nan(result, default=str))


def _show(text: str) -> int:
    """Print a result; 141 where its reader is gone, as `head` is after its ten lines."""
    if sys.stdout is None:  # closed by whoever started this
        return 0
    try:
        print(text, end="\n" if text else "", flush=True)
        return 0
    except OSError as error:
        abandon(sys.stdout)
        if isinstance(error, BrokenPipeError):
            return 141
        raise OSError(error.errno, error.strerror, "the result to stdout") from error


def _command(name: str, arguments: list[str]) -> Any:
    """The command that the arguments describe, or the text of its help."""
    module = importlib.import_module(f"thresher.cli.{name}")
    actions = getattr(module, "ACTIONS", None)
    asks = "--help" in arguments or "-h" in arguments
    if actions is None:
        kind, words, full_name = module.COMMAND, arguments, name
    elif arguments and arguments[0] in actions:
        kind, words, full_name = actions[arguments[0]], arguments[1:], f"{name} {arguments[0]}"
    elif asks or not arguments:
        from thresher.cli.help import page_of_actions

        return page_of_actions(name, module)
    else:
        raise InputError(
            f"{name} {arguments[0]!r} is no action{near(arguments[0], actions)}; the actions of {name} are "
            f"{', '.join(actions)}"
        )
    if asks:
        from thresher.cli.help import page_of

        return page_of(full_name, kind)
    from thresher.cli.arguments import read

    return read(kind, words, full_name)


def _help() -> str:
    lines = [f"  {name:<11}{text}" for name, text in COMMANDS.items()]
    return (
        "thresher: find the training data that matters, at proxy cost\n\n"
        "usage: thresher COMMAND [options]     thresher COMMAND --help\n\ncommands:\n" + "\n".join(lines) + "\n\n"
        "Every command takes --json (its result as one JSON object on stdout), --quiet\n"
        "(only warnings and errors on stderr), --verbose and --log FILE.\n"
        "Start with: thresher demo"
    )


def _fail(message: str) -> int:
    say(f"error: {message}")
    return 2


if __name__ == "__main__":
    sys.exit(main())
