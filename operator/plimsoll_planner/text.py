"""How the planner writes figures in its messages."""

import math


def duration(seconds: float) -> str:
    """`7.5ms`, `640ms`, `12.5s`, or `never` for infinity."""
    if math.isinf(seconds):
        return "never"
    if seconds < 0.01:
        return f"{seconds * 1e3:.1f}ms"
    return f"{seconds * 1e3:.0f}ms" if seconds < 10 else f"{seconds:.1f}s"


def gibibytes(count: float) -> str:
    """`141.1Gi`, or `12.3Mi` below a tenth of that unit."""
    return f"{count / 2**30:.1f}Gi" if count >= 2**30 / 10 else f"{count / 2**20:.1f}Mi"


def figure(value: float, digits: int = 3) -> str:
    """At most `digits` significant digits, without exponent or trailing zeros: `3.12`, `1250`."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def money(amount: float) -> str:
    """Two decimals, or three significant digits where that is more: `1250.00`, `1.60`, `0.0102`."""
    text = figure(amount)
    return text if len(text.partition(".")[2]) > 2 else f"{amount:.2f}"


def round_down(value: float, digits: int = 3) -> float:
    """The largest number of `digits` significant digits that is not above `value`; 0 for 0."""
    unit = _unit(value, digits)
    return float(f"{math.floor(value / unit + 1e-9) * unit:.12g}")


def round_up(value: float, digits: int = 3) -> float:
    """The smallest number of `digits` significant digits that is not below `value`; 0 for 0."""
    unit = _unit(value, digits)
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.12g}")


def _unit(value: float, digits: int) -> float:
    if value <= 0:
        return 1.0
    return float(10.0 ** (math.floor(math.log10(value)) - digits + 1))
