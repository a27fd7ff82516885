# SPDX-License-Identifier: PostgreSQL
"""What a report says: tables and charts, what they mean and what they do not."""

import math
import re

from . import arms, charts, flips, goals, hosts, kernels, losses, stats
from .render import Bullets, Fold, Heading, Table, Text, without_empty_columns
from .results import SAME_SERVER
from .units import count, kibibytes, mebibytes, micro, percent, ratio

GIB = 2 ** 30
TITLE = "pg_mshare: the comparison"
OPEN_LOOP = "select-only", "tpcb-like", "small-pool"
MARK = "†"      # a figure that the earlier harness of bench/flip had another part in
FORMS = {"us": micro, "bytes": mebibytes, "ratio": percent}

LIMITS = (
    "**Emulation.** Unless the environment below names another machine, the processor was QEMU's TCG, which "
    "translates instructions: it has no model of caches, no PCID, and an interrupt to another CPU costs something "
    "else than on hardware. Times are relative, to be compared within this report only; counts (entries written, "
    "page tables, faults) do not depend on it. `bench/run --host` measures a real machine.",
    "**Two CPUs.** N processes that each run mprotect share the CPUs there are. With a CPU for each, the mprotect "
    "arm would at best tend to the time of one single process, which stands beside every ratio.",
    "**Priority.** In bench/flip the coordinator runs before the sharers, in every arm; a flipper that has to queue "
    "for a CPU waits longer in every arm.",
    "**Where mshare does not help.** With huge pages there are 512 times fewer entries, and an mprotect is that much "
    "cheaper; with few processes there is little to share; a pool that is hardly touched has few entries. Where only "
    "one process's threads write, protection keys close in a register and no page table is written at all.",
    "**Where it may lose.** A flip through mshare interrupts every CPU that runs any sharer, whichever part it is "
    "of; an mprotect interrupts those that run its own process. A flip of a part of a chunk of 1 GiB writes leaf entries "
    "(arm `piece`) and still interrupts them all. A lone process that flips a few pages of its own is better served by "
    "mprotect(). The table of losses above is every comparison of this run that mshare did not win.",
    "**1 GiB many times over.** Ranges above 1 GiB map the same 1 GiB again and again: the page tables are as large "
    "as they would be, the memory is not; and where filling them takes too long, only a part of the pages is present. The tables say "
    "which.",
    "A page that the kernel holds already (pinned for DMA) may still be written after a closing; and a frozen pool is "
    "no fence for commits: WAL is elsewhere.",
    "Wartak measured 1.35 to 1.45 times the TPS with shared page tables at 8,000 to 16,000 backends on 64 hardware "
    "threads (June 2025). That is someone else's result on real hardware, and this report does not repeat it.",
)


def limits(boots):
    """boots: how many were measured"""
    return LIMITS if boots > 1 else (
        *LIMITS, "**One boot.** What differs from boot to boot (layout, addresses) is not in these intervals; `bench/run --boots 3` has it.")


def with_interval(values, form):
    low, high, _ = stats.median_interval(values)
    text = form(stats.median(values))
    return text if len(values) == 1 else f"{text} [{form(low)} .. {form(high)}]"


def change(before, after, noise=None, p=None):
    """The change of the median in per cent; `~` where it is not significant or A/A differ as much.

    p: the rank test's, corrected for the number of tests made; without it one test is made here.
    """
    if p is None:
        p = stats.mann_whitney(before, after)
    share = stats.median(after) / stats.median(before) - 1
    if p >= stats.SIGNIFICANT:
        return f"~ (p={p:.2f})"
    if noise is not None and abs(share) <= noise:
        return f"~ (within A/A, p={p:.3f})"
    return f"{100 * share:+.1f} % (p={p:.3f})"


def share_of(before, after, p):
    """100 % is no change: the ratio of medians, its interval, and whether the corrected rank test sees one."""
    share, low, high = stats.ratio_interval(after, before)
    return f"{100 * share:.0f} % [{100 * low:.0f} .. {100 * high:.0f}]" + ("" if p < stats.SIGNIFICANT else ", ~")


def corrected(pairs):
    """p of the rank test for each (before, after), corrected for their number."""
    return stats.holm([stats.mann_whitney(list(before.values()), list(after.values())) for before, after in pairs])


def why_missing(results, arm, workload):
    for metric in ("failed", "unavailable"):
        for row in results.select(metric, workload):
            if row.arm == arm:
                return f"{metric}: {row.note}"
    return "not measured"


class _Cells:
    """Cells of one arm at one point; empty where nothing was measured."""

    def __init__(self, results, arm, workload, clients, rate=0):
        self._of = lambda metric: results.values(arm, workload, clients, metric, rate)

    def values(self, metric):
        return self._of(metric)

    def one(self, metric, form):
        return form(stats.median(self._of(metric))) if self._of(metric) else ""

    def per(self, metric, other, form=count):
        """The median of a quotient of two metrics of the same runs."""
        of, by = self._of(metric), self._of(other)
        return form(stats.median([a / b for a, b in zip(of, by)])) if of and len(of) == len(by) and all(by) else ""

    def tail(self, what):
        """The median of the repetitions' 99th percentiles, if all had samples enough, else the longest of all."""
        p99, longest = self._of(f"{what}_p99"), self._of(f"{what}_max")
        if p99 and len(p99) >= len(self._of(f"{what}_p50")):
            return f"p99 {micro(stats.median(p99))}"
        return f"max {micro(max(longest + p99))}" if longest else ""


