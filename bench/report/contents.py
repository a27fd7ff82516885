# SPDX-License-Identifier: PostgreSQL
"""What a report says: tables and charts, what they mean and what they do not."""

import re

from . import arms, charts, flips, goals, losses, stats
from .render import Bullets, Heading, Table, Text, without_empty_columns
from .results import SAME_SERVER
from .units import count, kibibytes, mebibytes, micro, percent, ratio, size

GIB = 2 ** 30
TITLE = "pg_mshare: the comparison"
OPEN_LOOP = "select-only", "tpcb-like", "small-pool"
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
    "as they would be, the memory is not. Pages present says how many there were.",
    "**One boot.** What differs from boot to boot (layout, addresses) is not in these intervals.",
    "A page that the kernel holds already (pinned for DMA) may still be written after a closing; and a frozen pool is "
    "no fence for commits: WAL is elsewhere.",
    "Wartak measured 1.35 to 1.45 times the TPS with shared page tables at 8,000 to 16,000 backends on 64 hardware "
    "threads (June 2025). That is someone else's result on real hardware, and this report does not repeat it.",
)


def with_interval(values, form):
    low, high, _ = stats.median_interval(values)
    text = form(stats.median(values))
    return text if len(values) == 1 else f"{text} [{form(low)} .. {form(high)}]"


def change(before, after, noise=None):
    """The change of the median in per cent; `~` where it is not significant or A/A differ as much."""
    p = stats.mann_whitney(before, after)
    share = stats.median(after) / stats.median(before) - 1
    if p >= stats.SIGNIFICANT:
        return f"~ (p={p:.2f})"
    if noise is not None and abs(share) <= noise:
        return f"~ (within A/A, p={p:.3f})"
    return f"{100 * share:+.1f} % (p={p:.3f})"


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

    def tail(self, what):
        for name in ("p99", "max"):
            if self._of(f"{what}_{name}"):
                return f"{name} {micro(max(self._of(f'{what}_{name}')))}"
        return ""


def sentence(results):
    slow, fast = (flips.median(results, arm, 64, GIB) for arm in ("mprotect", "mshare"))
    if slow is None or fast is None:
        return "How long it takes to change the protection of shared memory in every process, and what sharing page tables saves."
    return (f"Making 1 GiB read-only in 64 running processes took **{micro(slow)}** where each process changes its own "
            f"page tables and **{micro(fast)}** where they share them (mshare): {slow / fast:,.0f} times less.")


def goals_table(results):
    words = {True: "met", False: "**missed**", None: "not measured"}
    return Table(("goal", "", "measured"),
                 [(verdict.goal, words[verdict.met], verdict.measured) for verdict in goals.verdicts(results)])


def flip_table(results, samples, kind):
    rows = []
    for length, processes in flips.points(results, kind):
        workload = f"{kind}-{processes}-{length}"
        alone = flips.median(results, "mprotect", 1, length, kind=kind)
        slow = flips.median(results, "mprotect", processes, length, kind=kind)
        for arm in flips.arms_of(results):
            cells = _Cells(results, arm, workload, processes)
            closing = flips.median(results, arm, processes, length, kind=kind)
            if closing is None:
                reason = why_missing(results, arm, workload)
                if reason != "not measured":
                    rows.append((size(length), str(processes), arm, reason) + ("",) * 7)
                continue
            every = samples.get((arm, workload, "flip"), cells.values("flip_p50"))
            rows.append((
                size(length), str(processes), arm, f"{with_interval(every, micro)}, n {len(every)}", cells.tail("flip"),
                cells.one("up_p50", micro),
                ratio(slow / closing) if slow and arm != "mprotect" else "",
                ratio(alone / closing) if alone else "",
                cells.one("floor_p50", micro), cells.one("own_p50", micro), cells.one("entries_written", count)))
    return without_empty_columns(Table((
        "range", "processes", "arm", "closing", "tail", "reopening", "mprotect / this", "one process's mprotect / this",
        "bare flush", "own closing", "entries written"), rows))


def flip_counts_table(results, kind):
    rows = []
    for length, processes in flips.points(results, kind):
        for arm in flips.arms_of(results):
            cells = _Cells(results, arm, f"{kind}-{processes}-{length}", processes)
            if cells.values("n"):
                rows.append((
                    size(length), str(processes), arm, cells.one("entries_written", count), cells.one("entries_mapped", count),
                    cells.one("tlb_interrupts", count), cells.one("call_interrupts", count), cells.one("flip_faults", count),
                    cells.one("syscalls", count), cells.one("instructions", count), cells.one("tables_unshared", count),
                    cells.one("page_table_bytes", lambda value: f"{value / processes / 1024:,.0f} KiB"),
                    cells.one("touch_faults", count)))
    return without_empty_columns(Table((
        "range", "processes", "arm", "entries written", "pages present", "TLB interrupts", "other calls", "faults",
        "system calls", "instructions", "tables unshared", "page tables per process", "faults of a new process"), rows))


