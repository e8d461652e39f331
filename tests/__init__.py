"""The type checker of tests: beartype, with whole numbers good for `float`, as Python's own rules have it (PEP 484)."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