def _ratio(interval):
    times, low, high = interval
    return f"{ratio(times)} times [{ratio(low)} .. {ratio(high)}]"


def sentence(results):
    """What holds on any machine: counts."""
    slow, huge, fast = (results.values(arm, f"flip_idle-8-{GIB}", 8, "flip_instructions") for arm in ("mprotect", "hugetlb", "mshare"))
    entries = [flips.median(results, arm, 64, GIB, "entries_written") for arm in ("mprotect", "mshare")]
    text = ""
    if slow and fast:
        text = (f"Making 1 GiB read-only in 8 processes takes **{count(stats.median(slow))} instructions** where each process changes its own "
                "page tables" + (f", {count(stats.median(huge))} where it has huge pages," if huge else "")
                + f" and **{count(stats.median(fast))}** where they share them (mshare). ")
    if all(entries):
        text += f"For 64 processes {count(entries[0])} page-table entries are written, against {count(entries[1])}."
    return text or "How long it takes to change the protection of shared memory in every process, and what sharing page tables saves."


def times_sentence(results):
    """What this machine says of times, every opponent beside it; empty where it was not measured."""
    fast = flips.of_repetitions(results, "mshare", 64, GIB)
    against = flips.times_less(results, "mprotect", "mshare", 64, GIB)
    if not fast or not against:
        return ""
    alone = flips.one_process(results, GIB)
    text = (f"In time, closing 1 GiB for 64 running processes took {micro(flips.median(results, 'mprotect', 64, GIB))}"
            f"{MARK if flips.is_cold(results, 'mprotect', 64, GIB) else ''} with mprotect in each process and "
            f"**{with_interval(stats.Sample(fast), micro)}** with mshare: {_ratio(against)} less")
    if alone:
        text += f", and {_ratio(stats.ratio_interval(alone, fast))} less than one process's own mprotect, the best that a CPU for each could reach"
    others = [f"{micro(flips.median(results, arm, 64, GIB))} {words}, {_ratio(flips.times_less(results, arm, 'mshare', 64, GIB))}"
              for arm, words in (("hugetlb", "with mprotect in huge pages"), ("pkeys", "with protection keys"))
              if flips.of_repetitions(results, arm, 64, GIB)]
    return text + (f". The nearest others: {'; '.join(others)}." if others else ".")


def harness_note(results):
    """What the earlier harness of bench/flip did otherwise, where these figures are its."""
    if not flips.earlier_harness(results):
        return ""
    return (f"**Times of bench/flip here were measured with its earlier harness, and stand until they are measured again.** Its time box ran "
            "while it read every process's status, so that with many processes or long flips a repetition was one flip, the first after "
            f"the processes came and so a cold one ({MARK}): such points take no part in the slopes. Where a repetition had more flips, "
            "the first is among them. Its bare flushes of all CPUs came after the flips, as many as these were.")


def goals_table(results):
    return without_empty_columns(Table(("target", "", "measured", "why"), [
        (verdict.goal, f"**{verdict.word()}**" if verdict.met is False else verdict.word(), verdict.measured, verdict.why)
        for verdict in goals.verdicts(results) if verdict.word() != goals.NOT_MEASURED]))


def _present(results, arm, processes, length, kind):
    share = flips.present(results, arm, processes, length, kind)
    return "" if share is None else "all" if share >= 1 else percent(share)


def flip_row(results, arm, processes, length, kind):
    cells = _Cells(results, arm, f"{kind}-{processes}-{length}", processes)
    closing = flips.of_repetitions(results, arm, processes, length, kind=kind)
    alone = flips.one_process(results, length, kind)
    each = flips.times_less(results, "mprotect", arm, processes, length, kind) if arm != "mprotect" else None
    cold = flips.is_cold(results, arm, processes, length, kind)
    return (arm, with_interval(stats.Sample(closing), micro) + (MARK if cold else ""),
            f"{len(closing)} x {cells.one('n', count)}", cells.one("flip_first", micro), cells.tail("flip"), cells.one("up_p50", micro),
            _ratio(each).replace(" times", "") if each else "",
            _ratio(stats.ratio_interval(alone, closing)).replace(" times", "") if alone else "",
            cells.one("flush_all_p50", micro), cells.one("own_p50", micro))


FLIP_COLUMNS = ("arm", "closing", "repetitions x flips", "first, cold", "longest, or p99", "reopening", "mprotect in each / this",
                "one process's mprotect / this", "flush of all CPUs", "by itself, asking nobody")


def flip_table(results, kind):
    rows = []
    for length, processes in flips.points(results, kind):
        workload = f"{kind}-{processes}-{length}"
        for arm in flips.arms_of(results):
            if flips.of_repetitions(results, arm, processes, length, kind=kind):
                rows.append((flips.words(workload), *flip_row(results, arm, processes, length, kind)))
            elif why_missing(results, arm, workload) != "not measured":
                rows.append((flips.words(workload), arm, why_missing(results, arm, workload)) + ("",) * (len(FLIP_COLUMNS) - 2))
    return without_empty_columns(Table(("point", *FLIP_COLUMNS), rows))


def one_point_table(results, processes, length, kind="flip"):
    return without_empty_columns(Table(FLIP_COLUMNS, [
        flip_row(results, arm, processes, length, kind) for arm in flips.arms_of(results)
        if flips.of_repetitions(results, arm, processes, length, kind=kind)]))


