# SPDX-License-Identifier: PostgreSQL
"""What the comparison should show, each computed from the rows or not measured."""

from typing import NamedTuple, Optional

from . import flips, stats
from .units import percent, size

GIB = 2 ** 30
TIB = 2 ** 40


class Verdict(NamedTuple):
    goal: str
    met: Optional[bool]     # None: not measured
    measured: str


def _unmeasured(goal):
    return Verdict(goal, None, "not measured")


def _interval(values):
    low, high, _ = stats.median_interval(values)
    return f"{stats.median(values):,.0f} [{low:,.0f} .. {high:,.0f}]"


def _faster(goal, slow, fast, wanted, floor):
    """slow / fast >= wanted; and what the least that a flip can take would reach."""
    if slow is None or fast is None:
        return _unmeasured(goal)
    text = f"{slow / fast:,.0f} times ({slow:,.0f} us against {fast:,.1f} us)"
    if floor is not None:
        text += f"; a bare TLB flush of all CPUs in the same state takes {floor:,.1f} us, which would be {slow / floor:,.0f} times"
    return Verdict(goal, slow / fast >= wanted, text)


def closing_against_mprotect(results):
    return _faster("closing of 64 running processes x 1 GiB of 4 KiB pages: mshare at least 20,000 times faster "
                   "than coordinated mprotect",
                   flips.median(results, "mprotect", 64, GIB), flips.median(results, "mshare", 64, GIB), 20000,
                   flips.median(results, "mshare", 64, GIB, "floor_p50"))


def closing_against_one_process(results):
    alone = [flips.median(results, "mprotect", 1, GIB, metric) for metric in ("flip_p50", "own_p50")]
    return _faster("the same closing at least 1,000 times faster than one single process's own mprotect, the best "
                   "that a CPU for each could reach",
                   min((us for us in alone if us is not None), default=None), flips.median(results, "mshare", 64, GIB), 1000,
                   flips.median(results, "mshare", 64, GIB, "floor_p50"))


def growth_with_processes(results):
    goal = ("mshare, 1 TiB, running: 256 processes take at most 2 times what one takes, and 1,024 at most 4 times; "
            "or at most 1.5 times a bare flush of all CPUs in the same state")
    one = flips.median(results, "mshare", 1, TIB)
    met, parts = None, []
    for processes, limit in ((256, 2), (1024, 4)):
        many = flips.median(results, "mshare", processes, TIB)
        if one is None or many is None:
            continue
        floor = flips.median(results, "mshare", processes, TIB, "floor_p50")
        good = many / one <= limit or floor is not None and many / floor <= 1.5
        met = good if met is None else met and good
        parts.append(f"{processes:,} processes {many / one:.2f} times ({many:,.1f} us against {one:,.1f} us"
                     + (f", bare flush {floor:,.1f} us)" if floor is not None else ")"))
    return Verdict(goal, met, "; ".join(parts) or "not measured")


def slope(results):
    goal = "mshare: a closing takes at most 100 ns more for each attached process, at every size"
    found = []
    for kind, state in (("flip", "running"), ("flip_idle", "sleeping")):
        for length in sorted({length for length, _ in flips.points(results, kind)}):
            points = [(n, us) for _, n, us in flips.every(results, "mshare", length, kind=kind)]
            fit = stats.line(*zip(*points)) if points else None
            if fit:
                found.append((fit.slope, fit, f"{size(length)}, {state}"))
    if not found:
        return _unmeasured(goal)
    worst, fit, where = max(found)
    interval = "" if fit.low is None else f" [{1e3 * fit.low:,.0f} .. {1e3 * fit.high:,.0f}]"
    return Verdict(goal, worst <= 0.1, f"{1e3 * worst:,.0f} ns{interval} at the worst of {len(found)} sizes ({where})")


def growth_with_bytes(results):
    goal = "mshare, running processes: 1 TiB takes at most 2.5 times what 1 GiB takes"
    worst = None
    for length, processes in flips.points(results):
        big, small = (flips.median(results, "mshare", processes, each) for each in (TIB, GIB))
        if length == TIB and big and small and (worst is None or big / small > worst[1] / worst[2]):
            worst = processes, big, small
    if worst is None:
        return _unmeasured(goal)
    processes, big, small = worst
    return Verdict(goal, big / small <= 2.5, f"{big / small:.2f} times ({big:,.1f} us against {small:,.1f} us), "
                   f"the worst of all numbers of processes ({processes})")


def nothing_of_its_own(results):
    goal = "mshare: 0 page-table pages and 0 faults in each additional process for what is mapped already"
    rows = [row for row in results.rows if row.arm == "mshare" and row.metric in ("touch_faults", "touch_table_bytes")]
    if not rows:
        return _unmeasured(goal)
    worst = {name: max(row.value for row in rows if row.metric == name) for name in {row.metric for row in rows}}
    return Verdict(goal, not any(worst.values()), "; ".join(
        f"{name.replace('touch_', '').replace('_', ' ')} at most {value:,.0f}" for name, value in sorted(worst.items())))


