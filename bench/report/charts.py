# SPDX-License-Identifier: PostgreSQL
"""The charts of a report, each a Figure or None where nothing of it was measured."""

import math
from typing import NamedTuple

from . import arms, flips, stats
from .plot import Axis, Chart
from .units import size

GIB, TIB = 2 ** 30, 2 ** 40
# Four curves are what one can tell apart.
GROWTH = (("mprotect", "hugetlb", "pkeys", "mshare"), ("repair", "uffd-wp", "piece", "leaf"),
          ("thp", "hugetlb-1g", "pagemap", "fifreeze"))
SERVERS = "stock", "hugetlb", "mprotect", "mshare"
RUN_ORDER = "If the machine had become slower or faster during the run, the dots would slope."
TIMES = [(1, "1 us"), (10, "10 us"), (100, "100 us"), (1e3, "1 ms"), (1e4, "10 ms"), (1e5, "100 ms"),
         (1e6, "1 s"), (1e7, "10 s"), (1e8, "100 s")]


class Figure(NamedTuple):
    name: str       # of its file, without .svg
    caption: str
    svg: str


def _time_axis(values, label=""):
    low = 10.0 ** math.floor(math.log10(min(values) / 2))
    high = max(values) * 5      # room for a label
    return Axis(label, low, high, True, [tick for tick in TIMES if low <= tick[0] <= high])


def _count_axis(label, values, text="{:,}".format, room=0.0):
    """room: for names behind the last value, as a share of what the values span"""
    high = max(values) * 1.25 * (max(values) / min(values)) ** room
    return Axis(label, min(values) / 1.25, high, True, [(value, text(value)) for value in sorted(set(values))])


def _lines(title, series, x_axis, y_label, powers=None):
    """series: (name, colour, dash, [(x, us)]); each named at its last point.

    powers: {name: exponent}, drawn through the points instead of lines from point to point.
    """
    series = [entry for entry in series if entry[3]]
    if not series:
        return None
    xs = [x for _, _, _, points in series for x, _ in points]
    chart = Chart(title, x_axis(xs), _time_axis([us for _, _, _, points in series for _, us in points], y_label))
    lowest = min(points[-1][1] for _, _, _, points in series)
    for name, colour, dash, points in series:
        exponent = powers.get(name) if powers and len(points) > 1 else None
        if exponent is not None:
            height = stats.median([math.log(us) - exponent * math.log(x) for x, us in points])
            low, high = chart.y.low, chart.y.high
            chart.line([(x, min(max(math.exp(height + exponent * math.log(x)), low), high)) for x in (points[0][0], points[-1][0])],
                       colour, dash, 1)
            name += f" ({exponent:+.2f})"
        else:
            chart.line(points, colour, dash)
        chart.dots(points, colour)
        if powers and points[-1][0] < max(xs):
            chart.label_behind(*points[-1], name, colour)
        else:
            chart.label(*points[-1], name, colour, below=points[-1][1] == lowest)
    return chart.render()


def headline(results):
    """What a reader should see in five seconds."""
    series = [
        ("every process calls mprotect", arms.colour("mprotect"), None, flips.by_processes(results, "mprotect", GIB)),
        ("the same, huge pages", arms.colour("hugetlb"), None, flips.by_processes(results, "hugetlb", GIB)),
        ("mshare", arms.colour("mshare"), None, flips.by_processes(results, "mshare", GIB)),
        ("mshare, 1 TiB", arms.colour("mshare"), "6 4", flips.by_processes(results, "mshare", TIB)),
    ]
    svg = _lines("Making 1 GiB of shared memory read-only", series,
                 lambda xs: _count_axis("running processes that map it", xs), "time until no process can write")
    return svg and Figure("closing", "Time until no process can write any more, median of the repetitions' medians. Lower is better; "
                          "each step of the scale is a factor of ten.", svg)


def _powers(results, names, x_of, **points):
    """{arm: median of its repetitions' exponents}"""
    found = {name: flips.slopes(flips.every(results, name, **points), x_of, math.log) for name in names}
    return {name: stats.median(slopes) for name, slopes in found.items() if slopes}


def growth(results):
    measured = set(flips.arms_of(results))
    for i, group in enumerate(GROWTH):
        names = [name for name in group if name in measured]
        more = f"-{i + 1}" if i else ""
        svg = _lines("1 GiB, by processes", [(name, arms.colour(name), None, flips.by_processes(results, name, GIB)) for name in names],
                     lambda xs: _count_axis("running processes", xs, room=0.1), "closing, median",
                     _powers(results, names, lambda point: point[1], length=GIB))
        if svg:
            yield Figure(f"growth-processes{more}", "Growth with processes: medians, and the power of each arm with its exponent. "
                         "0 is no growth, 1 is twice as long for twice as many.", svg)
        svg = _lines("8 processes, by size", [(name, arms.colour(name), None, flips.by_bytes(results, name, 8)) for name in names],
                     lambda xs: _count_axis("mapped by each process", xs, size), "closing, median",
                     _powers(results, names, lambda point: point[0], processes=8))
        if svg:
            yield Figure(f"growth-bytes{more}", "Growth with bytes, in the same way.", svg)