def flip_counts_table(results, kind):
    rows = []
    for length, processes in flips.points(results, kind):
        for arm in flips.arms_of(results):
            cells = _Cells(results, arm, f"{kind}-{processes}-{length}", processes)
            if cells.values("n"):
                rows.append((
                    flips.words(f"{kind}-{processes}-{length}"), arm, cells.one("entries_written", count),
                    _present(results, arm, processes, length, kind),
                    cells.one("tlb_interrupts", count), cells.one("call_interrupts", count), cells.one("flip_faults", count),
                    cells.one("lost_us", _signed), cells.one("syscalls", count), cells.one("instructions", count), cells.one("tables_unshared", count),
                    cells.one("page_table_bytes", lambda value: f"{value / processes / 1024:,.0f} KiB"),
                    cells.one("touch_faults", count)))
    return without_empty_columns(Table((
        "point", "arm", "entries written", "pages present", "TLB interrupts", "other calls", "faults",
        "a running process loses", "system calls", "instructions", "tables unshared", "page tables per process", "faults of a new process"), rows))


def fits_table(results):
    def over_repetitions(slopes, form):
        return with_interval(slopes, form) if slopes else "not measured"

    rows = []
    for arm in flips.arms_of(results):
        processes, lengths = flips.every(results, arm, length=GIB), flips.every(results, arm, processes=8)
        rows.append((
            arm, over_repetitions(flips.slopes(processes, lambda point: point[1], math.log), "{:+.2f}".format),
            over_repetitions(flips.slopes(processes, lambda point: point[1]), _signed),
            over_repetitions(flips.slopes(lengths, lambda point: point[0], math.log), "{:+.2f}".format)))
    return Table(("arm", "power of the number of processes (1 GiB)", "more per process (1 GiB)",
                  "power of the bytes (8 processes)"), rows)


def _signed(us):
    """A time that may be below 0, in units that people read."""
    return ("-" if us < 0 else "") + (micro(abs(us)) if abs(us) >= 0.9995 else f"{1e3 * abs(us):.0f} ns")


def _points_against_stock(results):
    """(workload, clients, arm, stock's runs, its own) of all that have TPS; and p of each that has stock beside it."""
    points, pairs = [], {}
    for workload, clients in results.pgbench_points():
        stock = results.repetitions("stock", workload, clients, "tps")
        for arm in arms.in_order(results.arms(), arms.SERVER):
            values = results.repetitions(arm, workload, clients, "tps")
            if values:
                points.append((workload, clients, arm, stock, values))
                if stock and arm != "stock":
                    pairs[workload, clients, arm] = stock, values
    return points, dict(zip(pairs, corrected(pairs.values())))


def tps_table(results):
    points, chances = _points_against_stock(results)
    return Table(("workload", "clients", "arm", "TPS", "runs", "of stock's", "client errors"), [
        (workload, f"{clients:,}", arm, with_interval(stats.Sample(values), count), str(len(values)),
         share_of(stock, values, chances[workload, clients, arm]) if (workload, clients, arm) in chances else "",
         _Cells(results, arm, workload, clients).one("client_errors", count))
        for workload, clients, arm, stock, values in points])


def tps_counts_table(results):
    rows = []
    for workload, clients, arm, _, _ in _points_against_stock(results)[0]:
        cells = _Cells(results, arm, workload, clients)
        rows.append((workload, f"{clients:,}", arm, cells.one("latency_p99", micro), cells.one("page_table_bytes", mebibytes),
                     cells.per("minor_faults", "transactions"), cells.one("tlb_interrupts", count), cells.one("blks_read", count)))
    return Table(("workload", "clients", "arm", "latency, p99", "page tables", "faults of a transaction", "TLB interrupts",
                  "blocks read"), rows)


def flipping_table(results):
    points = sorted({(row.workload, row.clients, row.flips_per_s, row.arm) for row in results.rows
                     if row.flips_per_s and row.workload in OPEN_LOOP})
    pairs = {}
    for workload, clients, rate, arm in points:
        quiet, tps = (results.repetitions(arm, workload, clients, "tps", each) for each in (0, rate))
        if quiet and tps:
            pairs[workload, clients, rate, arm] = quiet, tps
    chances = dict(zip(pairs, corrected(pairs.values())))
    rows = []
    for point in points:
        workload, clients, rate, arm = point
        cells = _Cells(results, arm, workload, clients, rate)
        tps = cells.values("tps")
        rows.append((
            f"{workload}, {clients} clients", arm, with_interval(tps, count) if tps else why_missing(results, arm, workload),
            share_of(*pairs[point], chances[point]) if point in pairs else "", f"{cells.one('flips_achieved', count)} of {rate}",
            cells.one("flip_p50", micro), cells.tail("flip"), cells.one("up_p50", micro),
            cells.one("time_closed", percent), cells.one("tlb_interrupts", count), cells.one("client_errors", count)))
    return Table(("workload", "arm", "TPS", "of those without flips", "flips a second", "closing", "longest, or p99",
                  "reopening", "time closed", "TLB interrupts", "client errors"), rows)


