# SPDX-License-Identifier: PostgreSQL
"""Order statistics, the rank test and fitted lines."""

import math
from typing import NamedTuple, Optional

SIGNIFICANT = 0.05


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def quantile(values, share):
    """The smallest value that at least this share of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def high_tail(values):
    """The 99th percentile, or the maximum where there are too few for one.

    Returns its name and its value.
    """
    if len(values) >= 100:
        return "p99", quantile(values, 0.99)
    return "max", max(values)


def median_interval(values, confidence=0.95):
    """A confidence interval for the median, from order statistics alone.

    Returns (low, high, coverage). It is the narrowest symmetric pair of order
    statistics that covers the median with the confidence asked for; where
    there are too few values for that, the whole range with what it covers.
    """
    ordered = sorted(values)
    n = len(ordered)
    if n == 1:
        return ordered[0], ordered[0], 0.0
    below = 0.0     # chance that fewer than `rank` values lie under the median
    best = None
    for rank in range(1, n // 2 + 1):
        below += math.comb(n, rank - 1) / 2 ** n
        coverage = 1 - 2 * below
        if best and coverage < confidence:
            break
        best = ordered[rank - 1], ordered[n - rank], coverage
    return best


def mann_whitney(first, second):
    """Two-sided p value of the Mann-Whitney U test.

    Exact where there are no ties and few values, else the normal approximation
    with corrections for ties and continuity.
    """
    n, m = len(first), len(second)
    if not n or not m:
        return 1.0
    u = sum((x > y) + (x == y) / 2 for x in first for y in second)
    u = min(u, n * m - u)
    pooled = sorted(first + second)
    ties = [pooled.count(value) for value in set(pooled)]
    if max(ties) == 1 and n * m <= 400:
        ways = _u_distribution(n, m)
        return min(1.0, 2 * sum(ways[:int(u) + 1]) / sum(ways))
    size = n + m
    variance = n * m / 12 * (size + 1 - sum(t ** 3 - t for t in ties) / (size * (size - 1)))
    if variance == 0:
        return 1.0
    z = max(0.0, n * m / 2 - u - 0.5) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def smallest_p(n, m):
    """What the test says of n values that are all below m others."""
    return 2 / math.comb(n + m, n)


def _u_distribution(n, m):
    """In how many orderings of n and m distinct values each U occurs."""
    table = {(0, j): [1] for j in range(m + 1)}
    for i in range(1, n + 1):
        table[i, 0] = [1]
        for j in range(1, m + 1):
            # the largest value is one of the first (beats j) or of the second
            ways = [0] * (i * j + 1)
            for u, count in enumerate(table[i - 1, j]):
                ways[u + j] += count
            for u, count in enumerate(table[i, j - 1]):
                ways[u] += count
            table[i, j] = ways
    return table[n, m]


class Fit(NamedTuple):
    """A straight line with the interval of its slope; None where it has none."""
    slope: float
    intercept: float
    low: Optional[float]
    high: Optional[float]

    def __call__(self, x):
        return self.intercept + self.slope * x


def line(xs, ys, confidence=0.95):
    """The least-squares line, the slope's interval from Student's t."""
    n = len(xs)
    if len(set(xs)) < 2:
        return None
    x_mean, y_mean = sum(xs) / n, sum(ys) / n
    spread = sum((x - x_mean) ** 2 for x in xs)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys)) / spread
    intercept = y_mean - slope * x_mean
    if n < 3:
        return Fit(slope, intercept, None, None)
    residue = sum((y - intercept - slope * x) ** 2 for x, y in zip(xs, ys))
    half = student_t(n - 2, confidence) * math.sqrt(residue / (n - 2) / spread)
    return Fit(slope, intercept, slope - half, slope + half)


def power(xs, ys):
    """The line through the logarithms: its slope is the exponent of growth."""
    return line([math.log(x) for x in xs], [math.log(y) for y in ys])


def student_t(freedom, confidence=0.95):
    """Between minus and plus this value Student's t lies with the confidence asked for."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)

    def inside(limit):
        # with t = sqrt(freedom) tan(angle) the integrand is a power of a cosine
        steps = 2000
        end = math.atan(limit / math.sqrt(freedom))
        cosines = [math.cos(end * i / steps) ** (freedom - 1) for i in range(steps + 1)]
        simpson = cosines[0] + cosines[-1] + 4 * sum(cosines[1:-1:2]) + 2 * sum(cosines[2:-1:2])
        return 2 * scale * math.sqrt(freedom) * simpson * end / steps / 3

    low, high = 0.0, 1e3
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < confidence else (low, middle)
    return high


def ecdf(values, most=200):
    """Steps (value, share of the values that do not exceed it); of many values only every so many-th and the last."""
    ordered = sorted(values)
    every = math.ceil(len(ordered) / most)
    return [(value, (i + 1) / len(ordered)) for i, value in enumerate(ordered) if (i + 1) % every == 0 or i + 1 == len(ordered)]
