# SPDX-License-Identifier: PostgreSQL
"""What the comparison should show, each computed from the rows or not measured."""

from typing import NamedTuple, Optional

from . import stats

GIB = 2 ** 30
TIB = 2 ** 40


class Verdict(NamedTuple):
    goal: str
    met: Optional[bool]     # None: not measured
    measured: str


def _median(results, arm, processes, size, metric="flip_p50"):
    values = results.values(arm, f"flip-{processes}-{size}", processes, metric)
    return stats.median(values) if values else None


def _at_most(limit, dividend, divisor):
    """(met, text) for dividend / divisor <= limit, both in microseconds."""
    if dividend is None or divisor is None:
        return None, "not measured"
    ratio = dividend / divisor
    return ratio <= limit, f"{ratio:.2f} times ({dividend:,.1f} us against {divisor:,.1f} us)"


def closing_against_mprotect(results):
    goal = ("64 running processes x 1 GiB of 4 KiB pages: a closing with mshare is at least "
            "1,000 times faster than with mprotect")
    slow = _median(results, "mprotect", 64, GIB)
    fast = _median(results, "mshare", 64, GIB)
    if slow is None or fast is None:
        return Verdict(goal, None, "not measured")
    text = f"{slow / fast:,.0f} times ({slow:,.0f} us against {fast:,.1f} us)"
    single = _median(results, "mprotect", 1, GIB)
    if single is not None:
        text += f"; one single process's mprotect takes {single:,.0f} us, {single / fast:,.0f} times"
    return Verdict(goal, slow / fast >= 1000, text)


def growth_with_bytes(results):
    goal = "mshare: closing 1 TiB takes at most 10 times what 1 GiB takes, running processes"
    worst = None
    for processes in (1, 8, 64, 256):
        big, small = (_median(results, "mshare", processes, size) for size in (TIB, GIB))
        if big is not None and small is not None and (worst is None or big / small > worst[1] / worst[2]):
            worst = processes, big, small
    if worst is None:
        return Verdict(goal, None, "not measured")
    met, text = _at_most(10, worst[1], worst[2])
    return Verdict(goal, met, f"{text}, worst of all numbers of processes ({worst[0]})")


def growth_with_processes(results):
    goal = "mshare: at 1 TiB 256 running processes take at most 2 times what one takes"
    return Verdict(goal, *_at_most(2, _median(results, "mshare", 256, TIB),
                                   _median(results, "mshare", 1, TIB)))


def _added_by_reading(results, arm, metric, clients):
    """What reading the whole pool adds to each backend, in bytes or faults."""
    read = results.values(arm, "backends", clients, metric)
    pinned = results.values(arm, "backends-pin", clients, metric)
    if not read or not pinned:
        return None
    return (stats.median(read) - stats.median(pinned)) / clients


def _cost_of_a_backend(results, metric, what):
    goal = (f"mshare: {what} of a backend do not grow with what others have mapped: reading the whole "
            "pool, beyond pinning its buffers, adds at most a tenth of what it adds with memfd")
    parts = []
    met = None
    for clients in sorted({row.clients for row in results.select(workload="backends")}):
        ours, theirs = (_added_by_reading(results, arm, metric, clients) for arm in ("mshare", "memfd"))
        if ours is None or theirs is None:
            continue
        good = ours <= theirs / 10
        met = good if met is None else met and good
        parts.append(f"{clients} backends: {ours:,.0f} each, memfd {theirs:,.0f}")
    return Verdict(goal, met, "; ".join(parts) or "not measured")


def page_tables(results):
    return _cost_of_a_backend(results, "page_table_bytes", "page tables (bytes)")


def faults(results):
    return _cost_of_a_backend(results, "minor_faults", "minor faults")


def time_closed(results):
    goal = "mshare: at 10 flips a second the pool is closed at most 1 % of the time"
    rows = [row for row in results.select("time_closed")
            if row.arm == "mshare" and row.flips_per_s == 10]
    if not rows:
        return Verdict(goal, None, "not measured")
    worst = max(rows, key=lambda row: row.value)
    return Verdict(goal, worst.value <= 0.01,
                   f"{100 * worst.value:.3f} % in the worst of {len(rows)} runs "
                   f"({worst.workload}, {worst.clients} clients)")


ALL = (closing_against_mprotect, growth_with_bytes, growth_with_processes,
       page_tables, faults, time_closed)


def verdicts(results):
    return [goal(results) for goal in ALL]
