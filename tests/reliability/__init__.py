"""Programs that end, damage and race the commands, and count what does not survive: `python -m tests.reliability`.

Each program is a module of this package with `check(ground, *, count, seed, ...) -> Report`, listed in `PROGRAMS`. What
`make test` runs of it is its `FAST`, keywords of `check`; without, nothing is.
"""

# A module of this package, and how many cases it tries at full size.
PROGRAMS = {
    "crash_points": 300,
    "power_cuts": 100,
    "damage": 1000,
    "concurrency": 50,
    "bad_inputs": 300,
    "hostile": 1,
    "kills": 100,
    "limits": 300,
    "soak": 60,  # minutes
}