def paced_table(results):
    """Latency from when a transaction was due, at a rate that every arm can keep."""
    rows = []
    for clients, rate, arm in sorted({(row.clients, row.flips_per_s, row.arm) for row in results.select("latency_p99", "paced")}):
        cells = _Cells(results, arm, "paced", clients, rate)
        rows.append((arm, str(rate), str(clients), cells.one("offered", count), with_interval(cells.values("tps"), count),
                     cells.one("latency_average", micro), cells.one("latency_p99", micro), cells.one("latency_max", micro),
                     cells.one("time_closed", percent), str(len(cells.values("tps")))))
    return without_empty_columns(Table(("arm", "flips a second", "clients", "offered TPS", "TPS", "latency, mean", "p99", "longest",
                                        "time closed", "runs"), rows))


def same_server_table(results):
    rows = []
    for workload, clients in results.pgbench_points():
        first, second = (results.repetitions(arm, workload, clients, "tps") for arm in SAME_SERVER)
        if first and second:
            rows.append((workload, f"{clients:,}", count(stats.median(first.values())), count(stats.median(second.values())),
                         share_of(first, second, stats.mann_whitney(list(first.values()), list(second.values())))))
    return Table(("workload", "clients", *SAME_SERVER, "the second of the first"), rows)


def backends_table(results):
    rows = []
    points = sorted({(row.clients, row.workload) for row in results.rows
                     if row.workload in ("backends", "backends-pin")})
    for clients, workload in points:
        for arm in arms.in_order(results.arms(), arms.SERVER):
            cells = _Cells(results, arm, workload, clients)
            if not cells.values("page_table_bytes"):
                continue
            rows.append((
                str(clients), "read every page" if workload == "backends" else "pinned every buffer", arm,
                cells.one("page_table_bytes", mebibytes),
                cells.one("page_table_bytes", lambda value: f"{value / clients / 1024:,.0f} KiB"),
                cells.one("minor_faults", lambda value: count(value / clients)),
                cells.one("flip_p50", micro), cells.tail("flip"),
                cells.one("up_p50", micro), cells.one("n", count)))
    return Table(("backends", "each has", "arm", "page tables", "per backend", "minor faults per backend",
                  "closing", "tail", "reopening", "flips"), rows)


def cold_table(results):
    rows = []
    for workload, words in (("cold-backend", "scans a table"), ("cold-lookup", "looks 1,000 rows up")):
        stock = results.repetitions("stock", workload, 1, "session_us")
        for arm in arms.in_order(results.arms(), arms.SERVER):
            cells = _Cells(results, arm, workload, 1)
            values = results.repetitions(arm, workload, 1, "session_us")
            if values:
                rows.append((words, arm, with_interval(stats.Sample(values), micro), str(len(values)),
                             _ratio(stats.ratio_interval(stock, values)).replace(" times", "") if stock and arm != "stock" else "",
                             cells.one("session_faults", count)))
    return Table(("a session that connects,", "arm", "and disconnects", "runs", "stock / this", "its minor faults"), rows)


def one_backend_table(results):
    rows = []
    for arm in arms.in_order(results.arms(), arms.SERVER):
        cells = _Cells(results, arm, "one-backend", 1)
        server = results.values(arm, "server", 0, "page_table_bytes")
        if cells.values("read_table_bytes"):
            rows.append((arm, cells.one("pinned_table_bytes", kibibytes), cells.one("read_table_bytes", kibibytes),
                         cells.one("pool_table_bytes", kibibytes), cells.one("pool_faults", count),
                         with_interval(cells.values("first_read_us"), micro), with_interval(cells.values("second_read_us"), micro),
                         str(len(cells.values("read_table_bytes"))), mebibytes(stats.median(server)) if server else ""))
    return Table(("arm", "pinned every buffer", "and read every page", "for the pool", "minor faults for the pool", "first read",
                  "second read", "n", "the whole idle server"), rows)


def _disturbed_table(results, workload, counted, times, heads):
    """TPS and latencies while a session does something to the whole pool: how often, and what its calls took."""
    rows = []
    for clients in sorted({row.clients for row in results.select(workload=workload)}):
        for arm in arms.in_order(results.arms(), arms.SERVER):
            cells = _Cells(results, arm, workload, clients)
            if cells.values("tps"):
                rows.append((str(clients), arm, with_interval(cells.values("tps"), count), cells.one(counted, count),
                             *(cell for name in times for cell in (cells.one(f"{name}_p50", micro), cells.tail(name))),
                             cells.one("latency_p99", micro), cells.one("latency_max", micro), cells.one("client_errors", count)))
    return Table(("clients", "arm", "TPS", *heads, "latency p99", "latency, longest", "client errors"), rows)


def freeze_table(results):
    return _disturbed_table(results, "freeze", "freezes", ("freeze",), ("freezes a run", "freezing", "tail"))


def resize_table(results):
    return _disturbed_table(results, "resize", "shrinkings", ("shrink", "grow"),
                            ("resizes a run", "giving half back", "tail", "taking it again", "tail"))


def losses_blocks(results):
    found, made = losses.find(results)
    if not made:
        return
    yield Heading("Where mshare loses")
    yield Text(f"All {made:,} comparisons of `mshare` (and of `piece`, its flips of a part of a chunk) with another arm at the same "
               f"point that have runs enough for the rank test were made. The other arm won {len(found)} of them: p < {stats.SIGNIFICANT:g} "
               "after correction for their number (Holm), so that by chance alone one report in twenty would show any.")
    if found:
        rows = []
        for loss in sorted(found):
            form = FORMS.get(loss.unit, count)
            rows.append((loss.what, loss.where, f"{loss.arm}: {form(loss.theirs)}", f"{loss.ours_arm}: {form(loss.ours)}",
                         f"{loss.p:.3f}"))
        yield Fold(f"The {len(found)} comparisons that mshare lost", (Table(("what", "where", "better", "worse", "p, corrected"), rows),))


