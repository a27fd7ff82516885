# SPDX-License-Identifier: PostgreSQL
"""Which kernel was measured, and the same flips on two of them side by side."""

import re
from typing import NamedTuple, Optional

from . import flips, stats

MODULE, PATCHED, NONE = "stock kernel + module", "patched kernel", "none"
TIMED = "mshare", "piece", "leaf", "mprotect", "hugetlb", "pkeys"
OURS = "mshare", "piece", "leaf"        # arms that mshare's form can matter to
COUNTED = ("entries_written", "shootdowns", "syscalls", "flip_faults", "touch_faults", "touch_table_bytes", "tables_unshared",
           "pool_table_bytes", "pool_faults", "flip_instructions", "up_instructions", "instructions")
ENOUGH = 5          # repetitions on each side: with fewer an interval says nothing


def release(environment):
    """As in `uname -r`."""
    return (environment.get("kernel", "").split() + ["", ""])[1]


def form(environment):
    """Where msharefs came from; empty where older results do not tell."""
    if "mshare" in environment:
        return environment["mshare"]
    return PATCHED if re.fullmatch(r"6\.12\.\d+-(plain|debug)", release(environment)) else ""


def name(environment):
    return f"{form(environment)} ({release(environment)})"


def sentence(environment):
    """What was measured, and what cannot be said for it."""
    if form(environment) == MODULE:
        hooks = environment.get("mshare_hooks")
        return (f"**Measured on a stock kernel + module**: {release(environment)} as its distribution ships it, with mshare as a module; not "
                f"on the patched kernel. While msharefs is mounted the module's {hooks + ' ' if hooks else ''}hooks stand, and all arms ran so, "
                "those without mshare too. So what hooks cost a process that has no window is not measured here: nothing ran without them. "
                "What else a module lacks is in `kernel/module/README.md`."
                + (" The module was built without its knobs, so the arm `leaf` and bare flushes of all CPUs were not measured."
                   if environment.get("mshare_knobs") == "no" else ""))
    if form(environment) == PATCHED:
        return f"Measured on the patched kernel ({release(environment)})."
    if form(environment) == NONE:
        return f"Measured on a kernel without msharefs ({release(environment)}): no arm of mshare could run."
    return ""


class Pair(NamedTuple):
    """The closing of one arm at one point on two kernels."""
    workload: str
    arm: str
    first: list         # medians of the repetitions, us
    second: list
    ratio: tuple        # the second of the first, with its interval
    flush: Optional[float]      # the same ratio of bare flushes of all CPUs
    noise: float        # what mshare differs from itself by there, on the kernel where that is more

    def word(self):
        """Are they the same?"""
        _, low, high = self.ratio
        if min(len(self.first), len(self.second)) < ENOUGH:
            return "too few repetitions to tell"
        if low <= 1 <= high:
            return "same within noise"
        return "same within A/A" if abs(self.ratio[0] - 1) <= self.noise else "differs"


def _against_itself(results, processes, length, kind):
    ours, again = (flips.median(results, arm, processes, length, kind=kind) for arm in ("mshare", flips.AGAIN))
    return abs(again / ours - 1) if ours and again else 0


def pairs(first, second):
    """Closings that were measured on both."""
    found = []
    for kind in ("flip", "flip_idle"):
        for length, processes in sorted(set(flips.points(first, kind)) & set(flips.points(second, kind))):
            noise = max(_against_itself(results, processes, length, kind) for results in (first, second))
            for arm in TIMED:
                a, b = (flips.of_repetitions(results, arm, processes, length, kind=kind) for results in (first, second))
                if not a or not b:
                    continue
                floors = [flips.median(results, arm, processes, length, "flush_all_p50", kind) for results in (first, second)]
                # no repetition of one was measured beside one of the other
                ratio = stats.ratio_interval(b, a, paired=False)
                found.append(Pair(f"{kind}-{processes}-{length}", arm, stats.Sample(a), stats.Sample(b), ratio, floors[1] / floors[0] if all(floors) else None, noise))
    return found


def counts(first, second):
    """[(workload, arm, metric, median on the first, on the second)] of every count of both, in the order of their names."""
    points = sorted({(row.workload, row.clients, row.arm, row.metric) for row in first.rows if row.metric in COUNTED and not row.flips_per_s})
    found = []
    for workload, clients, arm, metric in points:
        a, b = (results.values(arm, workload, clients, metric) for results in (first, second))
        if a and b:
            found.append((workload, arm, metric, stats.median(a), stats.median(b)))
    return found
