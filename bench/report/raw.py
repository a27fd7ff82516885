# SPDX-License-Identifier: PostgreSQL
"""From what the runs left behind to rows.

A run is a folder with the files run and counters (name=value lines), the output
of pgbench and, where there were flips, of the client that asked for them.
"""

import csv
import re
from pathlib import Path

from . import stats
from .results import Row, row_of

PGBENCH = "select-only", "tpcb-like", "churn", "scaling", "freeze", "resize", "small-pool", "paced"     # workloads whose result is TPS
SESSIONS = "cold-backend", "cold-lookup"     # those whose result is the time of a session


def assignments(text):
    """A dict of name=value lines."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def pgbench(text):
    """What pgbench says at its end: a dict; only what it printed is in it."""
    found = {}
    for name, pattern in (
            ("tps", r"^tps = ([0-9.]+) "),
            ("latency_ms", r"^latency average = ([0-9.]+) ms"),
            ("connect_ms", r"^initial connection time = ([0-9.]+) ms"),
            ("transactions", r"^number of transactions actually processed: ([0-9]+)"),
            ("failed", r"^number of failed transactions: ([0-9]+)")):
        match = re.search(pattern, text, re.MULTILINE)
        if match:
            found[name] = float(match[1])
    found["aborted_clients"] = len(set(re.findall(r"client (\d+) (?:script \d+ )?aborted", text)))
    return found


def flips(text):
    """Pairs (closing, reopening) in microseconds.

    They stand in a notice of flip.sql, or alone in a line of psql's output.
    """
    return [(float(match[1]), float(match[2])) for match in
            re.finditer(r"^(?:.*INFO:  flip )?([0-9.]+) ([0-9.]+)$", text, re.MULTILINE)]


def _time_rows(name, times):
    yield f"{name}_p50", stats.median(times), "us", ""
    for tail, value in stats.tails(times):
        yield f"{name}_{tail}", value, "us", ""


def _flip_rows(pairs):
    yield from _time_rows("flip", [down for down, _ in pairs])
    yield from _time_rows("up", [up for _, up in pairs])
    yield "n", len(pairs), "count", "flips"


def _call_rows(name, counted, text):
    """What a session raised of its calls: a name, and us."""
    times = [float(us) for us in re.findall(rf"^.*INFO:  {name} ([0-9.]+)$", text, re.MULTILINE)]
    if times:
        yield from _time_rows(name, times)
        yield counted, len(times), "count", ""


def _one_backend_rows(text):
    """The stages of one_backend.sql: name, VmPTE in KiB, minor faults; and two times."""
    stages = {name: (int(kib), int(faults)) for name, kib, faults in
              re.findall(r"^(new|pinned|read) ([0-9]+) ([0-9]+)$", text, re.MULTILINE)}
    for name, (kib, _) in stages.items():
        yield f"{name}_table_bytes", 1024 * kib, "bytes", "VmPTE of the backend"
    if "pinned" in stages and "read" in stages:
        yield "pool_table_bytes", 1024 * (stages["read"][0] - stages["pinned"][0]), "bytes", "what reading the pool added"
        yield "pool_faults", stages["read"][1] - stages["pinned"][1], "count", "minor faults of reading the pool"
    times = re.findall(r"^Time: ([0-9.]+) ms", text, re.MULTILINE)
    for name, ms in zip(("first_read_us", "second_read_us"), times):
        yield name, 1000 * float(ms), "us", "of every page of the table"


def _latency_rows(text):
    """From a run's own histogram."""
    bins = [tuple(map(int, line.split())) for line in text.splitlines()]
    if bins:
        total, seen = sum(count for _, count in bins), 0
        if total >= 100:
            for us, count in bins:
                seen += count
                if seen >= 0.99 * total:
                    yield "latency_p99", us, "us", "cut to two digits"
                    break
        yield "latency_max", bins[-1][0], "us", "cut to two digits"


def _counter_rows(counters, sessions):
    def delta(name, end, start="before"):
        return float(counters[f"{name}_{end}"]) - float(counters[f"{name}_{start}"])

    if "page_tables_kb_connected" in counters:
        yield ("page_table_bytes", 1024 * delta("page_tables_kb", "connected"), "bytes",
               "with all clients connected, less the idle server's")
        yield "machine_table_bytes", 1024 * float(counters["page_tables_kb_connected"]), "bytes", "the same, and all else"
    if "minor_faults_after" in counters:
        faults = delta("minor_faults", "after")
        yield "minor_faults", faults, "count", "the server's processes"
        if sessions:
            yield "session_faults", faults / sessions, "count", "of each session"
    for name in ("tlb_interrupts", "call_interrupts"):
        if f"{name}_after" in counters:
            yield name, delta(name, "after"), "count", "of the whole machine"
    if "blks_read_after" in counters:
        yield "blks_read", delta("blks_read", "after"), "count", ""


def _pgbench_rows(said, run):
    if "tps" in said and run["workload"] in PGBENCH:
        yield "tps", said["tps"], "tps", ""
        yield "transactions", said["transactions"], "count", ""
        yield "latency_average", said["latency_ms"] * 1000, "us", ""
    if "tps" in said and "offered" in run:
        yield "offered", float(run["offered"]), "tps", ""
    if "tps" in said and run["workload"] in SESSIONS:
        yield "session_us", 1e6 / said["tps"], "us", "from connect to disconnect"
        yield "transactions", said["transactions"], "count", ""
    if "connect_ms" in said:
        yield "connect_s", said["connect_ms"] / 1000, "s", "all clients"
    yield ("client_errors", said.get("failed", 0) + said["aborted_clients"], "count",
           "failed transactions and aborted clients")


