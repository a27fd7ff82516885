# SPDX-License-Identifier: PostgreSQL
"""What bench/flip measured, as points: workload flip-P-B, P processes and B bytes."""

from . import arms, stats


def points(results, kind="flip"):
    """All (bytes, processes) of a kind of series."""
    found = {tuple(map(int, row.workload.split("-")[:0:-1])) for row in results.rows
             if row.workload.startswith(kind + "-") and not row.metric.endswith("_instructions")}
    return sorted(found)


def arms_of(results):
    return arms.in_order({row.arm for row in results.rows if row.workload.startswith("flip")}, arms.FLIP)


def median(results, arm, processes, length, metric="flip_p50", kind="flip"):
    """Of the repetitions; None where it was not measured."""
    values = results.values(arm, f"{kind}-{processes}-{length}", processes, metric)
    return stats.median(values) if values else None


def by_processes(results, arm, length, metric="flip_p50"):
    """[(processes, median)] for one size."""
    found = [(n, median(results, arm, n, length, metric)) for size, n in points(results) if size == length]
    return [(n, value) for n, value in found if value is not None]


def by_bytes(results, arm, processes, metric="flip_p50"):
    """[(bytes, median)] for one number of processes."""
    found = [(size, median(results, arm, processes, size, metric)) for size, n in points(results) if n == processes]
    return [(size, value) for size, value in found if value is not None]


def every(results, arm, length=None, processes=None, kind="flip"):
    """[(bytes, processes, closing)] of every repetition, for lines to be fitted through."""
    return [(size, n, us) for size, n in points(results, kind) if length in (None, size) and processes in (None, n)
            for us in results.values(arm, f"{kind}-{n}-{size}", n, "flip_p50")]
