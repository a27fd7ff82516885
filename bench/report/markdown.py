# SPDX-License-Identifier: PostgreSQL
"""report.md: the tables, what they mean and what they do not."""

import math

from . import goals, stats

GIB = 2 ** 30
SIGNIFICANT = 0.05
ORDER = ("stock", "memfd", "mprotect", "mshare")
PGBENCH = ("select-only", "tpcb-like")

LIMITS = """\
- **Emulation.** Unless the environment below names another machine, the processor was QEMU's TCG, which
  translates instructions: it has no model of caches, no PCID, and an interrupt to another CPU costs
  something else than on hardware. Times are relative, to be compared within this report only; counts
  (entries written, page tables, faults) do not depend on it.
- **Two CPUs.** N processes that each run mprotect share the CPUs there are. With a CPU for each, the
  mprotect arm would at best tend to the time of one single process, which stands beside every ratio.
- **Priority.** In bench/flip the coordinator runs before the sharers, in every arm; a flipper that has to
  queue for a CPU waits longer in every arm.
- **4 KiB pages.** With huge pages there are 512 times fewer entries, and an mprotect is that much cheaper.
- **1 GiB twice over.** Ranges above 1 GiB map the same 1 GiB again and again: the page tables are as large
  as they would be, the memory is not. `entries_mapped` says how many pages were present.
- **One boot.** What differs from boot to boot (layout, addresses) is not in these intervals.
- A page that the kernel holds already (pinned for DMA) may still be written after a closing; and a frozen
  pool is no fence for commits: WAL is elsewhere."""


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def size(count):
    """Bytes in the largest binary unit that leaves a whole number."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count % 1024 or count == 0:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} TiB"


def micro(us):
    """A time in its natural unit, three digits."""
    for limit, scale, unit in ((1e3, 1, "us"), (1e6, 1e3, "ms")):
        if us < limit:
            return f"{us / scale:.3g} {unit}"
    return f"{us / 1e6:.3g} s"


def count(value):
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2f}"


def with_interval(values, form):
    low, high, _ = stats.median_interval(values)
    text = form(stats.median(values))
    return text if len(values) == 1 else f"{text} [{form(low)} .. {form(high)}]"


def change(before, after):
    """The change of the median in per cent, `~` where it is not significant."""
    p = stats.mann_whitney(before, after)
    if p >= SIGNIFICANT:
        return f"~ (p={p:.2f})"
    return f"{100 * (stats.median(after) / stats.median(before) - 1):+.1f} % (p={p:.3f})"


def arms_of(results):
    found = {row.arm for row in results.rows}
    return [arm for arm in ORDER if arm in found] + sorted(found - set(ORDER))


def _flip_points(results, kind):
    points = {(row.workload.split("-"), row.clients)[0][2] for row in results.rows
              if row.workload.startswith(kind + "-")}
    return sorted(map(int, points))


def _flip_cell(results, samples, arm, workload, processes, direction):
    values = results.values(arm, workload, processes, f"{direction}_p50")
    if not values:
        return None, _why_missing(results, arm, workload)
    every = samples.get((arm, workload, direction), values)
    return stats.median(values), f"{with_interval(every, micro)}, n {len(every)}"


def _why_missing(results, arm, workload):
    for row in results.select("failed", workload):
        if row.arm == arm:
            return "failed: " + row.note.replace("|", "/")
    return "not measured"


def _tail(results, arm, workload, processes, direction):
    for tail in ("p99", "max"):
        values = results.values(arm, workload, processes, f"{direction}_{tail}")
        if values:
            return f"{tail} {micro(max(values))}"
    return ""


def _one(results, arm, workload, processes, metric, form):
    values = results.values(arm, workload, processes, metric)
    return form(stats.median(values)) if values else ""


def flip_table(results, samples, kind):
    rows = []
    for length in _flip_points(results, kind):
        alone = results.values("mprotect", f"{kind}-1-{length}", 1, "flip_p50")
        for processes in sorted({row.clients for row in results.rows
                                 if row.workload.startswith(kind + "-")
                                 and row.workload.endswith(f"-{length}")}):
            workload = f"{kind}-{processes}-{length}"
            slow, slow_text = _flip_cell(results, samples, "mprotect", workload, processes, "flip")
            fast, fast_text = _flip_cell(results, samples, "mshare", workload, processes, "flip")
            ratio = f"{slow / fast:,.1f}" if slow and fast else ""
            single = f"{stats.median(alone) / fast:,.1f}" if alone and fast else ""
            rows.append((
                size(length), str(processes), slow_text, fast_text, ratio, single,
                _tail(results, "mshare", workload, processes, "flip"),
                _one(results, "mshare", workload, processes, "up_p50", micro),
                _one(results, "mshare", workload, processes, "floor_p50", micro),
                _one(results, "mprotect", workload, processes, "entries_written", count),
                _one(results, "mshare", workload, processes, "entries_written", count),
                _one(results, "mshare", workload, processes, "entries_mapped", count),
                _one(results, "mshare", workload, processes, "shootdowns", count),
            ))
    return table(("bytes", "processes", "mprotect, closing", "mshare, closing", "ratio",
                  "one process's mprotect / mshare", "mshare, tail", "mshare, reopening", "bare flush",
                  "entries written, mprotect", "entries written, mshare", "pages present, mshare",
                  "shootdowns per cycle"), rows)


def _flip_notes(results):
    parts = []
    for kind in ("flip", "flip_idle"):
        big = [row for row in results.select("attach_s") if row.workload.startswith(kind + "-256-")
               and row.workload.endswith(f"-{GIB}")]
        if kind == "flip":
            parts += [f"{row.arm} {row.value:.2f} s" for row in big]
    return ("To start, map and touch 256 processes x 1 GiB took: " + ", ".join(parts) + ".") if parts else ""


def _pgbench_points(results):
    return sorted({(row.workload, row.clients) for row in results.select("tps")})


def tps_table(results):
    arms = arms_of(results)
    rows = []
    for workload, clients in _pgbench_points(results):
        stock = results.values("stock", workload, clients, "tps")
        for arm in arms:
            values = results.values(arm, workload, clients, "tps")
            if not values:
                continue
            rows.append((
                workload, str(clients), arm, with_interval(values, count), str(len(values)),
                "" if arm == "stock" or not stock else change(stock, values),
                _one(results, arm, workload, clients, "page_table_bytes", lambda v: f"{v / 2 ** 20:.1f} MiB"),
                _one(results, arm, workload, clients, "minor_faults", count),
                _one(results, arm, workload, clients, "blks_read", count),
                _one(results, arm, workload, clients, "client_errors", count)))
    return table(("workload", "clients", "arm", "TPS", "n", "against stock", "page tables",
                  "minor faults", "blocks read", "client errors"), rows)


def flipping_table(results):
    rows = []
    for workload, clients, rate, arm in sorted(
            {(row.workload, row.clients, row.flips_per_s, row.arm)
             for row in results.rows if row.flips_per_s and row.workload in PGBENCH}):
        def values(metric):
            return results.values(arm, workload, clients, metric, rate)

        def one(metric, form):
            return form(stats.median(values(metric))) if values(metric) else ""

        quiet = results.values(arm, workload, clients, "tps")
        tps = values("tps")
        tail = "flip_p99" if values("flip_p99") else "flip_max"
        rows.append((
            workload, str(clients), arm, with_interval(tps, count) if tps else _why_missing(results, arm, workload),
            str(len(tps)), change(quiet, tps) if quiet and tps else "",
            f"{one('flips_achieved', count)} of {rate}",
            one("flip_p50", micro), tail[5:] + " " + one(tail, micro) if values(tail) else "",
            one("up_p50", micro), one("time_closed", lambda v: f"{100 * v:.3f} %"),
            one("client_errors", count)))
    return table(("workload", "clients", "arm", "TPS", "n", "against no flips", "flips per second",
                  "closing", "closing, tail", "reopening", "time closed", "client errors"), rows)


def same_server_table(results):
    """memfd and mprotect without flips are the same server: A against A."""
    rows = []
    for workload, clients in _pgbench_points(results):
        first, second = (results.values(arm, workload, clients, "tps") for arm in ("memfd", "mprotect"))
        if first and second:
            ratio = stats.median(second) / stats.median(first)
            rows.append((workload, str(clients), count(stats.median(first)), count(stats.median(second)),
                         f"{100 * (ratio - 1):+.1f} %", change(first, second)))
    return table(("workload", "clients", "memfd", "mprotect", "difference", "significant"), rows)


def backends_table(results):
    rows = []
    points = sorted({(row.clients, row.workload) for row in results.rows
                     if row.workload in ("backends", "backends-pin")})
    for clients, workload in points:
        for arm in arms_of(results):
            tables = results.values(arm, workload, clients, "page_table_bytes")
            if not tables:
                continue
            faults = results.values(arm, workload, clients, "minor_faults")
            rows.append((
                str(clients), "read every page" if workload == "backends" else "pinned every buffer", arm,
                f"{stats.median(tables) / 2 ** 20:.1f} MiB", f"{stats.median(tables) / clients / 1024:,.0f} KiB",
                count(stats.median(faults) / clients),
                _one(results, arm, workload, clients, "idle_page_table_bytes", lambda v: f"{v / 2 ** 20:.1f} MiB"),
                _one(results, arm, workload, clients, "flip_p50", micro),
                _tail(results, arm, workload, clients, "flip"),
                _one(results, arm, workload, clients, "up_p50", micro),
                _one(results, arm, workload, clients, "n", count)))
    return table(("backends", "each has", "arm", "page tables", "per backend", "minor faults per backend",
                  "page tables before", "closing", "tail", "reopening", "flips"), rows)


def goals_table(results):
    words = {True: "met", False: "**missed**", None: "not measured"}
    return table(("goal", "", "measured"),
                 [(verdict.goal, words[verdict.met], verdict.measured) for verdict in goals.verdicts(results)])


def failures(results):
    lines = [f"- {row.arm}, {row.workload}, {row.clients} clients, {row.flips_per_s} flips/s, "
             f"repetition {row.rep}: {row.note}" for row in results.select("failed")]
    errors = [f"- {row.arm}, {row.workload}, {row.clients} clients, {row.flips_per_s} flips/s, "
              f"repetition {row.rep}: {count(row.value)} client errors"
              for row in results.select("client_errors") if row.value]
    updating = len(results.select("tps", "tpcb-like"))
    return "\n".join(lines + errors) or (
        f"None. The sums of the four pgbench tables were compared after each of {updating} updating runs.")


def intervals_note(results):
    repetitions = max((len(results.values(row.arm, row.workload, row.clients, "tps", row.flips_per_s))
                       for row in results.select("tps")), default=0)
    if not repetitions:
        return ""
    coverage = stats.median_interval(list(range(repetitions)))[2]
    text = (f"TPS are medians of {repetitions} runs; in brackets the interval of order statistics, which with "
            f"{repetitions} runs covers the median with {100 * coverage:.1f} % confidence")
    smallest = 2 / math.comb(2 * repetitions, repetitions)
    if smallest >= SIGNIFICANT:
        text += (f". With {repetitions} runs a side the rank test cannot find any difference significant "
                 f"(its smallest p is {smallest:.2f}): `~` everywhere is no proof of equality")
    return text + "."


def environment_table(environment):
    return table(("", ""), [(name.replace("_", " "), f"`{value}`") for name, value in environment.items()])


def _other_load(environment):
    percent = float(environment.get("host_other_load_percent", 0))
    if percent < 5:
        return ""
    return (f"**Other work took {percent:.0f} % of the host's CPU time during this run.** A virtual CPU that the "
            "host keeps waiting answers an interrupt milliseconds late: times of mshare closings suffer most, "
            "counts not at all. Repeat it on a quiet machine before quoting a time.")


def report(results, samples, environment, plots, complete):
    parts = ["# pg_mshare: the comparison"]
    if not complete:
        parts.append("**This run was interrupted: what is missing below was not measured.**")
    parts += [
        "One boot, the arms in turn (ABBA), on the same data. `stock` is the server without the extension, "
        "`memfd` the pool moved but never flipped, `mprotect` every process changes its own mapping on request, "
        "`mshare` one page table for all.",
        _other_load(environment),
        "## What it should show", goals_table(results)]
    if _flip_points(results, "flip"):
        parts += ["## A flip, without a server",
                  "Median time until no process can write, with its 95 % interval of order statistics; ratios are "
                  "of medians. The sharers read their mapping all the time:",
                  flip_table(results, samples, "flip"), "The same, sharers idle:",
                  flip_table(results, samples, "flip_idle"), _flip_notes(results)]
        parts += [f"![{title}]({path})" for title, path in plots]
    if _pgbench_points(results):
        parts += ["## pgbench, no flips", intervals_note(results), tps_table(results),
                  "`memfd` and `mprotect` without flips are the same server. How far they differ is how far two "
                  "runs of the same thing differ (A/A); no smaller difference above means anything:",
                  same_server_table(results)]
    if any(row.flips_per_s for row in results.rows):
        parts += ["## pgbench, whole-pool flips at a fixed rate (open loop)", flipping_table(results),
                  "Time closed runs from the start of a closing to the end of its reopening. The flipping backend "
                  "is a process like any other: with more runnable processes than CPUs it may lose its CPU in "
                  "between, for as long as the others' turns take, and then the pool stays closed. The medians "
                  "say what a flip takes, the tails and the time closed say what such waiting adds."]
    if results.select(workload="backends"):
        parts += ["## Connected backends",
                  "Page tables are the machine's `PageTables` with all backends connected, less those before "
                  "they came; `mshare` has the pool's own tables in the latter. A backend that only pins every buffer "
                  "shows what buffer headers, catalogs and its own memory take.", backends_table(results)]
    parts += ["## Failed runs and client errors", failures(results),
              "## Limits", LIMITS, "## Environment", environment_table(environment)]
    return "\n\n".join(part for part in parts if part) + "\n"