def _run_rows(folder, run):
    def text(name):
        path = folder / name
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    if (folder / "unavailable").exists():
        yield "unavailable", 1, "count", " ".join(text("unavailable").split())
        return
    if (folder / "failed").exists():
        yield "failed", 1, "count", " ".join(text("failed").split())
    said = pgbench(text("pgbench.log"))
    if (folder / "pgbench.log").exists():
        yield from _pgbench_rows(said, run)
    sessions = run["workload"] in SESSIONS and said.get("transactions")
    yield from _counter_rows(assignments(text("counters")), sessions)
    yield from _latency_rows(text("latencies"))
    yield from _call_rows("freeze", "freezes", text("freezes.log"))
    yield from _call_rows("shrink", "shrinkings", text("resizes.log"))
    yield from _call_rows("grow", "growings", text("resizes.log"))
    yield from _one_backend_rows(text("one_backend"))
    if (folder / "sums").exists():
        yield "sums_compared", 1, "count", "of the four pgbench tables"
    pairs = flips(text("flips.log") + text("flip_times"))
    if pairs:
        yield from _flip_rows(pairs)
    if (folder / "flips.log").exists():
        seconds = float(run["seconds"])
        yield "flips_achieved", len(pairs) / seconds, "count", "per second"
        yield ("time_closed", sum(map(sum, pairs)) / 1e6 / seconds, "ratio",
               "from the start of a closing to the end of its reopening, of the run")


def run_rows(folder):
    """The rows of one run's folder."""
    run = assignments((folder / "run").read_text(encoding="utf-8"))
    point = (run["arm"], run["workload"], int(run["clients"]), int(run["flips_per_s"]), int(run["rep"]))
    return [Row(*point, metric, float(value), unit, note)
            for metric, value, unit, note in _run_rows(folder, run)]


def flip_rows(path):
    """The rows that bench/flip printed; a line cut off by an interruption is left out."""
    with open(path, newline="", encoding="utf-8") as file:
        return [row_of(fields) for fields in csv.reader(file) if len(fields) == len(Row._fields)]


def instruction_rows(folder):
    """From a machine whose clock counts instructions, a nanosecond each: its times are counts."""
    for path in sorted(folder.glob("flip-*.csv")):
        for row in flip_rows(path):
            if row.metric in ("flip_p50", "up_p50"):
                yield row._replace(metric=row.metric.replace("p50", "instructions"), value=1000 * row.value, unit="count",
                                   note="of all processes")
    for path, run in _runs(folder):
        said = pgbench((path / "pgbench.log").read_text(encoding="utf-8")) if (path / "pgbench.log").exists() else {}
        if "tps" in said:
            yield Row(run["arm"], run["workload"], int(run["clients"]), 0, int(run["rep"]), "instructions", 1e9 / said["tps"],
                      "count", "of all processes, per transaction")
        yield from (row for row in run_rows(path) if row.metric in ("failed", "unavailable"))


def _boots(folder):
    """The folders of a result's boots: its own is the first's."""
    others = sorted(Path(folder).glob("boot-*"), key=lambda path: int(path.name.removeprefix("boot-")))
    return [Path(folder), *others]


def _rows_of_boot(folder):
    for path in sorted(folder.glob("flip-*.csv")):
        yield from flip_rows(path)
    for path, _ in _runs(folder):
        yield from run_rows(path)


def rows(folder):
    """All rows of a result folder, in the order of measurement."""
    found = [row._replace(rep=boot * stats.BOOT + row.rep)
             for boot, place in enumerate(_boots(folder)) for row in _rows_of_boot(place)]
    return found + list(instruction_rows(Path(folder) / "icount"))


def complete(folder):
    """Did every boot come to its end?"""
    return all((place / "complete").exists() for place in _boots(folder))


def _runs(folder):
    for path in sorted((Path(folder) / "raw").glob("*/run")):
        run = assignments(path.read_text(encoding="utf-8"))
        yield path.parent, run


def _runs_of_all(folder):
    for place in _boots(folder):
        yield from _runs(place)


def run_order(folder):
    """(started, arm, workload, clients, flips, tps) of every run of pgbench, in the order of time."""
    order = []
    for path, run in _runs_of_all(folder):
        tps = {row.metric: row.value for row in run_rows(path)}.get("tps")
        if tps:
            order.append((int(run["started"]), run["arm"], run["workload"], int(run["clients"]),
                          int(run["flips_per_s"]), tps))
    return sorted(order)


def latencies(folder):
    """{(arm, workload, clients, flips): {us, cut to two digits: transactions}}, all repetitions together."""
    found = {}
    for path, run in _runs_of_all(folder):
        if not (path / "latencies").exists():
            continue
        bins = found.setdefault((run["arm"], run["workload"], int(run["clients"]), int(run["flips_per_s"])), {})
        for line in (path / "latencies").read_text(encoding="utf-8").splitlines():
            us, count = map(int, line.split())
            bins[us] = bins.get(us, 0) + count
    return {point: bins for point, bins in found.items() if bins}


def data_bytes(folder):
    """Bytes of data that each of the connected backends reads; 0 if that was not noted."""
    path = Path(folder) / "data_bytes"
    return int(path.read_text(encoding="utf-8")) if path.exists() else 0
