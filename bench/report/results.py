# SPDX-License-Identifier: PostgreSQL
"""results.csv: one row per arm, workload, repetition and metric."""

import csv
import gzip
from typing import NamedTuple

from . import stats

# These arms are one and the same server where nothing flips.
SAME_SERVER = "memfd", "mprotect"


# What older results call it.
RENAMED = {f"floor_{tail}": f"flush_all_{tail}" for tail in ("p50", "p99", "max")}


class Row(NamedTuple):
    arm: str
    workload: str
    clients: int
    flips_per_s: int
    rep: int
    metric: str
    value: float
    unit: str
    note: str


def row_of(fields):
    """A Row from the nine fields of a line of CSV."""
    arm, workload, clients, flips, rep, metric, value, unit, note = fields
    return Row(arm, workload, int(clients), int(flips), int(rep), RENAMED.get(metric, metric), float(value), unit, note)


def number(value):
    return f"{value:.10g}"


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        for row in rows:
            writer.writerow(row._replace(value=number(row.value)))


def place(folder):
    """Where a folder has its rows, compressed in a published one; None if it has none."""
    return next((path for path in (folder / "results.csv", folder / "results.csv.gz") if path.exists()), None)


def read(path):
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        if tuple(next(lines)) != Row._fields:
            raise ValueError(f"{path}: its first line is not {','.join(Row._fields)}")
        return [row_of(line) for line in lines]


class Beside(NamedTuple):
    """Another run that a report names."""
    name: str
    results: "Results"
    environment: dict


class Results:
    """Rows, and what was measured at each point of the comparison."""

    def __init__(self, rows):
        self.rows = rows
        self._repetitions = {}
        for row in rows:
            key = row.arm, row.workload, row.clients, row.flips_per_s, row.metric
            self._repetitions.setdefault(key, {}).setdefault(row.rep, row.value)

    @classmethod
    def of(cls, folder):
        """Those of a folder that has rows."""
        return cls(read(place(folder)))

    def values(self, arm, workload, clients, metric, flips=0):
        """One value per repetition, an empty list if none was measured."""
        return stats.Sample(self.repetitions(arm, workload, clients, metric, flips))

    def repetitions(self, arm, workload, clients, metric, flips=0):
        """The same as {repetition: value}."""
        return self._repetitions.get((arm, workload, clients, flips, metric), {})

    def boots(self):
        return len({row.rep // stats.BOOT for row in self.rows})

    def arms(self):
        return {row.arm for row in self.rows}

    def rates(self):
        """Flips a second that pgbench runs were offered."""
        return sorted({row.flips_per_s for row in self.select("tps")})

    def rates_of(self, workload):
        """The same of one workload."""
        return sorted({row.flips_per_s for row in self.select("tps", workload)})

    def pgbench_points(self):
        """All (workload, clients) of pgbench that are compared by their TPS."""
        return sorted({(row.workload, row.clients) for row in self.select("tps") if row.workload not in ("freeze", "resize", "paced")})

    def noise(self, workload, clients):
        """A against A: by how much the medians of the same server differ at this point
        without flips, as a share; None where it was not measured."""
        first, second = (self.values(arm, workload, clients, "tps") for arm in SAME_SERVER)
        return abs(stats.median(second) / stats.median(first) - 1) if first and second else None

    def select(self, metric=None, workload=None):
        return [row for row in self.rows
                if metric in (None, row.metric) and workload in (None, row.workload)]
