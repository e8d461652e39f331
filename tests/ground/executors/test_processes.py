"""Jobs in worker processes: a death costs its job another try, an exception arrives as it was, none is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ground.executors.jobs_for_workers import Job, fail, leave, pid, work
from thresher.errors import InputError
from thresher.executors import processes
from thresher.executors.jobs import run_jobs


def begun(log: Path) -> dict[int, int]:
    numbers = log.read_text().split()
    return {int(number): numbers.count(number) for number in sorted(set(numbers))}


def test_a_job_whose_worker_dies_is_begun_again_and_no_other_is(tmp_path, caplog):
    log = tmp_path / "log"
    jobs = [Job(number, log, deaths=int(number == 1)) for number in range(4)]
    assert dict(run_jobs(work, jobs, workers=2)) == {0: 0, 1: 10, 2: 20, 3: 30}
    assert begun(log) == {0: 1, 1: 2, 2: 1, 3: 1}
    assert [record.getMessage() for record in caplog.records] == [
        "a worker process was ended by SIGKILL (the system does so when memory runs out); its job is begun again, "
        "1 at once from now on"
    ]


def test_a_job_that_kills_its_workers_each_time_is_one_line_and_results_before_it_stand(tmp_path):
    log, made = tmp_path / "log", {}
    jobs = [Job(number, log, deaths=9 * int(number == 1), signal=signal.SIGABRT) for number in range(3)]
    with pytest.raises(InputError, match=r"was ended by SIGABRT, 3 times at the same job.*--workers 1") as caught:
        made.update(run_jobs(work, jobs, workers=2))
    assert "\n" not in str(caught.value)
    assert begun(log)[1] == 1 + processes.RETRIES
    assert dict(run_jobs(work, [Job(5, log), Job(6, log)], workers=2)) == {0: 50, 1: 60}


def test_an_exit_counts_as_a_death():
    with pytest.raises(InputError, match=r"ended with status 7, 3 times"):
        list(run_jobs(leave, [7, 7], workers=2))


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        ("input", InputError, "^3 is too many; pass 2"),
        ("particular", RuntimeError, "^Particular: 1 and 2"),
        ("result", Exception, "pickle"),
    ],
)
def test_an_exception_arrives_as_it_was_or_in_its_words(kind, error, said):
    with pytest.raises(error, match=said) as caught:
        list(run_jobs(fail, [kind, kind], workers=2))
    assert caught.value.__notes__[0].startswith("in a worker process:\nTraceback")


def test_workers_are_kept_until_their_surroundings_change(tmp_path, monkeypatch):
    first = set(dict(run_jobs(pid, range(4), workers=2)).values())
    assert set(dict(run_jobs(pid, range(4), workers=2)).values()) <= first
    monkeypatch.setenv("SOMETHING", "else")
    assert not set(dict(run_jobs(pid, range(4), workers=2)).values()) & first
    assert not any(is_alive(process) for process in first)


def test_no_call_leaves_file_descriptors_or_workers_behind():
    counts = []
    for _ in range(4):
        with pytest.raises(InputError):
            list(run_jobs(fail, ["input", "input"], workers=2))
        counts.append(len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0)
    assert len(set(counts)) == 1
    assert not processes._idle


def test_a_generator_that_is_given_up_ends_its_workers(tmp_path):
    running = run_jobs(pid, range(4), workers=2)
    _, process = next(running)
    running.close()
    assert not is_alive(process)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them_and_say_nothing(tmp_path, number):
    """Killed, or interrupted together with its workers: in the middle of a job, or while they still start."""
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from thresher.executors.processes import run_in_processes\n"
        "def wait(path):\n"
        "    open(path, 'w').close()\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        f"    list(run_in_processes(wait, ['{tmp_path}/0', '{tmp_path}/1'], workers=2))\n"
    )
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # the tests may run where it is ignored
    process = subprocess.Popen(
        [sys.executable, script], stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=tmp_path, **heed
    )
    until(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists())
    workers = [child for child in children(process.pid) if "spawn_main" in child[1]]
    assert len(workers) == 2
    (os.kill if number == signal.SIGKILL else os.killpg)(process.pid, number)
    _, said = process.communicate()
    assert said == "" if number == signal.SIGKILL else said.count("Traceback") == 1  # its own
    until(lambda: not any(is_alive(worker) for worker, _ in workers))


def until(is_so) -> None:
    end = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def children(parent: int) -> list[tuple[int, str]]:
    """Pid and command line of each."""
    listed = subprocess.run(["ps", "-wweo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    return [(int(row[0]), row[2]) for row in rows if int(row[1]) == parent]
