# SPDX-License-Identifier: PostgreSQL
"""The figures that README.md shows, from a result; what was not measured has no sentence."""

from . import contents, flips, goals, stats
from .render import Table, Text, markdown
from .units import count, micro, percent, size

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


def _sentences(results):
    alone = flips.median(results, "mprotect", 1, GIB)
    floor = flips.median(results, "mshare", 64, GIB, "floor_p50")
    if alone and floor:
        yield (f"With a CPU for each process mprotect would at best tend to the time of one process alone, {micro(alone)}. "
               f"A bare TLB flush of all CPUs, the least that any flip could take, took {micro(floor)} beside 64 processes.")
    backends = max((row.clients for row in results.select(workload="backends")), default=0)
    tables = [results.values(arm, "backends", backends, "page_table_bytes") for arm in ("memfd", "mshare")]
    if all(tables):
        each = [f"{stats.median(values) / backends / 1024:,.0f} KiB" for values in tables]
        yield (f"A PostgreSQL backend that has read every page holds {each[0]} of page tables of its own without mshare "
               f"and {each[1]} with it.")
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


def figures(results, place):
    return markdown("", [
        Text(f"![Closing times over the number of processes]({place}/closing.svg)"),
        Text("Time until no process can write any more, with every 4 KiB page mapped in every process and all of them "
             f"reading; medians of one run, in the machine that [the report]({place}/report.md) names. " + contents.sentence(results)),
        _closings(results), Text(" ".join(_sentences(results))),
        Text(f"Intervals, every other arm, limits: [`{place}/report.md`]({place}/report.md), and `report.html` beside it "
             "to read in a browser.")]).split("\n", 2)[2]
