# SPDX-License-Identifier: PostgreSQL
"""What bench/flip measured, as points: workload flip-P-B, P processes and B bytes.

What repeats is the repetition: its flips share one crew of processes, so that a repetition's median is one value, and
intervals are over repetitions.
"""

from . import arms, stats
from .units import size

AGAIN = "mshare-again"      # the same arm once more: A/A


def points(results, kind="flip"):
    """All (bytes, processes) of a kind of series."""
    found = {tuple(map(int, row.workload.split("-")[:0:-1])) for row in results.rows
             if row.workload.startswith(kind + "-") and not row.metric.endswith("_instructions")}
    return sorted(found)


def arms_of(results):
    return arms.in_order({row.arm for row in results.rows if row.workload.startswith("flip")}, arms.FLIP)


def words(workload):
    """A point as people say it: flip-64-1073741824 is "1 GiB, 64 running"."""
    kind, processes, length = workload.split("-")
    return f"{size(int(length))}, {int(processes):,} {'running' if kind == 'flip' else 'sleeping'}"


def of_repetitions(results, arm, processes, length, metric="flip_p50", kind="flip"):
    """{repetition: value}"""
    return results.repetitions(arm, f"{kind}-{processes}-{length}", processes, metric)


def median(results, arm, processes, length, metric="flip_p50", kind="flip"):
    """Of the repetitions; None where it was not measured."""
    values = of_repetitions(results, arm, processes, length, metric, kind)
    return stats.median(values.values()) if values else None


def times_less(results, slow, fast, processes, length, kind="flip"):
    """How many times less an arm's closing takes than another's: (ratio, low, high), None where one was not measured."""
    above, below = (of_repetitions(results, arm, processes, length, kind=kind) for arm in (slow, fast))
    return stats.ratio_interval(above, below) if above and below else None


def one_process(results, length, kind="flip"):
    """{repetition: us} of one single process's own mprotect, the best that a CPU for each could reach; empty if not measured."""
    found = [of_repetitions(results, "mprotect", 1, length, metric, kind) for metric in ("own_p50", "flip_p50")]
    return min((values for values in found if values), key=lambda values: stats.median(values.values()), default={})


def earlier_harness(results):
    """Did bench/flip not yet keep the first flip apart?"""
    metrics = {row.metric for row in results.rows if row.workload.startswith("flip") and not row.metric.endswith("_instructions")}
    return "flip_p50" in metrics and "flip_first" not in metrics


def is_cold(results, arm, processes, length, kind="flip"):
    """Is its one flip a repetition the first after the processes came?"""
    flips = of_repetitions(results, arm, processes, length, "n", kind)
    return bool(flips) and min(flips.values()) < 2 and not of_repetitions(results, arm, processes, length, "flip_first", kind)


def present(results, arm, processes, length, kind="flip"):
    """The share of the range's pages that are in the page tables; None where that was not told."""
    pages = median(results, arm, processes, length, "entries_mapped", kind)
    return pages * 4096 / length if pages is not None else None


def by_processes(results, arm, length, metric="flip_p50"):
    """[(processes, median)] for one size."""
    found = [(n, median(results, arm, n, length, metric)) for size, n in points(results) if size == length]
    return [(n, value) for n, value in found if value is not None]


def by_bytes(results, arm, processes, metric="flip_p50"):
    """[(bytes, median)] for one number of processes."""
    found = [(size, median(results, arm, processes, size, metric)) for size, n in points(results) if n == processes]
    return [(size, value) for size, value in found if value is not None]


def every(results, arm, length=None, processes=None, kind="flip"):
    """{repetition: [(bytes, processes, closing)]}, for lines to be fitted through; without what is cold."""
    found = {}
    for length_there, n in points(results, kind):
        if length in (None, length_there) and processes in (None, n) and not is_cold(results, arm, n, length_there, kind):
            for rep, us in of_repetitions(results, arm, n, length_there, kind=kind).items():
                found.setdefault(rep, []).append((length_there, n, us))
    return found


def slopes(series, x_of, transform=lambda value: value):
    """The slope of each repetition over x, those that have one."""
    found = {repetition: stats.slope([(transform(x_of(point)), transform(point[2])) for point in points if point[2] > 0])
             for repetition, points in sorted(series.items())}
    return stats.Sample({repetition: slope for repetition, slope in found.items() if slope is not None})
