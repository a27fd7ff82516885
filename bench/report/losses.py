# SPDX-License-Identifier: PostgreSQL
"""Where mshare was worse than something else: every comparison that the rows allow, looked through."""

from typing import NamedTuple

from . import arms, flips, stats

# metric, what it is, +1 where more is better
SERVER = (("tps", "TPS", +1), ("session_us", "connect, read, disconnect", -1), ("first_read_us", "first read of the pool", -1),
          ("second_read_us", "second read of the pool", -1), ("pool_faults", "faults of reading the pool", -1),
          ("pool_table_bytes", "page tables for the pool, of a backend", -1), ("page_table_bytes", "page tables", -1),
          ("time_closed", "time closed", -1), ("latency_p99", "latency, 99th percentile", -1))
FLIP = (("flip_p50", "closing", -1), ("up_p50", "reopening", -1), ("own_p50", "closing by a lone process itself", -1),
        ("touch_faults", "faults of a new process", -1), ("page_table_bytes", "page tables", -1))
# what has no flips has mshare without flips beside it
OURS = "mshare", "piece"


class Loss(NamedTuple):
    what: str
    where: str
    arm: str
    theirs: float
    ours_arm: str
    ours: float
    unit: str
    p: float


def _worse(ours, theirs, better):
    return better * (stats.median(theirs) - stats.median(ours)) > 0


def find(results):
    """(losses that are significant after correction for all comparisons, how many these were)"""
    lost, chances = [], []
    units = {row.metric: row.unit for row in results.rows}
    points = sorted({(row.workload, row.clients, row.flips_per_s) for row in results.rows})
    for workload, clients, rate in points:
        noise = results.noise(workload, clients) or 0
        flip = workload.startswith("flip")
        order = arms.FLIP if flip else arms.SERVER
        for metric, what, better in FLIP if flip else SERVER:
            for ours_arm in OURS:
                ours = results.values(ours_arm, workload, clients, metric, rate)
                for arm in order:
                    theirs = results.values(arm.name, workload, clients, metric, rate)
                    if arm.name in (*OURS, "leaf", flips.AGAIN, "mshare-huge") or not ours or not theirs:
                        continue
                    if stats.smallest_p(len(ours), len(theirs)) >= stats.SIGNIFICANT:
                        continue
                    p = stats.mann_whitney(ours, theirs)
                    chances.append(p)
                    share = abs(stats.median(theirs) / stats.median(ours) - 1) if stats.median(ours) else 1
                    if _worse(ours, theirs, better) and not (metric == "tps" and share <= noise):
                        where = flips.words(workload) if flip else f"{workload}, {clients} clients" + (f", {rate} flips/s" if rate else "")
                        lost.append((len(chances) - 1, Loss(what, where, arm.name, stats.median(theirs), ours_arm, stats.median(ours),
                                                            units[metric], p)))
    corrected = stats.holm(chances)
    return [loss._replace(p=corrected[i]) for i, loss in lost if corrected[i] < stats.SIGNIFICANT], len(chances)
