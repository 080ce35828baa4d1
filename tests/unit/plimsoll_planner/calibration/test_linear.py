import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_planner.calibration.linear import invert, solve

numbers = st.floats(-10, 10)


@settings(max_examples=20)
@given(st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=3, max_size=3))
def test_an_inverse_undoes(rows: list[list[float]]) -> None:
    matrix = [
        [value + (40 if i == k else 0) for k, value in enumerate(row)] for i, row in enumerate(rows)
    ]
    inverse = invert(matrix)
    for i in range(3):
        product = [sum(matrix[i][k] * inverse[k][j] for k in range(3)) for j in range(3)]
        assert product == pytest.approx([float(i == j) for j in range(3)], abs=1e-9)


def test_rows_are_exchanged_where_a_pivot_is_zero() -> None:
    assert solve([[0.0, 2.0], [4.0, 0.0]], [6.0, 8.0]) == [2.0, 3.0]


def test_equations_without_a_single_solution_are_refused() -> None:
    with pytest.raises(ValueError, match="no single solution"):
        solve([[1.0, 1.0], [1.0, 1.0]], [1.0, 2.0])
