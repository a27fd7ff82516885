# SPDX-License-Identifier: PostgreSQL
"""The figures that README.md shows, from a result; what was not measured has no sentence."""

from . import contents, flips, goals, stats
from .render import Table, Text, markdown
from .units import count, kibibytes, micro, percent, size

GIB, TIB = 2 ** 30, 2 ** 40
POINTS = (GIB, 64), (GIB, 256), (TIB, 256), (TIB, 1024)


def _closings(results):
    rows = []
    for length, processes in POINTS:
        slow, fast = (flips.median(results, arm, processes, length) for arm in ("mprotect", "mshare"))
        if fast is None:
            continue
        written = [flips.median(results, arm, processes, length, "entries_written") for arm in ("mprotect", "mshare")]
        rows.append((size(length), f"{processes:,}", micro(slow) if slow else "", micro(fast),
                     " against ".join(count(value) for value in written if value)))
    return Table(("range", "processes", "mprotect in each process", "mshare", "table entries written"), rows)


def _sentences(results, wide):
    alone = flips.median(results, "mprotect", 1, GIB)
    floor = flips.median(results, "mshare", 64, GIB, "floor_p50")
    if alone and floor:
        yield (f"With a CPU for each process mprotect would at best tend to the time of one process alone, {micro(alone)}. "
               f"A bare TLB flush of all CPUs, the least that any flip could take, took {micro(floor)} beside 64 processes.")
    taken = [[results.values(arm, "one-backend", 1, metric) for metric in ("pool_table_bytes", "pool_faults")]
             for arm in ("stock", "mshare")]
    if all(tables and faults for tables, faults in taken):
        each = [f"{kibibytes(stats.median(tables))} of page tables and {count(stats.median(faults))} page faults" for tables, faults in taken]
        pool = f"{wide} MiB of " if wide else ""
        yield f"A PostgreSQL backend that reads {pool}the warm pool takes {each[0]} for it without mshare, and {each[1]} with it."
    sessions = [results.values(arm, "cold-backend", 1, "session_us") for arm in ("stock", "mshare")]
    if all(sessions):
        yield f"From connect to disconnect that is {micro(stats.median(sessions[0]))} and {micro(stats.median(sessions[1]))}."
    clients = max((row.clients for row in results.select("time_closed", "select-only")), default=0)
    closed = [results.values(arm, "select-only", clients, "time_closed", 10) for arm in ("mprotect", "mshare")]
    if all(closed):
        yield (f"With ten flips of the whole pool a second and {clients} clients it is closed "
               f"{percent(stats.median(closed[0]))} of the time with mprotect and {percent(stats.median(closed[1]))} with mshare.")
    quiet = goals.no_cost_without_flips(results)
    if quiet.met is None and quiet.measured != "not measured":
        yield "**No difference in TPS without flips was shown**: the runs were too few to tell one."
    elif quiet.met:
        yield "**No difference in TPS without flips was shown** beyond that of the same server from itself."
    met = [verdict.met for verdict in goals.verdicts(results)]
    yield f"Of {len(met)} goals {met.count(True)} were met, {met.count(False)} missed and {met.count(None)} not measured; the report says which and why."


def figures(results, place, wide=None):
    return markdown("", [
        Text(f"![Closing times over the number of processes]({place}/closing.svg)"),
        Text("Time until no process can write any more, with every 4 KiB page mapped in every process and all of them "
             f"reading; medians of one run, in the machine that [the report]({place}/report.md) names. " + contents.sentence(results)),
        _closings(results), Text(" ".join(_sentences(results, wide))),
        Text(f"Intervals, every other arm, limits: [`{place}/report.md`]({place}/report.md), and `report.html` beside it "
             "to read in a browser.")]).split("\n", 2)[2]
