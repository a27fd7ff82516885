# SPDX-License-Identifier: PostgreSQL
"""What the comparison should show, each computed from the rows or not measured.

Three targets on times were set before anything was measured, and stand as they were; each has a restated one beside it, which
says what this machine can tell.
"""

from typing import NamedTuple, Optional

from . import flips, stats
from .units import count, micro, percent, ratio, size

GIB = 2 ** 30
TIB = 2 ** 40
MARGIN = 0.05       # TPS: what counts as no worse
NOT_MEASURED = "not measured"


class Verdict(NamedTuple):
    goal: str
    met: Optional[bool]     # None: not measured, or not decided
    measured: str
    why: str = ""           # it was missed, or is not decided

    def word(self):
        if self.met is None:
            return NOT_MEASURED if self.measured == NOT_MEASURED else "not decided"
        return "met" if self.met else "missed"


def _unmeasured(goal):
    return Verdict(goal, None, NOT_MEASURED)


def _between(low, high, form):
    return f"[{form(low)} .. {form(high)}]"


def _within(goal, interval, limit, text, why=""):
    """At most `limit`: met if the whole interval is, missed if none of it is, else not decided."""
    _, low, high = interval
    if high <= limit:
        return Verdict(goal, True, text)
    if low > limit:
        return Verdict(goal, False, text, why)
    return Verdict(goal, None, text, why or "the interval lies on both sides")


def instructions(results):
    goal = ("closing 1 GiB of 4 KiB pages in 8 sleeping processes: mshare executes at most 1/20,000 of the instructions of mprotect in "
            "each process")
    slow, fast = (results.values(arm, f"flip_idle-8-{GIB}", 8, "flip_instructions") for arm in ("mprotect", "mshare"))
    if not slow or not fast:
        return _unmeasured(goal)
    slow, fast = stats.median(slow), stats.median(fast)
    return Verdict(goal, slow / fast >= 20000, f"{count(fast)} against {count(slow)}: 1/{ratio(slow / fast)}")


def _faster(goal, interval, wanted, within_reach):
    """A target set before: slow / fast >= wanted; and what a flush of all CPUs alone would reach."""
    if interval is None:
        return _unmeasured(goal)
    times, low, high = interval
    why = f"a TLB flush of all CPUs alone would be {ratio(within_reach)} times: which no flip of running processes can do without" if within_reach else ""
    return Verdict(goal, times >= wanted, f"{ratio(times)} times {_between(low, high, ratio)}", why if times < wanted else "")


def closing_against_mprotect(results):
    slow, flush = flips.median(results, "mprotect", 64, GIB), flips.median(results, "mshare", 64, GIB, "flush_all_p50")
    return _faster("closing 1 GiB of 4 KiB pages in 64 running processes: mshare at least 20,000 times faster than mprotect in each process",
                   flips.times_less(results, "mprotect", "mshare", 64, GIB), 20000, slow / flush if slow and flush else None)


def closing_against_one_process(results):
    slow = flips.one_process(results, GIB)
    fast, flush = flips.of_repetitions(results, "mshare", 64, GIB), flips.median(results, "mshare", 64, GIB, "flush_all_p50")
    return _faster("the same closing at least 1,000 times faster than one single process's own mprotect, the best that a CPU for each "
                   "could reach", stats.ratio_interval(slow, fast) if slow and fast else None, 1000,
                   stats.median(slow.values()) / flush if slow and flush else None)


def closing_against_a_flush(results):
    goal = "closing 1 GiB in 64 running processes: mshare takes at most 2 times a TLB flush of all CPUs beside it"
    ours, flush = (flips.of_repetitions(results, "mshare", 64, GIB, metric) for metric in ("flip_p50", "flush_all_p50"))
    if not ours or not flush:
        return _unmeasured(goal)
    interval = stats.ratio_interval(ours, flush)
    return _within(goal, interval, 2, f"{interval[0]:.2f} times {_between(*interval[1:], '{:.2f}'.format)}")


def growth_with_processes(results):
    goal = ("mshare, 1 TiB, running: 256 processes take at most 2 times what one takes, and 1,024 at most 4 times; "
            "or at most 1.5 times a TLB flush of all CPUs in the same state")
    one = flips.median(results, "mshare", 1, TIB)
    met, parts = None, []
    for processes, limit in ((256, 2), (1024, 4)):
        many = flips.median(results, "mshare", processes, TIB)
        if one is None or many is None:
            continue
        flush = flips.median(results, "mshare", processes, TIB, "flush_all_p50")
        good = many / one <= limit or flush is not None and many / flush <= 1.5
        met = good if met is None else met and good
        parts.append(f"{processes:,} processes {many / one:.2f} times ({micro(many)} against {micro(one)}"
                     + (f"; flush {micro(flush)})" if flush is not None else ")"))
    return Verdict(goal, met, "; ".join(parts) or NOT_MEASURED)