def closings(results, processes=64, length=GIB):
    """A dot for each repetition of each arm."""
    names = flips.arms_of(results)
    found = {name: list(flips.of_repetitions(results, name, processes, length).values()) for name in names}
    rows = [(name, values) for name, values in found.items() if values]
    if not rows:
        return None
    ticks = [(-i, name) for i, (name, _) in enumerate(rows)]
    chart = Chart(f"Closing {size(length)} in {processes} running processes", _time_axis([us for _, values in rows for us in values]),
                  Axis("", -len(rows) + 0.5, 0.5, ticks=ticks), height=90 + 20 * len(rows), left=110)
    for i, (name, values) in enumerate(rows):
        chart.dots([(us, -i) for us in values], arms.colour(name), opacity=0.7)
        chart.bar(stats.median(values), -i, "#000000")
    return Figure("closing-repetitions", "A dot is the median of one repetition, the stroke the median of these.", chart.render())


def latency_distribution(latencies, workload, clients, rates):
    """latencies: {(arm, workload, clients, rate): {us: transactions}}"""
    series = [(arm, rate, latencies[arm, workload, clients, rate]) for rate in rates for arm in ("mprotect", "mshare")
              if (arm, workload, clients, rate) in latencies]
    if not series:
        return None
    chart = Chart(f"Transactions at a fixed rate, {clients} clients",
                  _time_axis([us for _, _, bins in series for us in bins], "latency, from when each was due"),
                  Axis("share that took longer", 1e-4, 1, True,
                       [(1, "all"), (0.1, "1 in 10"), (0.01, "1 in 100"), (0.001, "1 in 1k"), (0.0001, "1 in 10k")]))
    for arm, rate, bins in series:
        total, longer, points = sum(bins.values()), sum(bins.values()), []
        for us in sorted(bins):
            points.append((us, max(longer / total, 1e-4)))
            longer -= bins[us]
        chart.line(points, arms.colour(arm), "5 3" if rate else None, 1.5)
    chart.key([(arm + (f", {rate} flips/s" if rate else ""), arms.colour(arm)) for arm, rate, _ in series],
              chart.x.low * 1.1, 0.7, "start")
    return Figure(f"latency-{workload}", "How many transactions took longer than a time; dashed with flips.",
                  chart.render())


def dots_per_run(results):
    """TPS of every run against the median of stock at the same point."""
    rows = []
    for workload, clients in results.pgbench_points():
        stock = results.values("stock", workload, clients, "tps")
        if not stock:
            continue
        base = stats.median(stock)
        for arm in arms.in_order(results.arms(), arms.SERVER):
            for rate in results.rates():
                values = results.values(arm, workload, clients, "tps", rate)
                if values:
                    rows.append((workload, clients, arm, rate, [value / base for value in values]))
    if not rows:
        return None
    every = [share for row in rows for share in row[4]] + [1]
    low, high = min(every), max(every)
    margin = (high - low) * 0.05 or 0.1
    ticks = [(-i, f"{workload} {clients}: {arm}" + (f" @{rate}" if rate else ""))
             for i, (workload, clients, arm, rate, _) in enumerate(rows)]
    chart = Chart("Every run: TPS against the median of stock",
                  Axis("1: stock without flips; @N: flips asked for", max(0, low - margin), high + margin),
                  Axis("", -len(rows) + 0.5, 0.5, ticks=ticks), height=90 + 17 * len(rows), left=232)
    for i, (_, _, arm, _, shares) in enumerate(rows):
        chart.dots([(share, -i) for share in shares], arms.colour(arm), opacity=0.7)
        chart.bar(stats.median(shares), -i, "#000000")
    return Figure("runs", "A dot is a run, the stroke the median.", chart.render())


def run_order(order):
    """Drift: every run against the median of its own point, in the order of time."""
    points = {}
    for started, arm, workload, clients, rate, tps in order:
        points.setdefault((arm, workload, clients, rate), []).append((started, tps))
    drift = [(started, arm, tps / stats.median([value for _, value in runs]))
             for (arm, _, _, _), runs in points.items() if len(runs) > 1 for started, tps in runs]
    if not drift:
        return None
    first = min(started for started, _, _ in drift)
    shares = [share for _, _, share in drift]
    chart = Chart("Run order: TPS against the median of the same point",
                  Axis("minutes since the first run", 0, max(1, max(t - first for t, _, _ in drift) / 60)),
                  Axis("", min(shares) * 0.98, max(shares) * 1.02), left=150)
    for name in arms.in_order({arm for _, arm, _ in drift}, arms.SERVER):
        chart.dots([((started - first) / 60, share) for started, arm, share in drift if arm == name],
                   arms.colour(name), opacity=0.7)
    chart.key([(name, arms.colour(name)) for name in arms.in_order({arm for _, arm, _ in drift}, arms.SERVER)],
              0, max(shares) * 1.02, "end")
    return Figure("run-order", RUN_ORDER, chart.render())


