"""Quantities in the form that the API server itself would write, so that renderings compare."""

import math
from decimal import Decimal

_BINARY = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20))


def memory_quantity(count: int) -> str:
    """Bytes rounded up to whole Mi, with the largest suffix that leaves no fraction: `5Gi`."""
    rounded = math.ceil(count / 2**20) * 2**20
    for suffix, unit in _BINARY:
        if rounded % unit == 0 and rounded >= unit:
            return f"{rounded // unit}{suffix}"
    return "0"


def cpu_quantity(cores: Decimal) -> str:
    """Cores rounded up to whole thousandths: `2`, `500m`."""
    thousandths = math.ceil(cores * 1000)
    if thousandths % 1000 == 0:
        return str(thousandths // 1000)
    return f"{thousandths}m"