def fits_table(results):
    def exponent(points):
        points = [point for point in points if point[1] > 0]
        if len({x for x, _ in points}) < 2:
            return "not measured"
        fit = stats.power(*zip(*points))
        if fit.low is None:
            return f"{fit.slope:+.2f} (two points: no interval)"
        return f"{fit.slope:+.2f} [{fit.low:+.2f} .. {fit.high:+.2f}], {len(points)} points"

    def per_process(points):
        if len({x for x, _ in points}) < 2:
            return "not measured"
        fit = stats.line(*zip(*points))
        interval = "" if fit.low is None else f" [{1e3 * fit.low:,.0f} .. {1e3 * fit.high:,.0f}]"
        return f"{1e3 * fit.slope:,.0f} ns{interval}"

    rows = []
    for arm in flips.arms_of(results):
        processes = [(n, us) for _, n, us in flips.every(results, arm, length=GIB)]
        lengths = [(length, us) for length, _, us in flips.every(results, arm, processes=8)]
        rows.append((arm, exponent(processes), per_process(processes), exponent(lengths)))
    return Table(("arm", "power of the number of processes (1 GiB)", "more per process (1 GiB)",
                  "power of the bytes (8 processes)"), rows)


def tps_table(results):
    rows = []
    for workload, clients in results.pgbench_points():
        stock = results.values("stock", workload, clients, "tps")
        for arm in arms.in_order(results.arms(), arms.SERVER):
            cells = _Cells(results, arm, workload, clients)
            values = cells.values("tps")
            if not values:
                continue
            rows.append((
                workload, str(clients), arm, with_interval(values, count), str(len(values)),
                "" if arm == "stock" or not stock else change(stock, values, results.noise(workload, clients)),
                cells.one("latency_p99", micro), cells.one("page_table_bytes", mebibytes), cells.one("minor_faults", count),
                cells.one("tlb_interrupts", count), cells.one("blks_read", count), cells.one("client_errors", count)))
    return Table(("workload", "clients", "arm", "TPS", "n", "against stock", "latency p99", "page tables",
                  "minor faults", "TLB interrupts", "blocks read", "client errors"), rows)


def flipping_table(results):
    rows = []
    for workload, clients, rate, arm in sorted(
            {(row.workload, row.clients, row.flips_per_s, row.arm) for row in results.rows
             if row.flips_per_s and row.workload in OPEN_LOOP}):
        cells = _Cells(results, arm, workload, clients, rate)
        quiet, tps = results.values(arm, workload, clients, "tps"), cells.values("tps")
        rows.append((
            workload, str(clients), arm, with_interval(tps, count) if tps else why_missing(results, arm, workload),
            str(len(tps)), change(quiet, tps, results.noise(workload, clients)) if quiet and tps else "",
            f"{cells.one('flips_achieved', count)} of {rate}",
            cells.one("flip_p50", micro), cells.tail("flip"), cells.one("up_p50", micro),
            cells.one("time_closed", percent), cells.one("latency_p99", micro), cells.one("tlb_interrupts", count),
            cells.one("client_errors", count)))
    return Table(("workload", "clients", "arm", "TPS", "n", "against no flips", "flips per second", "closing", "closing, tail",
                  "reopening", "time closed", "latency p99", "TLB interrupts", "client errors"), rows)


def same_server_table(results):
    rows = []
    for workload, clients in results.pgbench_points():
        first, second = (results.values(arm, workload, clients, "tps") for arm in SAME_SERVER)
        if first and second:
            more = stats.median(second) / stats.median(first) - 1
            rows.append((workload, str(clients), count(stats.median(first)), count(stats.median(second)),
                         f"{100 * more:+.1f} %", change(first, second)))
    return Table(("workload", "clients", *SAME_SERVER, "difference", "significant"), rows)


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
    stock = results.values("stock", "cold-backend", 1, "session_us")
    for arm in arms.in_order(results.arms(), arms.SERVER):
        cells = _Cells(results, arm, "cold-backend", 1)
        values = cells.values("session_us")
        if values:
            rows.append((arm, with_interval(values, micro), str(len(values)),
                         f"{stats.median(stock) / stats.median(values):.2f}" if stock else "",
                         cells.one("session_faults", count)))
    return Table(("arm", "connect, read the pool, disconnect", "n", "stock / this", "minor faults of a session"), rows)


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


