# SPDX-License-Identifier: PostgreSQL
"""The figures that README.md shows, from a result; what was not measured has no sentence."""

from . import contents, flips, goals, kernels, stats
from .render import Bullets, Table, Text, markdown, without_empty_columns
from .units import count, kibibytes, micro, percent, size

GIB, TIB = 2 ** 30, 2 ** 40
POINTS = (GIB, 64), (GIB, 256), (TIB, 256), (TIB, 1024)
ARMS = "mprotect", "hugetlb", "pkeys", "mshare"


def _closings(results):
    """One figure a cell: what the report says of the same points, with intervals."""
    rows = []
    for length, processes in POINTS:
        times = {arm: flips.median(results, arm, processes, length) for arm in ARMS}
        if times["mshare"] is None:
            continue
        share = flips.present(results, "mshare", processes, length)
        rows.append((size(length) + ("" if share is None or share >= 1 else f", {percent(share)} of its pages present"), f"{processes:,}",
                     *(micro(times[arm]) + (contents.MARK if flips.is_cold(results, arm, processes, length) else "")
                       if times[arm] else "" for arm in ARMS)))
    return without_empty_columns(Table(("range", "running processes", "mprotect in each", "in huge pages", "protection keys", "mshare"), rows))


def _counts(results):
    """What holds on any machine, one thing a line."""
    yield contents.sentence(results)
    taken = {arm: [results.values(arm, "one-backend", 1, metric) for metric in ("pool_table_bytes", "pool_faults")]
             for arm in ("stock", "hugetlb", "mshare")}
    if all(tables and faults for tables, faults in taken.values()):
        words = [f"{kibibytes(stats.median(tables))} and {count(stats.median(faults))} faults {how}"
                 for how, (tables, faults) in zip(("in 4 KiB pages", "in huge pages", "with mshare"), taken.values())]
        yield f"Page tables and page faults of a PostgreSQL backend that reads the warm pool: {words[0]}, {words[1]}, {words[2]}."


def _times(results):
    alone, fast = flips.one_process(results, GIB), flips.of_repetitions(results, "mshare", 64, GIB)
    if alone and fast:
        times, low, high = stats.ratio_interval(alone, fast)
        yield (f"Closing 1 GiB for 64 running processes takes {times:,.0f} [{low:,.0f} .. {high:,.0f}] times less than one single process's "
               "own mprotect(), the best that a CPU for each could reach.")
    sessions = [results.values(arm, "cold-backend", 1, "session_us") for arm in ("stock", "hugetlb", "mshare")]
    if all(sessions):
        each = [micro(stats.median(values)) for values in sessions]
        yield f"Connect, scan the warm pool, disconnect: {each[0]} with stock PostgreSQL, {each[1]} in huge pages, {each[2]} with mshare."
    clients = max((row.clients for row in results.select("time_closed", "select-only")), default=0)
    closed = [results.values(arm, "select-only", clients, "time_closed", 10) for arm in ("mprotect", "mshare")]
    if all(closed):
        yield (f"With ten flips of the whole pool a second and {clients} clients it is closed "
               f"{percent(stats.median(closed[0]))} of the time with mprotect in each process, {percent(stats.median(closed[1]))} with mshare.")
    quiet = goals.throughput(results)
    words = {True: "are no worse than stock's", False: "are worse than stock's", None: "could not be told from stock's in this machine"}
    if quiet.measured != goals.NOT_MEASURED:
        cost = {True: " In instructions no kind of transaction takes more than 2 % more than with stock.",
                False: " In instructions some kind of transaction takes more than 2 % more than with stock.", None: ""}
        yield f"TPS without flips {words[quiet.met]}.{cost[goals.instructions_of_transactions(results).met]}"


def figures(results, place, environment):
    verdicts = [verdict.word() for verdict in goals.verdicts(results)]
    machine = "under emulation (QEMU's TCG)" if environment.get("machine") == "virtual machine" else "on one machine"
    kernel = f", on the {kernels.form(environment)}" if kernels.form(environment) else ""
    return markdown("", [
        Text(f"![Page tables over connected backends]({place}/footprint.svg)"),
        Text("Counts, which hold on any machine:"), Bullets(tuple(_counts(results))),
        Text(f"![Closing times over the number of processes]({place}/closing.svg)"),
        Text(f"Times, measured {machine} on two CPUs{kernel}; compare them with each other only. Until no process can write any more:"),
        _closings(results),
        Text(f"{contents.MARK} Measured with the earlier harness, one cold flip a repetition: to be measured again.")
        if flips.earlier_harness(results) else Text(""),
        Bullets(tuple(_times(results))),
        Text(f"Of {len(verdicts)} targets {verdicts.count('met')} were met, {verdicts.count('missed')} missed, "
             f"{verdicts.count('not decided')} not decided by the runs. The report has them with their reasons, intervals, and every other "
             f"arm: [`{place}/report.md`]({place}/report.md), and `report.html` beside it to read in a browser.")]).split("\n", 2)[2].replace("\n\n\n\n", "\n\n")