def _instruction_points(results):
    points = sorted({(row.workload, row.clients, row.metric) for row in results.rows if row.metric.endswith("instructions")
                     and row.workload.startswith("flip")})
    return points + sorted({(row.workload, row.clients, row.metric) for row in results.select("instructions")
                            if not row.workload.startswith("flip")})


def instructions_table(results, points):
    """Against the first arm that has the point; the same server's spread beside it."""
    rows = []
    for workload, clients, metric in points:
        if workload.startswith("flip"):
            what = f"{'closing' if metric.startswith('flip') else 'reopening'} {flips.words(workload)}"
            order, base = arms.FLIP, "mprotect"
        else:
            what, order, base = SESSIONS.get(workload, f"a transaction of {workload}"), arms.SERVER, "stock"
        first = results.values(base, workload, clients, metric)
        for arm in arms.in_order(results.arms(), order):
            values = results.values(arm, workload, clients, metric)
            if values:
                against = ""
                if first and arm != base:
                    share = stats.median(values) / stats.median(first)
                    against = f"1/{ratio(1 / share)}" if order == arms.FLIP else f"{100 * (share - 1):+.2f} %"
                rows.append((what, arm, with_interval(values, count), str(len(values)), against))
    return Table(("what", "arm", "instructions", "n", "of mprotect's, or stock's"), rows)


SESSIONS = {"cold-backend": "connect, scan the table, disconnect", "cold-lookup": "connect, 1,000 look-ups, disconnect",
            "connect": "connect, `select 1`, disconnect"}


def arms_list(known, found):
    return Bullets(tuple(f"`{arm.name}`: {arm.text}." + (f" Tuned: {arm.tuning}." if arm.tuning else "")
                         for arm in known if arm.name in found))


def failures(results):
    def place(row):
        return f"{row.arm}, {row.workload}, {row.clients} clients, {row.flips_per_s} flips/s, {stats.named(row.rep)}"

    missing = {}    # what differs in its numbers only is one reason
    for row in results.select("unavailable"):
        missing.setdefault((row.workload, re.sub(r"\d+", "", row.note)), []).append(row)
    items = [f"`{workload}` was not measured: {rows[0].note} (" + ", ".join(dict.fromkeys(row.arm for row in rows))
             + (f"; {len(rows)} times" if len(rows) > 1 else "") + ")"
             for (workload, _), rows in missing.items()]
    items += [f"{place(row)}: {row.note}" for row in results.select("failed")]
    items += [f"{place(row)}: {count(row.value)} client errors" for row in results.select("client_errors") if row.value]
    compared = len(results.select("sums_compared"))
    return Bullets(tuple(items)) if items else Text(
        f"None. The sums of the four pgbench tables were compared {compared} times, after the updating runs of each block.")


def intervals_note(results):
    repetitions = max((len(results.values(row.arm, row.workload, row.clients, "tps", row.flips_per_s))
                       for row in results.select("tps")), default=0)
    if not repetitions:
        return ""
    coverage = stats.median_interval(list(range(repetitions)))[2]
    text = (f"TPS are medians of {repetitions} runs; in brackets the interval of order statistics, which with "
            f"{repetitions} runs covers the median with {100 * coverage:.1f} % confidence. `~`: no difference was shown "
            "(Mann-Whitney U, 5 %), or the same server differs from itself as much")
    smallest = stats.smallest_p(repetitions, repetitions)
    if smallest >= stats.SIGNIFICANT:
        text += (f". With {repetitions} runs a side the rank test cannot find any difference significant "
                 f"(its smallest p is {smallest:.2f}): `~` everywhere is no proof of equality")
    return text + "."


def _how_long(environment):
    """How long a run lasted, how many boots, what pgbench and the server were told; as far as it was recorded."""
    parts = []
    if "run_seconds" in environment:
        parts.append(f"A run of pgbench lasted {environment['run_seconds']} s, and a second more for each 40 clients")
    if "pgbench_threads" in environment:
        parts.append(f"pgbench had {environment['pgbench_threads']} threads, or one for a single client")
    if "checkpoint_timeout" in environment:
        parts.append(f"checkpoint_timeout was {environment['checkpoint_timeout']} and max_wal_size {environment['max_wal_size']}: no "
                     "checkpoint began within a run")
    if "boots" in environment:
        parts.append(f"boots: {environment['boots']}")
    return "; ".join(parts) + "." if parts else "How long runs lasted was not recorded."


def method(environment):
    seed = environment.get("seed")
    return Bullets((
        "One set of data; the servers of all arms are up, those that are not asked sleep. The arms take turns: in "
        "each odd repetition in random order, in the next in the reverse of it (ABBA)" + (f"; seed {seed}" if seed else "") + ".",
        _how_long(environment),
        "What repeats is the repetition: its median is one value, and medians and intervals are over these (order statistics; for ratios "
        "of medians, repetitions drawn with replacement, those of one repetition together; with several boots, for both, boots drawn first and "
        "then their repetitions). Nothing is left out, neither the first run "
        "nor the slowest.",
        "A 99th percentile stands only where each repetition had 100 samples, and is the median of theirs; else the longest of all "
        "stands there.",
        "A closing counts only when a store then faults in a process, and a reopening when it succeeds; in another "
        "process each time.",
        "Powers and slopes are medians of the slopes of all pairs of points (Theil and Sen), for each repetition; the interval is over "
        "repetitions.",
        "Interrupts are differences of /proc/interrupts per closing and reopening, the 250 Hz tick not among them; "
        "faults are those of all sharers per closing and reopening.",
        "Latencies of runs as fast as they can (closed loop) flatter who is closed longest: while nothing can run, nothing waits. So "
        "latency under flips is told only of runs at a fixed rate, from when each transaction was due.",
        "Raw data: [results.csv](results.csv), [env.json](env.json), and every run's own output in `raw/` of the "
        "folder this report was made in."))


