"""Numbers as a person reads them."""

import math

MINUS = "\N{MINUS SIGN}"
_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def fixed(value: float, digits: int = 3) -> str:
    """With a fixed number of decimals, so that a column aligns."""
    return f"{value:.{digits}f}".replace("-", MINUS) if math.isfinite(value) else "–"


def signed(value: float, digits: int = 3) -> str:
    """With its sign, + or a true minus; zero has none."""
    text = f"{value:+.{digits}f}"
    return fixed(0, digits) if float(text) == 0 else text.replace("-", MINUS)


def scaled(value: float | None) -> str:
    """Three digits and a decimal prefix: 1.57 M, 20.3 T."""
    if value is None:
        return "–"
    for size, prefix in _PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}" if abs(value) / size < 999.5 else f"{value / size:,.0f} {prefix}"
    return f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """0.4 s, 12 s, 3 min 05 s, 2 h 07 min."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def share(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.1f} %"