def freeze_table(results):
    rows = []
    for clients in sorted({row.clients for row in results.select(workload="freeze")}):
        for arm in arms.in_order(results.arms(), arms.SERVER):
            cells = _Cells(results, arm, "freeze", clients)
            if cells.values("tps"):
                rows.append((str(clients), arm, with_interval(cells.values("tps"), count), cells.one("freezes", count),
                             cells.one("freeze_p50", micro), cells.tail("freeze"),
                             cells.one("latency_p99", micro), cells.one("latency_max", micro), cells.one("client_errors", count)))
    return Table(("clients", "arm", "TPS", "freezes a run", "freezing", "tail", "latency p99", "latency, longest",
                  "client errors"), rows)


def losses_blocks(results):
    found, made = losses.find(results)
    if not made:
        return
    yield Heading("Where mshare loses")
    yield Text(f"All {made:,} comparisons of `mshare` (and of `piece`, its flips of a part of a chunk) with another arm at the same "
               f"point that have runs enough for the rank test. Those that the other arm won, p < {stats.SIGNIFICANT:g}: "
               f"{len(found)}. By chance alone one in forty would be here.")
    if found:
        rows = []
        for loss in sorted(found):
            form = FORMS.get(loss.unit, count)
            rows.append((loss.what, loss.where, loss.arm, form(loss.theirs), loss.ours_arm, form(loss.ours), f"{loss.p:.3f}"))
        yield Table(("what", "where", "better", "", "worse", "", "p"), rows)


def instructions_table(results):
    """Against the first arm that has the point; the same server's spread beside it."""
    rows = []
    points = sorted({(row.workload, row.clients, row.metric) for row in results.rows if row.metric.endswith("instructions")
                     and row.workload.startswith("flip")})
    points += sorted({(row.workload, row.clients, row.metric) for row in results.select("instructions")
                      if not row.workload.startswith("flip")})
    for workload, clients, metric in points:
        if workload.startswith("flip"):
            _, processes, length = workload.split("-")
            what = f"{'closing' if metric.startswith('flip') else 'reopening'} {size(int(length))}, {processes} sleeping"
            order, base = arms.FLIP, "mprotect"
        else:
            what, order, base = f"a transaction of {workload}", arms.SERVER, "stock"
        first = results.values(base, workload, clients, metric)
        for arm in arms.in_order(results.arms(), order):
            values = results.values(arm, workload, clients, metric)
            if values:
                against = ""
                if first and arm != base:
                    share = stats.median(values) / stats.median(first)
                    against = f"1 / {ratio(1 / share)}" if order == arms.FLIP else f"{100 * (share - 1):+.2f} %"
                rows.append((what, arm, with_interval(values, count), str(len(values)), against))
    return Table(("what", "arm", "instructions", "n", "against mprotect, or stock"), rows)


def arms_list(known, found):
    return Bullets(tuple(f"`{arm.name}`: {arm.text}." + (f" Tuned: {arm.tuning}." if arm.tuning else "")
                         for arm in known if arm.name in found))


def failures(results):
    def place(row):
        return f"{row.arm}, {row.workload}, {row.clients} clients, {row.flips_per_s} flips/s, repetition {row.rep}"

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


def method(environment):
    seed = environment.get("seed")
    return Bullets((
        "One boot, one set of data; the servers of all arms are up, those that are not asked sleep. The arms take turns: in "
        "each odd repetition in random order, in the next in the reverse of it (ABBA)" + (f"; seed {seed}" if seed else "") + ".",
        "Medians, with intervals of order statistics; nothing is left out, neither the first run nor the slowest. A 99th "
        "percentile stands only where there were 100 samples, else the maximum.",
        "A closing counts only when a store then faults in a process, and a reopening when it succeeds; in another "
        "process each time.",
        "Fitted powers are least squares on the logarithms of every repetition's median, with Student's interval.",
        "Interrupts are differences of /proc/interrupts per closing and reopening, the 250 Hz tick not among them; "
        "faults are those of all sharers per closing and reopening.",
        "Raw data: [results.csv](results.csv), [env.json](env.json), and every run's own output in `raw/` of the "
        "folder this report was made in."))


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
        yield Bullets(tuple(f"[{name}]({name}/report.md): {'; '.join(repetitions(results))}" for name, results in beside))


def _flip_blocks(results, samples):
    if not flips.points(results):
        return
    yield Heading("A flip, without a server")
    yield arms_list(arms.FLIP, flips.arms_of(results))
    yield charts.closing_distribution(samples)
    yield from charts.growth(results)
    yield fits_table(results)
    yield Text("Median time until no process can write, with its 95 % interval of order statistics; ratios are of "
               "medians. The sharers read their mapping all the time:")
    yield flip_table(results, samples, "flip")
    if flips.points(results, "flip_idle"):
        yield Text("The same, sharers asleep:")
        yield flip_table(results, samples, "flip_idle")
    yield Text("What explains the times: entries written by a closing; interrupts, faults of the sharers and system calls of a "
               "closing and its reopening; PMD tables that the first closing took from sharers; page tables of each process, and the "
               "faults of touching what others have mapped, of the process with most. An own closing above is that of a process alone, "
               "with nobody to ask.")
    for kind in ("flip", "flip_idle"):
        if flips.points(results, kind):
            yield flip_counts_table(results, kind)