def page_tables(results):
    goal = ("mshare: page tables of a backend that has read the whole pool are within 8 KiB of those of one that "
            "has pinned its buffers and read nothing")
    met, parts = None, []

    def one_more(ours, text):
        nonlocal met
        met = ours <= 8192 and met is not False
        parts.append(text)

    ours, theirs = (results.values(arm, "one-backend", 1, "pool_table_bytes") for arm in ("mshare", "memfd"))
    if ours:
        one_more(max(ours), f"at most {max(ours):,.0f} bytes in {len(ours)} runs of one backend"
                 + (f", memfd {stats.median(theirs):,.0f}" if theirs else ""))
    for clients in sorted({row.clients for row in results.select(workload="backends")}):
        # of the whole machine: the same server's, so what else it has cancels out
        def each(arm):
            read, pinned = (results.values(arm, workload, clients, "machine_table_bytes")
                            for workload in ("backends", "backends-pin"))
            return (stats.median(read) - stats.median(pinned)) / clients if read and pinned else None

        ours, theirs = each("mshare"), each("memfd")
        if ours is not None:
            one_more(ours, f"{clients} backends: {ours:,.0f} bytes each" + (f", memfd {theirs:,.0f}" if theirs is not None else ""))
    return Verdict(goal, met, "; ".join(parts) or "not measured")


def cold_backend(results):
    goal = ("a new backend that reads a warm pool: mshare at least 3 times faster from connect to disconnect "
            "than stock")
    ours, theirs = (results.values(arm, "cold-backend", 1, "session_us") for arm in ("mshare", "stock"))
    if not ours or not theirs:
        return _unmeasured(goal)
    ours, theirs = stats.median(ours), stats.median(theirs)
    text = f"{theirs / ours:.2f} times ({theirs / 1e3:,.1f} ms against {ours / 1e3:,.1f} ms)"
    huge = results.values("hugetlb", "cold-backend", 1, "session_us")
    if huge:
        text += f"; with huge pages, and so next to no faults, {stats.median(huge) / 1e3:,.1f} ms"
    return Verdict(goal, theirs / ours >= 3, text)


def time_closed(results):
    goal = "mshare: at 10 flips a second the pool is closed at most 0.1 % of the time, and no transaction fails"
    rows = [row for row in results.select("time_closed") if row.arm == "mshare" and row.flips_per_s == 10]
    if not rows:
        return _unmeasured(goal)
    worst = max(rows, key=lambda row: row.value)
    errors = sum(row.value for row in results.select("client_errors") if row.arm == "mshare" and row.flips_per_s == 10)
    middle = stats.median([row.value for row in rows])
    load = []
    for workload, clients in sorted({(row.workload, row.clients) for row in rows}):
        tps = [results.values("mshare", workload, clients, "tps", rate) for rate in (10, 0)]
        if all(tps):
            load.append(f"{workload} {_interval(tps[0])} TPS, without flips {_interval(tps[1])}")
    return Verdict(goal, worst.value <= 0.001 and not errors,
                   f"{percent(worst.value)} in the worst of {len(rows)} runs ({worst.workload}, {worst.clients} clients), "
                   f"median {percent(middle)}; {errors:.0f} failed transactions; " + "; ".join(load))


def no_cost_without_flips(results):
    goal = "mshare without flips: TPS do not differ from stock's by more than the same server's differ (A/A)"
    parts, slower, untold = [], False, []
    for workload, clients in results.pgbench_points():
        stock, ours = (results.values(arm, workload, clients, "tps") for arm in ("stock", "mshare"))
        noise = results.noise(workload, clients)
        if not stock or not ours or noise is None:
            continue
        if stats.smallest_p(len(stock), len(ours)) >= stats.SIGNIFICANT:
            untold.append(f"{workload} {clients}")
            continue
        share, p = stats.median(ours) / stats.median(stock) - 1, stats.mann_whitney(stock, ours)
        slower = slower or (share < -noise and p < stats.SIGNIFICANT)
        parts.append(f"{workload}, {clients} clients: {100 * share:+.1f} % (p={p:.2f}), A/A {100 * noise:.1f} %")
    told = bool(parts)
    if untold:
        parts.append("too few runs to tell: " + ", ".join(untold))
    return Verdict(goal, not slower if told else None, "; ".join(parts) or "not measured")


ALL = (closing_against_mprotect, closing_against_one_process, growth_with_processes, slope, growth_with_bytes,
       nothing_of_its_own, page_tables, cold_backend, time_closed, no_cost_without_flips)


def verdicts(results):
    return [goal(results) for goal in ALL]
