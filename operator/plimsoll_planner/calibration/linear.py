"""Small systems of linear equations."""

from collections.abc import Sequence


def solve(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """`x` of `matrix · x = right`, by elimination with row pivots.

    Raises ValueError if there is no single one.
    """
    size = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(rows[i][column]))
        if rows[pivot][column] == 0:
            raise ValueError("the equations have no single solution")
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in rows[column + 1 :]:
            factor = row[column] / rows[column][column]
            for k in range(column, size + 1):
                row[k] -= factor * rows[column][k]
    found = [0.0] * size
    for i in reversed(range(size)):
        known = sum(rows[i][k] * found[k] for k in range(i + 1, size))
        found[i] = (rows[i][size] - known) / rows[i][i]
    return found


def invert(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    """The inverse, row by row. Raises ValueError if there is none."""
    size = len(matrix)
    columns = [solve(matrix, [float(i == k) for i in range(size)]) for k in range(size)]
    return [[columns[k][i] for k in range(size)] for i in range(size)]
