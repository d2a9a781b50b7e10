"""The assignment problem, small and dense (the capture side may use NumPy only)."""

from __future__ import annotations

import numpy as np


def assign(cost: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of (row, column) with the smallest total cost; every row of the shorter side is paired.

    The Hungarian method with potentials (Kuhn 1955; the shortest augmenting path form of Jonker and Volgenant 1987).

    Args:
        cost: float [R, C], finite.
    """
    cost = np.asarray(cost, np.float64)
    if cost.size == 0:
        return []
    if cost.shape[0] > cost.shape[1]:
        return sorted((row, column) for column, row in assign(cost.T))
    rows, columns = cost.shape
    u, v = np.zeros(rows + 1), np.zeros(columns + 1)
    match = np.zeros(columns + 1, int)
    way = np.zeros(columns + 1, int)
    for row in range(1, rows + 1):
        match[0] = row
        column = 0
        minimum = np.full(columns + 1, np.inf)
        used = np.zeros(columns + 1, bool)
        while True:
            used[column] = True
            current = match[column]
            reduced = cost[current - 1] - u[current] - v[1:]
            free = ~used[1:]
            better = free & (reduced < minimum[1:])
            minimum[1:][better] = reduced[better]
            way[1:][better] = column
            following = int(np.argmin(np.where(free, minimum[1:], np.inf))) + 1
            delta = minimum[following]
            u[match[used]] += delta
            v[used] -= delta
            minimum[~used] -= delta
            column = following
            if match[column] == 0:
                break
        while column:
            match[column] = match[way[column]]
            column = way[column]
    return sorted((int(match[c]) - 1, c - 1) for c in range(1, columns + 1) if match[c])
