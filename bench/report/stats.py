# SPDX-License-Identifier: PostgreSQL
"""Order statistics, the rank test, ratios of medians and slopes."""

import math
import random

SIGNIFICANT = 0.05
BOOT = 1000     # repetitions of the first boot are numbered from 1, of the second from 1001 on, ...
DRAWS = 4000


class Sample(list):
    """Values of {repetition: value}, which know the boot that each is of."""

    def __init__(self, repetitions):
        super().__init__(repetitions.values())
        self.boots = _by_boot(repetitions)


def named(repetition):
    boot, number = divmod(repetition, BOOT)
    return f"repetition {number}" + (f" of boot {boot + 1}" if boot else "")


def _by_boot(repetitions):
    """[{repetition: value}], one for each boot."""
    boots = {}
    for repetition, value in sorted(repetitions.items()):
        boots.setdefault(repetition // BOOT, {})[repetition] = value
    return list(boots.values())


def _drawn(numbers, boots):
    """Repetitions drawn with replacement: boots first, where there are several, as those of one are more alike; then theirs."""
    chosen = numbers.choices(boots, k=len(boots)) if len(boots) > 1 else boots
    return [repetition for boot in chosen for repetition in numbers.choices(list(boot), k=len(boot))]


def _percentiles(sample, confidence):
    """What the middle part of many draws lies between. The same every time."""
    numbers = random.Random(1)
    drawn = sorted(sample(numbers) for _ in range(DRAWS))
    outside = int((1 - confidence) / 2 * DRAWS)
    return drawn[outside], drawn[-1 - outside]


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


def tails(values):
    """(name, value): the 99th percentile, where there are enough for one, and the maximum."""
    if len(values) >= 100:
        yield "p99", quantile(values, 0.99)
    yield "max", max(values)


def median_interval(values, confidence=0.95):
    """A confidence interval for the median, from order statistics alone.

    Returns (low, high, coverage). It is the narrowest symmetric pair of order
    statistics that covers the median with the confidence asked for; where
    there are too few values for that, the whole range with what it covers.
    Of a Sample of several boots: what drawing boots and their repetitions gives.
    """
    boots = getattr(values, "boots", [])
    if len(boots) > 1:
        all_values = {repetition: value for boot in boots for repetition, value in boot.items()}
        low, high = _percentiles(lambda numbers: median([all_values[i] for i in _drawn(numbers, boots)]), confidence)
        return low, high, confidence
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


def ratio_interval(above, below, confidence=0.95, paired=True):
    """An interval for the ratio of two medians: (ratio, low, high).

    above and below: {repetition: value}. Boots and repetitions are drawn with replacement (bootstrap, percentiles), both values
    of one together where both have it, because arms of one repetition were measured beside each other; unless they were not
    (`paired`).
    """
    shared = sorted(set(above) & set(below))
    if paired and len(shared) == len(above) == len(below):
        boots = _by_boot(above)

        def sample(numbers):
            chosen = _drawn(numbers, boots)
            return median([above[i] for i in chosen]) / median([below[i] for i in chosen])
    else:
        def sample(numbers):
            return median([above[i] for i in _drawn(numbers, _by_boot(above))]) / median([below[i] for i in _drawn(numbers, _by_boot(below))])
    ratio = median(above.values()) / median(below.values())
    if min(len(above), len(below)) < 2:
        return ratio, ratio, ratio
    return (ratio, *_percentiles(sample, confidence))


def holm(chances):
    """p values of many tests, corrected for their number (Holm): in the order given."""
    corrected, worst = [1.0] * len(chances), 0.0
    for rank, i in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        worst = max(worst, min(1.0, (len(chances) - rank) * chances[i]))
        corrected[i] = worst
    return corrected


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


def slope(points):
    """The median of the slopes of all pairs (Theil and Sen): one wild point does not turn it. None with one x only."""
    slopes = [(y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(points) for x2, y2 in points[:i] if x1 != x2]
    return median(slopes) if slopes else None