def _instruction_blocks(results):
    if any(row.metric in ("instructions", "flip_instructions") for row in results.rows):
        yield Heading("Instructions")
        yield Text("Where times are noise, instructions are not. A boot of its own with one processor, whose clock counts them (QEMU's "
                   "`-icount`): what all processes and the kernel execute in a flip, and in a transaction of one client, pgbench "
                   "included. `connect` is `select 1` with a connection for each. Interrupts to other processors are not in it: there "
                   "is one. `memfd` and `mprotect` are the same server: their difference is the noise.")
        yield instructions_table(results)


def _server_blocks(results, latencies, order, data_bytes, wide):
    found = arms.in_order(results.arms(), arms.SERVER)
    if results.pgbench_points():
        yield Heading("pgbench, no flips")
        yield arms_list(arms.SERVER, found)
        yield Text(intervals_note(results))
        yield charts.dots_per_run(results)
        yield charts.run_order(order)
        yield from charts.scaling(results)
        yield tps_table(results)
        yield Text("`memfd` and `mprotect` without flips are the same server. How far they differ is how far two "
                   "runs of the same thing differ (A/A); no smaller difference at the same point above means anything:")
        yield same_server_table(results)
    if any(row.flips_per_s for row in results.rows):
        yield Heading("pgbench, whole-pool flips at a fixed rate (open loop)")
        busiest = max((clients for _, clients in results.pgbench_points()), default=0)
        for workload in OPEN_LOOP:
            clients = max((row.clients for row in results.rows if row.workload == workload and row.flips_per_s), default=busiest)
            yield charts.flip_rates(results, workload, clients)
            yield charts.latency_distribution(latencies, workload, clients, (0, 10))
        yield flipping_table(results)
        yield Text("Where the pool is smaller than the data (`small-pool`) a read from the disk meets a closed page; where it "
                   "cannot wait there for the reopening its statement fails, and the row says so instead of a figure.")
        yield Text("Time closed runs from the start of a closing to the end of its reopening. The flipping backend "
                   "is a process like any other: with more runnable processes than CPUs it may lose its CPU in "
                   "between, for as long as the others' turns take, and then the pool stays closed. The medians "
                   "say what a flip takes, the tails and the time closed say what such waiting adds.")
    if results.select("freezes"):
        yield Heading("Freezes under updates")
        yield Text("`tpcb-like` while another session freezes the whole pool every half second, by leases of 0.2 s: writers wait, and "
                   "the longest transactions have waited for the end of one. Times are of the whole SQL call.")
        yield freeze_table(results)
    if results.select("read_table_bytes"):
        yield Heading("What the pool takes of one backend")
        yield Text("A session's own page tables (`VmPTE`) when it has pinned every buffer, which touches the buffer headers "
                   "only, and when it has read every page of the table" + (f" of {wide} MiB" if wide else "") + ". The last column is what the machine's page "
                   "tables grew by from before the server's start until all data were in buffers, shared tables among them.")
        yield one_backend_table(results)
    if results.select("page_table_bytes", "backends"):
        yield Heading("Connected backends")
        yield Text("Page tables are the machine's `PageTables` with all backends connected, less those before "
                   "they came. A backend that only pins every buffer shows what buffer headers, catalogs and its own "
                   "memory take.")
        yield charts.footprint(results, data_bytes)
        yield backends_table(results)
    if results.select("session_us"):
        yield Heading("A new backend reads the warm pool")
        yield Text("A client connects, scans a table of one row a page that is all in buffers, and disconnects, again and again. "
                   f"The table has {wide} MiB." if wide else "")
        yield cold_table(results)


def blocks(results, environment, complete, samples=None, latencies=None, order=(), data_bytes=0, beside=()):
    """The report as a list of blocks; charts among them. beside: names and Results of other runs."""
    samples, latencies = samples or {}, latencies or {}
    found = [Text(sentence(results))]
    if not complete:
        found.append(Text("**This run was interrupted: what is missing below was not measured.**"))
    found += [charts.headline(results), Text(_other_load(environment)),
              Heading("What it should show"), goals_table(results), *_beside_blocks(beside), *losses_blocks(results),
              *_flip_blocks(results, samples), *_server_blocks(results, latencies, order, data_bytes, environment.get("wide_mib")),
              *_instruction_blocks(results),
              Heading("Failed runs and client errors"), failures(results), Heading("Method"), method(environment),
              Heading("Limits"), Bullets(LIMITS), Heading("Environment"),
              Table(("", ""), [(name.replace("_", " "), f"`{value}`") for name, value in environment.items()])]
    return [block for block in found if block and block != Text("")]
