# SPDX-License-Identifier: PostgreSQL
"""bench/compare: two results side by side."""

import json

from . import contents, render, results, stats
from .units import count

METRICS = ("tps", "latency_p99", "session_us", "first_read_us", "pool_table_bytes", "pool_faults", "freeze_p50", "shrink_p50", "grow_p50", "own_p50", "flip_p50", "up_p50", "flush_all_p50", "lost_us", "entries_written", "syscalls", "shootdowns", "flip_faults",
           "touch_faults", "page_table_bytes", "minor_faults", "session_faults", "time_closed", "failed")


def _can_test(before, after):
    return bool(before and after) and stats.smallest_p(len(before), len(after)) < stats.SIGNIFICANT


def _change(before, after, p):
    """In per cent; with the rank test's word, corrected for the number of tests, where it can have one."""
    first, second = stats.median(before), stats.median(after)
    if p is not None:
        return contents.change(before, after, p=p) if first else ""
    if first == second:
        return "="
    return f"{100 * (second / first - 1):+.1f} % (n {len(before)}, {len(after)}: too few to tell)" if first else ""


def table(first, second, metrics):
    points = {}
    for column, result in enumerate((first, second)):
        for row in result.rows:
            if row.metric in metrics:
                key = metrics.index(row.metric), row.workload, row.clients, row.flips_per_s, row.arm
                points.setdefault(key, ([], [], row.unit))[column].append(row.value)
    tested = {key: stats.mann_whitney(before, after) for key, (before, after, _) in points.items() if _can_test(before, after)}
    chances = dict(zip(tested, stats.holm(list(tested.values()))))
    rows = []
    for key, (before, after, unit) in sorted(points.items()):
        metric, workload, clients, rate, arm = key
        form = contents.FORMS.get(unit, count)
        rows.append((metrics[metric], workload, str(clients), str(rate), arm,
                     contents.with_interval(before, form) if before else "not measured",
                     contents.with_interval(after, form) if after else "not measured",
                     _change(before, after, chances.get(key)) if before and after else ""))
    return render.Table(("metric", "workload", "clients", "flips/s", "arm", "A", "B", "B against A"), rows)


def _environment(folder):
    path = folder / "env.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def text(folder_a, folder_b, metrics=None):
    first, second = (results.Results.of(folder) for folder in (folder_a, folder_b))
    a, b = _environment(folder_a), _environment(folder_b)
    different = [(name.replace("_", " "), a.get(name, ""), b.get(name, ""))
                 for name in {**a, **b} if a.get(name) != b.get(name)]
    return render.markdown(f"{folder_a} and {folder_b}", [
        render.Heading("Where they were measured, as far as it differs"), render.Table(("", "A", "B"), different),
        render.Heading("Medians, with intervals"), table(first, second, list(metrics or METRICS))])
