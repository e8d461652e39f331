"""Signals end a command in one line and with their status, at whatever moment; a reader that leaves costs no words."""

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from thresher.cli.faults import LOWER, line_of
from thresher.cli.main import main
from thresher.cli.stopping import stopping

# A command of a few lines, in place of one that loads for seconds.
PROGRAM = """
import os, signal, sys, time, types
from dataclasses import dataclass
from thresher.cli import stopping
from thresher.cli.main import COMMANDS, main

def send(name):
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(0.1)

def work():
{body}

class Late(types.ModuleType):
    def __getattr__(self, name):
        if name != "COMMAND":
            raise AttributeError(name)
        {importing}
        from thresher.cli.command import Command
        @dataclass(frozen=True, kw_only=True)
        class Nap(Command):
            "A nap."
            def run(self, progress):
                work()
                return {{"slept": True}}
        return Nap

COMMANDS["nap"] = "a nap"
sys.modules["thresher.cli.nap"] = Late("nap")
stopping.GRACE_SECONDS = {grace}
sys.argv = ["thresher", "nap", "--quiet"]
sys.exit(main())
"""


def _heed_signals() -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def nap(body: str, *, importing: str = "", grace: float = 100, **options) -> tuple[int, str, list[str]]:
    """Status, stdout and the lines on stderr of a command that does `body`."""
    text = PROGRAM.format(body="\n".join(f"    {line}" for line in body.split("\n")), importing=importing, grace=grace)
    options.setdefault(
        "preexec_fn", _heed_signals
    )  # whoever runs the tests may ignore Ctrl-C, as a job in the background
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=300, **options)
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "stopped by SIGTERM"), ("SIGHUP", 129, "stopped by SIGHUP")],
)
def test_a_signal_is_one_line_and_its_status_and_what_is_open_is_cleared_away(name, status, said, tmp_path):
    body = f"try: send('{name}')\nfinally: open('{tmp_path}/cleared', 'w').close()"
    assert nap(body) == (status, "", [f"thresher: {said}; run the same command again to resume"])
    assert (tmp_path / "cleared").exists()


def test_a_signal_while_libraries_load_is_one_line():
    code, _, said = nap("raise AssertionError('reached')", importing="send('SIGINT')")
    assert (code, said) == (130, ["thresher: interrupted; run the same command again to resume"])


def test_a_second_signal_ends_what_takes_long_to_clear_away():
    code, _, said = nap("try: send('SIGTERM')\nfinally: send('SIGINT'); time.sleep(200)")
    assert (code, said) == (143, ["thresher: stopped by SIGTERM; run the same command again to resume"])


@pytest.mark.parametrize(
    "body",
    [
        "try: send('SIGINT')\nexcept BaseException: time.sleep(200)",
        "class Lost:\n    def __del__(self): send('SIGINT')\nLost()\ntime.sleep(200)",
    ],
)
def test_a_signal_that_a_library_swallowed_ends_the_process_all_the_same(body):
    code, _, said = nap(body, grace=0.2)
    assert (code, said) == (130, ["thresher: interrupted; run the same command again to resume"])


def test_signals_that_were_ignored_from_the_start_stay_so():
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    assert nap("send('SIGHUP')", **ignore) == (0, "slept: True\n", [])


def test_afterwards_signals_mean_what_they_did():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with stopping(is_program=False):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_reader_that_goes_away_costs_no_words():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "thresher", "--help"]
    for closed, status in (
        ({"stdout": writer, "stderr": subprocess.PIPE}, 141),
        ({"stdout": writer, "stderr": writer}, 141),
    ):
        done = subprocess.run(command, text=True, check=False, **closed)
        assert (done.returncode, done.stderr or "") == (status, "")
    os.close(writer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_result_that_cannot_be_written_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "thresher", "--help"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "thresher: error: cannot write the result to stdout: No space left on device; make room, then run the same "
        "command again to resume"
    ]


def raised(kind: type[BaseException], *arguments: object, cause: BaseException | None = None) -> BaseException:
    error = kind(*arguments)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "a/b"),
            r"cannot write a/b: No space left on device; make room",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a"), r"cannot write a: Disk quota exceeded; make room within"),
        (OSError(errno.EFBIG, "File too large"), r"^File too large; allow larger files \(ulimit -f"),
        (OSError(errno.EMFILE, "Too many open files", "x"), r"cannot open x: Too many open files; .*ulimit -n"),
        (OSError(errno.ENOENT, "No such file or directory", "x"), r"cannot open x: No such file or directory; check"),
        (OSError("512 requested and 100 written"), r"No space left on device; make room"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), r"^No space left on device; make room"),
        (
            raised(ValueError, "odd", cause=OSError(errno.EIO, "Input/output error", "x")),
            r"cannot write x: Input/output",
        ),
        (MemoryError(), r"^not enough memory; pass --workers 1, --accumulate 4, or a smaller --model, or allow more"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 3221225472 bytes. Error"),
            r"^not enough memory: 3 GiB more was asked for and refused; pass --workers 1",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0"), r"memory: 2.50 GiB more was asked"),
        (MemoryError("Unable to allocate 1.5 GiB for an array with shape (9, 9)"), r"memory: 1.5 GiB more was asked"),
        (RuntimeError("std::bad_alloc"), r"^not enough memory; "),
        (ImportError("libx.so: failed to map segment from shared object"), r"^not enough memory; "),
        (RuntimeError("can't start new thread"), r"^not enough memory"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), r"^Resource temporarily.*ulimit -u"),
    ],
)
def test_what_a_machine_cannot_do_is_one_line_with_what_to_do(error, said):
    line = line_of(error, "validate")
    assert line is not None and "\n" not in line
    assert re.search(said, line), line


@pytest.mark.parametrize("error", [ValueError("odd"), KeyError("x"), OSError(errno.EBADF, "Bad file descriptor")])
def test_our_own_bugs_keep_their_traceback(error):
    assert line_of(error, "train") is None


def test_every_option_that_a_lack_of_memory_names_is_there(capsys):
    for command, text in LOWER.items():
        options = re.findall(r"--[\w-]+", text)
        if command in ("study", "mix", "run"):  # of their actions, and of a file
            continue
        assert main([command, "--help"]) == 0
        shown = capsys.readouterr().out
        assert all(option in shown for option in options), command


def test_a_limit_on_address_space_that_leaves_too_little_is_refused_before_the_work(tmp_path):
    """Beyond it libraries in other languages end the process with no words at all."""
    script = (
        "import resource, sys, torch\n"
        "from thresher.cli.main import main\n"
        "import thresher.cli.doctor\n"
        "mapped = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (mapped + 20 * 2**20,) * 2)\n"
        "sys.exit(main(['doctor']))\n"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("a process does not know its size here")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(
        r"thresher: error: the limit on address space \(ulimit -v\) leaves \d+ MiB beside the libraries, .*\n",
        done.stderr,
    )