def _meaningless_times(environment):
    cpus, host = int(environment.get("cpus", 1)), int(environment.get("host_cpus", 0))
    if environment.get("machine") != "virtual machine" or not host or cpus <= host:
        return ""
    return (f"**Times in this report mean nothing: {cpus} emulated CPUs ran on {host}.** It is for counts: entries, interrupts, faults, "
            "page tables, instructions.")


def _other_load(environment):
    other = float(environment.get("host_other_load_percent", 0))
    stolen = float(environment.get("host_stolen_percent", 0))
    if max(other, stolen) < 5:
        return ""
    return (f"**Other work took {other:.0f} % of the host's CPU time during this run, and what the host runs on gave "
            f"{stolen:.0f} % of it to others.** A virtual CPU that the host keeps waiting answers an interrupt "
            "milliseconds late: times of mshare closings suffer most, counts not at all. Repeat it on a quiet machine "
            "before quoting a time.")


def repetitions(results):
    """What pgbench ran on, and how often each arm did: `scaling` (64, 512), 10 times."""
    points = {}
    for row in results.rows:
        if row.metric in ("tps", "page_table_bytes") and row.workload != "server":
            points.setdefault(row.workload, {}).setdefault((row.arm, row.clients, row.flips_per_s), set()).add(row.rep)
    for workload, reps in sorted(points.items()):
        clients = ", ".join(f"{n:,}" for n in sorted({clients for _, clients, _ in reps}))
        rates = ", ".join(str(rate) for rate in sorted({rate for _, _, rate in reps if rate}))
        few, many = min(map(len, reps.values())), max(map(len, reps.values()))
        yield (f"`{workload}` ({clients})" + (f" and with {rates} flips a second" if rates else "")
               + (f", {many} times" if few == many else f", {few} to {many} times"))


def _beside_blocks(beside):
    if beside:
        yield Heading("Beside this run")
        yield Text("Others of the same machine, each in a boot of its own. In brackets the numbers of clients, and how often each arm ran:")
        yield Bullets(tuple(f"[{other.name}]({other.name}/report.md): {'; '.join(repetitions(other.results))}" for other in beside))


def _fewest_words(form, first, second):
    """Both in one unit only where that is the same anyway: a count that differs is seen to differ."""
    return (form(first), form(second)) if first == second or form(first) != form(second) else (f"{first:.10g}", f"{second:.10g}")


def kernels_sentence(pairs, second):
    """Are the flips of mshare the same on the other kernel?"""
    ours = [pair for pair in pairs if pair.arm in kernels.OURS]
    told = [pair for pair in ours if not pair.word().startswith("too few")]
    if not ours:
        return ""
    if not told:
        return (f"{len(ours)} closings of mshare's arms were timed on both, none of them in the {kernels.ENOUGH} repetitions on each side that "
                "it takes to tell a difference from noise.")
    different = [pair for pair in told if pair.word() == "differs"]
    text = f"Of {len(told)} closings of mshare's arms that were timed on both in repetitions enough, {len(told) - len(different)} are the same within noise"
    if different:
        text += f" and {len(different)} differ. On the {kernels.name(second)} they take: " + "; ".join(
            f"{pair.arm}, {flips.words(pair.workload)}: {_ratio(pair.ratio)}"
            + (f" (a bare flush of all CPUs {pair.flush:.2f} times)" if pair.flush else "") for pair in different)
    return text + "."


def kernels_blocks(results, environment, other):
    """The same flips on another kernel, side by side."""
    first, second = kernels.name(environment), kernels.name(other.environment)
    pairs, counts = kernels.pairs(results, other.results), kernels.counts(results, other.results)
    yield Heading(f"Two kernels: {kernels.form(environment)} and {kernels.form(other.environment)}")
    yield Text(f"A is the {first}, B the {second}; all else of B: [{other.name}]({other.name}/report.md). Each in a boot of its own, one after "
               "the other, so that what differs from boot to boot is in the difference. The configuration of the kernels is not the same either: "
               "where a bare flush of all CPUs, or the `mprotect` of an arm that mshare has no part in, takes as much longer, that is the kernel's "
               "build and not how mshare came into it.")
    yield Text(kernels_sentence(pairs, other.environment))
    if pairs:
        yield without_empty_columns(Table(("point", "arm", "A: closing", "B: closing", "B / A", "flush of all CPUs, B / A", ""), [
            (flips.words(pair.workload), pair.arm, with_interval(pair.first, micro), with_interval(pair.second, micro),
             _ratio(pair.ratio).replace(" times", "") if min(len(pair.first), len(pair.second)) > 1 else ratio(pair.ratio[0]), f"{pair.flush:.2f}" if pair.flush else "", pair.word()) for pair in pairs]))
    different = [each for each in counts if each[3] != each[4]]
    if counts:
        yield Text(f"Of {len(counts)} counts (entries, interrupts, system calls, faults, page tables, instructions) {len(counts) - len(different)} "
                   "have one and the same median on both.")
        yield Fold(f"The {len(different)} counts that differ", (Table(("point", "arm", "count", "A", "B"), [
            (flips.words(workload) if workload.startswith("flip") else workload, arm, metric.replace("_", " "), *_fewest_words(count, a, b))
            for workload, arm, metric, a, b in different]),)) if different else Text("")