def slope(results):
    goal = "mshare: a closing takes at most 100 ns more for each attached process, at every size"
    found, left_out = [], False
    for kind, state in (("flip", "running"), ("flip_idle", "sleeping")):
        for length in sorted({length for length, _ in flips.points(results, kind)}):
            left_out = left_out or any(flips.is_cold(results, "mshare", n, length, kind)
                                       for there, n in flips.points(results, kind) if there == length)
            slopes = flips.slopes(flips.every(results, "mshare", length, kind=kind), lambda point: point[1])
            if slopes:
                low, high, _ = stats.median_interval(slopes)
                found.append((stats.median(slopes), low, high, f"{size(length)}, {state}"))
    if not found:
        return _unmeasured(goal)
    middle, low, high, where = max(found, key=lambda each: each[2])
    text = (f"{1e3 * middle:,.0f} ns {_between(1e3 * low, 1e3 * high, '{:,.0f}'.format)} where its interval reaches highest, of "
            f"{len(found)} sizes ({where})" + ("; points of one cold flip a repetition are not in it" if left_out else ""))
    return _within(goal, (middle, low, high), 0.1, text)


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
    share = flips.present(results, "mshare", processes, TIB)
    return Verdict(goal, big / small <= 2.5, f"{big / small:.2f} times ({micro(big)} against {micro(small)}), "
                   f"the worst of all numbers of processes ({processes:,})"
                   + (f"; {percent(share)} of the 1 TiB present" if share is not None and share < 1 else ""))


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
    return Verdict(goal, met, "; ".join(parts) or NOT_MEASURED)


def _sessions(results, arm):
    return results.repetitions(arm, "cold-backend", 1, "session_us")


def cold_backend(results):
    goal = ("a new backend that reads a warm pool: mshare at least 3 times faster from connect to disconnect "
            "than stock")
    ours, theirs, huge = (_sessions(results, arm) for arm in ("mshare", "stock", "hugetlb"))
    if not ours or not theirs:
        return _unmeasured(goal)
    times, low, high = stats.ratio_interval(theirs, ours)
    why = ""
    if huge:
        why = (f"stock in huge pages, with next to no faults, is {stats.median(theirs.values()) / stats.median(huge.values()):.2f} times "
               "faster: the rest of the session is the executor and the connection, not faults")
    return Verdict(goal, times >= 3, f"{times:.2f} times {_between(low, high, '{:.2f}'.format)}", why if times < 3 else "")


def cold_backend_against_huge_pages(results):
    goal = "a new backend that reads a warm pool: with mshare at most 1.25 times the time of stock in huge pages"
    ours, huge = (_sessions(results, arm) for arm in ("mshare", "hugetlb"))
    if not ours or not huge:
        return _unmeasured(goal)
    interval = stats.ratio_interval(ours, huge)
    return _within(goal, interval, 1.25, f"{interval[0]:.2f} times {_between(*interval[1:], '{:.2f}'.format)}")


def time_closed(results):
    goal = "mshare: at 10 flips a second the pool is closed at most 0.1 % of the time, and no transaction fails"
    rows = [row for row in results.select("time_closed") if row.arm == "mshare" and row.flips_per_s == 10]
    if not rows:
        return _unmeasured(goal)
    worst = max(rows, key=lambda row: row.value)
    errors = sum(row.value for row in results.select("client_errors") if row.arm == "mshare" and row.flips_per_s == 10)
    middle = stats.median([row.value for row in rows])
    met = worst.value <= 0.001 and not errors
    why = ""
    times = [results.values("mshare", worst.workload, worst.clients, metric, 10) for metric in ("flip_p50", "up_p50")]
    if not met and all(times):
        why = (f"ten median closings and reopenings of this machine take {percent(10 * sum(map(stats.median, times)) / 1e6)} by themselves; "
               "the rest is the flipping backend's wait for a CPU")
    return Verdict(goal, met, f"{percent(worst.value)} in the worst of {len(rows)} runs ({worst.workload}, {worst.clients} clients), "
                   f"median {percent(middle)}; {errors:.0f} failed transactions", why)


def throughput(results):
    goal = f"mshare without flips: TPS at least {percent(1 - MARGIN)} of stock's (no worse, by the whole interval)"
    mets, parts = [], []
    for workload, clients in results.pgbench_points():
        stock, ours = (results.repetitions(arm, workload, clients, "tps") for arm in ("stock", "mshare"))
        if not stock or not ours or min(len(stock), len(ours)) < 5:
            continue
        share, low, high = stats.ratio_interval(ours, stock)
        mets.append(True if low >= 1 - MARGIN else False if high < 1 - MARGIN else None)
        noise = results.noise(workload, clients)
        parts.append(f"{workload}, {clients:,} clients: {100 * share:.0f} % {_between(low, high, lambda each: f'{100 * each:.0f}')}"
                     + (f", A/A {100 * (1 + noise):.0f} %" if noise is not None else ""))
    if not parts:
        return _unmeasured(goal) if not results.pgbench_points() else Verdict(goal, None, "too few runs to tell")
    met = False if False in mets else None if None in mets else True
    return Verdict(goal, met, "; ".join(parts),
                   "" if met else "TPS of one server vary too much in this machine; instructions decide" if met is None else "")


def instructions_of_transactions(results):
    goal = "mshare without flips: no kind of transaction takes more than 2 % more instructions than with stock"
    worst, parts = 0, []
    for workload in ("select-only", "tpcb-like", "connect"):
        stock, ours = (results.values(arm, workload, 1, "instructions") for arm in ("stock", "mshare"))
        if stock and ours:
            most = max(ours) / min(stock)
            worst = max(worst, most)
            parts.append(f"{workload} {100 * (stats.median(ours) / stats.median(stock) - 1):+.1f} % "
                         f"(its worst run against stock's best {100 * (most - 1):+.1f} %)")
    return Verdict(goal, worst <= 1.02, "; ".join(parts)) if parts else _unmeasured(goal)


ALL = (instructions, instructions_of_transactions, nothing_of_its_own, page_tables, throughput, cold_backend_against_huge_pages, cold_backend,
       closing_against_a_flush, closing_against_mprotect, closing_against_one_process, growth_with_processes, slope, growth_with_bytes,
       time_closed)


def verdicts(results):
    return [goal(results) for goal in ALL]