def footprint(results, pool_bytes):
    """Page tables over backends that have read everything, and what theory says."""
    series = {}
    for row in results.select("page_table_bytes", "backends"):
        if row.arm in SERVERS and row.arm != "mprotect":      # which is stock in this
            series.setdefault(row.arm, {}).setdefault(row.clients, []).append(row.value)
    if not series:
        return None
    clients = sorted({n for points in series.values() for n in points})
    theory = [(n, n * pool_bytes / 4096 * 8) for n in (0, *clients)] if pool_bytes else []
    medians = {arm: [(0, 0)] + [(n, stats.median(values)) for n, values in sorted(points.items())] for arm, points in series.items()}
    every = [value for points in [*medians.values(), theory] for _, value in points]
    chart = Chart("Page tables of backends that have read the data", Axis("connected backends", 0, clients[-1] * 1.4),
                  Axis("MiB, less those of the idle server", 0, max(every) / 2 ** 20 * 1.08))
    if theory:
        chart.line([(n, value / 2 ** 20) for n, value in theory], "#999999", "3 3")
        chart.label_behind(theory[-1][0], theory[-1][1] / 2 ** 20, "the data alone", "#777777")
    for name in arms.in_order(medians, arms.SERVER):
        points = [(n, value / 2 ** 20) for n, value in medians[name]]
        chart.line(points, arms.colour(name))
        chart.dots(points[1:], arms.colour(name))
        chart.label_behind(*points[-1], name, arms.colour(name))
    return Figure("footprint", "Page tables over connected backends, each of which has read every page of the data"
                  + (f" ({size_in_mib(pool_bytes)})" if pool_bytes else "") + ". The dashed line is what the data alone takes in 4 KiB "
                  "pages of each backend's own: 8 bytes a page and backend. The others have in them what buffer headers, catalogs and the "
                  "backend's own memory take, too.", chart.render())


def size_in_mib(length):
    return f"{length / 2 ** 20:,.0f} MiB"


def scaling(results):
    """Over the number of connections: TPS, and the page tables of them all."""
    for name, metric, unit, title in (("scaling-tps", "tps", 1, "TPS, median"),
                                      ("scaling-tables", "page_table_bytes", 2 ** 20, "page tables of all of them, MiB")):
        points = {}
        for row in results.select(metric, "scaling"):
            if row.arm in SERVERS:
                points.setdefault(row.arm, {}).setdefault(row.clients, []).append(row.value / unit)
        clients = sorted({n for found in points.values() for n in found})
        if len(clients) < 2:
            continue
        medians = {arm: [(n, stats.median(values)) for n, values in sorted(found.items())] for arm, found in points.items()}
        chart = Chart("Connections: select-only", _count_axis("connected clients", clients, room=0.3),
                      Axis(title, 0, 1.1 * max(y for found in medians.values() for _, y in found)))
        for arm in arms.in_order(medians, arms.SERVER):
            chart.line(medians[arm], arms.colour(arm))
            chart.dots(medians[arm], arms.colour(arm))
            chart.label_behind(*medians[arm][-1], arm, arms.colour(arm))
        yield Figure(name, f"Connection scaling: {title}.", chart.render())


def flip_rates(results, workload, clients):
    """TPS over the flips a second that were achieved."""
    series = {}
    for arm in arms.in_order(results.arms(), arms.SERVER):
        points = []
        for rate in results.rates():
            tps = results.values(arm, workload, clients, "tps", rate)
            achieved = results.values(arm, workload, clients, "flips_achieved", rate) or ([0] if rate == 0 else [])
            if tps and achieved:
                points.append((stats.median(achieved), stats.median(tps)))
        if len(points) > 1:
            series[arm] = sorted(points)
    if not series:
        return None
    chart = Chart(f"TPS while the pool flips: {workload}, {clients} clients",
                  Axis("whole-pool flips a second, achieved", 0, max(x for points in series.values() for x, _ in points) * 1.4),
                  Axis("TPS, median", 0, max(y for points in series.values() for _, y in points) * 1.1))
    for name, points in series.items():
        chart.line(points, arms.colour(name))
        chart.dots(points, arms.colour(name))
        chart.label_behind(*points[-1], name, arms.colour(name))
    return Figure(f"rates-{workload}-{clients}", "The load at each rate of flips, drawn at the rate that was achieved, "
                  "not the one that was asked for.", chart.render())