def hosts_table(points, words, base):
    """Times on both, and how many times of one arm's: what may carry over to another machine."""
    def times(interval, values):
        return "" if not interval else ratio(interval[0]) if len(values) < 2 else _ratio(interval).replace(" times", "")

    return Table(("point", "arm", "A", f"A: of {base}'s", "B", f"B: of {base}'s"), [
        (words(point.what), point.arm, with_interval(point.virtual, micro), times(point.virtual_times, point.virtual),
         with_interval(point.host, micro), times(point.host_times, point.host)) for point in points])


def hosts_blocks(results, other):
    """The same on the virtual machine's host itself, side by side."""
    closings, sessions = list(hosts.closings(results, other.results)), list(hosts.sessions(results, other.results))
    yield Heading("Two machines: the virtual one, and its host itself")
    yield Text(f"A is the virtual machine, B its host on the kernel that it runs ({kernels.release(other.environment)}), without emulation"
               + (", and without mshare: that kernel has none" if kernels.form(other.environment) == kernels.NONE else "")
               + f"; all else of B: [{other.name}]({other.name}/report.md). Emulation makes a page fault, a system call and an interrupt dearer by "
               "other factors than a load or a store. So of a time in A nothing follows for B; a ratio between two arms carries over as far as "
               "the two columns of ratios agree.")
    if closings:
        yield without_empty_columns(hosts_table(closings, flips.words, "mprotect"))
    if sessions:
        yield without_empty_columns(hosts_table(sessions, SESSIONS.get, "stock"))


def _flip_blocks(results):
    if not flips.points(results):
        return
    yield Heading("A flip, without a server")
    yield charts.closings(results)
    if flips.of_repetitions(results, "mshare", 64, GIB):
        yield Text("Closing 1 GiB of 4 KiB pages in 64 processes that read it all the time: medians of the repetitions' medians, with 95 % "
                   "intervals over repetitions.")
        yield one_point_table(results, 64, GIB)
    yield from charts.growth(results)
    yield Fold("The arms, and how each was tuned", (arms_list(arms.FLIP, flips.arms_of(results)),))
    yield Fold("Growth with processes and with bytes, as numbers", (fits_table(results),))
    for kind, state in (("flip", "running"), ("flip_idle", "sleeping")):
        if flips.points(results, kind):
            yield Fold(f"All points, {state} processes: times", (flip_table(results, kind),))
    explained = Text("Entries written by a closing; interrupts, faults of the sharers, time that a process running elsewhere "
                     "loses, and system calls, of a closing and its reopening; PMD "
                     "tables that the first closing took from sharers; page tables of each process, and the faults of touching what others "
                     "have mapped, of the process with most.")
    for kind, state in (("flip", "running"), ("flip_idle", "sleeping")):
        if flips.points(results, kind):
            yield Fold(f"All points, {state} processes: the counts that explain the times", (explained, flip_counts_table(results, kind)))


def _instruction_blocks(results):
    points = _instruction_points(results)
    if not points:
        return
    yield Heading("Instructions")
    yield Text("Where times are noise, instructions are not. A boot of its own with one processor, whose clock counts them (QEMU's "
               "`-icount`): what all processes and the kernel execute in a flip, and in a transaction of one client, pgbench "
               "included. Interrupts to other processors are not in it: there "
               "is one. `memfd` and `mprotect` are the same server: their difference is the noise.")
    first = [point for point in points if point[0] == f"flip_idle-8-{GIB}" and point[2] == "flip_instructions"]
    if first:
        yield instructions_table(results, first)
    yield Fold("All others: flips, transactions, sessions", (instructions_table(results, [point for point in points if point not in first]),))


def _memory_blocks(results, data_bytes, wide, beside, drawn):
    """What a DBA has of it without any flip: page tables, and what a new connection takes."""
    connected, where = results, ""
    if not results.select("page_table_bytes", "backends"):
        connected, where = next(((other.results, f" They are from [{other.name}]({other.name}/report.md).") for other in beside
                                 if other.results.select("page_table_bytes", "backends")), (results, ""))
    if connected.select("page_table_bytes", "backends"):
        yield Heading("Page tables of connected backends")
        yield charts.footprint(connected, data_bytes) or drawn("footprint", "Page tables over connected backends.")
        yield Text("Page tables are the machine's `PageTables` with all backends connected, less those before "
                   "they came. A backend that only pins every buffer shows what buffer headers, catalogs and its own "
                   f"memory take.{where}")
        yield Fold("The same as a table, with faults and flips", (backends_table(connected),))
    if results.select("session_us"):
        yield Heading("A new backend reads the warm pool")
        yield Text("A client connects, reads, and disconnects, again and again. The table that is scanned has one row a page and is all in "
                   "buffers" + (f"; it has {wide} MiB." if wide else "."))
        yield cold_table(results)
    if results.select("read_table_bytes"):
        yield Heading("What the pool takes of one backend")
        yield Text("A session's own page tables (`VmPTE`) when it has pinned every buffer, which touches the buffer headers "
                   "only, and when it has read every page of the table" + (f" of {wide} MiB" if wide else "") + ". The last column is what the machine's page "
                   "tables grew by from before the server's start until all data were in buffers, shared tables among them.")
        yield one_backend_table(results)


