# SPDX-License-Identifier: PostgreSQL
"""The same points in a virtual machine and on its host itself: does a ratio between two arms carry over?"""

from typing import NamedTuple, Optional

from . import arms, flips, raw, stats

HOST = "this host"      # bench/run --host; anything else is a virtual machine


def is_host(environment):
    return environment.get("machine") == HOST


class Point(NamedTuple):
    """What one arm takes on both, and how many times of the arm that all are compared with."""
    what: str
    arm: str
    virtual: list       # medians of the repetitions, us
    host: list
    virtual_times: Optional[tuple]      # (ratio, low, high); None for the arm compared with
    host_times: Optional[tuple]


def _points(what, base, order, virtual, host):
    """virtual, host: {arm: {repetition: us}}"""
    for arm in arms.in_order(set(virtual) & set(host), order):
        ratios = [stats.ratio_interval(values[arm], values[base]) if arm != base and base in values else None
                  for values in (virtual, host)]
        yield Point(what, arm, stats.Sample(virtual[arm]), stats.Sample(host[arm]), *ratios)


def _measured(found):
    return {arm: values for arm, values in found if values}


def closings(virtual, host):
    """Of mprotect's, at every point of both."""
    for kind in ("flip", "flip_idle"):
        for length, processes in sorted(set(flips.points(virtual, kind)) & set(flips.points(host, kind))):
            yield from _points(f"{kind}-{processes}-{length}", "mprotect", arms.FLIP, *(
                _measured((arm, flips.of_repetitions(results, arm, processes, length, kind=kind)) for arm in flips.arms_of(results))
                for results in (virtual, host)))


def sessions(virtual, host):
    """Of stock's: a new session that reads."""
    for workload in raw.SESSIONS:
        yield from _points(workload, "stock", arms.SERVER, *(
            _measured((arm, results.repetitions(arm, workload, 1, "session_us")) for arm in results.arms())
            for results in (virtual, host)))
