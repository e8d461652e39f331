"""How much memory a script needs at most, in a process of its own."""

import os
import subprocess
import sys
import textwrap

CHILD = (
    "import resource, subprocess, sys; code = subprocess.call([sys.executable, '-c', *sys.argv[1:]]);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)


def peak_memory(script: str, *arguments: object) -> float:
    """Resident memory in MB, on one thread. `script` prints nothing; `arguments` are its `sys.argv[1:]`."""
    # Begun from a small process: before a child begins it counts as large as its parent, and the tests are large.
    command = [sys.executable, "-c", CHILD, textwrap.dedent(script), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return int(done.stdout) / (2**20 if sys.platform == "darwin" else 2**10)