def _server_blocks(results, latencies, order, drawn):
    if results.pgbench_points():
        yield Heading("pgbench, no flips")
        yield Text(intervals_note(results))
        yield charts.dots_per_run(results)
        yield charts.run_order(order) or drawn("run-order", charts.RUN_ORDER)
        yield from charts.scaling(results)
        yield tps_table(results)
        yield Text("`memfd` and `mprotect` without flips are the same server: how far they differ is how far two "
                   "runs of the same thing differ (A/A).")
        yield same_server_table(results)
        yield Fold("The arms", (arms_list(arms.SERVER, arms.in_order(results.arms(), arms.SERVER)),))
        yield Fold("Latency, faults, page tables, interrupts", (tps_counts_table(results),))
    if any(row.flips_per_s and row.workload in OPEN_LOOP for row in results.rows):
        yield Heading("pgbench under whole-pool flips")
        yield Text("Flips are asked for at a fixed rate; the load runs as fast as it can.")
        busiest = max((clients for _, clients in results.pgbench_points()), default=0)
        for workload in OPEN_LOOP:
            clients = max((row.clients for row in results.rows if row.workload == workload and row.flips_per_s), default=busiest)
            yield charts.flip_rates(results, workload, clients)
        yield Fold("All points under flips", (flipping_table(results),))
        yield Text("Where the pool is smaller than the data (`small-pool`) a read from the disk meets a closed page; where it "
                   "cannot wait there for the reopening its statement fails, and the row says so instead of a figure. "
                   "Time closed runs from the start of a closing to the end of its reopening. The flipping backend "
                   "is a process like any other: with more runnable processes than CPUs it may lose its CPU in "
                   "between, for as long as the others' turns take, and then the pool stays closed.")
    if results.select("latency_p99", "paced"):
        clients = max(row.clients for row in results.select("latency_p99", "paced"))
        yield Heading("Latency at a fixed rate of transactions")
        yield Text("`select-only` at half the TPS that the first server asked could do, the same rate for every arm. A transaction's latency "
                   "counts from when it was due (`pgbench -R`), so that what piles up behind a closed pool is in it.")
        yield charts.latency_distribution(latencies, "paced", clients, results.rates_of("paced"))
        yield paced_table(results)
    if results.select("freezes"):
        yield Heading("Freezes under updates")
        yield Text("`tpcb-like` while another session freezes the whole pool every half second, by leases of 0.2 s: writers wait, and "
                   "the longest transactions have waited for the end of one. Times are of the whole SQL call.")
        yield freeze_table(results)
    if results.select("shrinkings"):
        yield Heading("Resizes under updates")
        yield Text("`tpcb-like` while another session gives half of shared_buffers back to the system (`pg_mshare_resize()`), and half a second "
                   "later takes it into use again: what was in those buffers is written out if it must be, and read again when it is wanted. "
                   "With provider mshare the memory leaves one set of page tables, else that of every process.")
        yield resize_table(results)


def blocks(results, environment, complete, latencies=None, order=(), data_bytes=0, beside=(), svgs=None):
    """The report as a list of blocks; charts among them.

    beside: other runs (Beside); those on another kernel, or on the host of this virtual machine, are compared with this one. svgs: {name: svg}
    of charts drawn when all raw output was there, for those that rows alone cannot give.
    """
    def drawn(name, caption):
        return charts.Figure(name, caption, svgs[name]) if svgs and name in svgs else None

    itself = [other for other in beside if hosts.is_host(other.environment) and not hosts.is_host(environment)]
    beside = [other for other in beside if other not in itself]
    others = [other for other in beside if kernels.name(other.environment) != kernels.name(environment)]
    beside = [other for other in beside if other not in others]
    found = [Text(sentence(results)), Text(times_sentence(results)), Text(kernels.sentence(environment)),
             Text(_meaningless_times(environment)), Text(harness_note(results))]
    if not complete:
        found.append(Text("**This run was interrupted: what is missing below was not measured.**"))
    found += [charts.headline(results), Text(_other_load(environment)),
              *_memory_blocks(results, data_bytes, environment.get("wide_mib"), beside, drawn),
              *_instruction_blocks(results), *_flip_blocks(results), *_server_blocks(results, latencies or {}, order, drawn),
              *(block for other in others for block in kernels_blocks(results, environment, other)),
              *(block for other in itself for block in hosts_blocks(results, other)),
              *_beside_blocks(beside), *losses_blocks(results),
              Heading("Failed runs and client errors"), failures(results), Heading("Method"), method(environment),
              Heading("Limits"), Bullets(limits(results.boots())), Heading("Environment"),
              Table(("", ""), [(name.replace("_", " "), f"`{value}`") for name, value in environment.items()]),
              Heading("Our own targets"),
              Text("Those on times were set before anything was measured, and stand as they were set. Each has one beside it that was "
                   "set after the first results, and says what this machine can tell: instructions, a flush of all CPUs, huge pages. Of "
                   "the TPS the question is whether they are no worse, and the whole interval has to answer it."), goals_table(results)]
    return [block for block in found if block and block != Text("")]
