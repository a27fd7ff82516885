# SPDX-License-Identifier: PostgreSQL
"""The arms: their order in tables, their colour in charts, what they are."""

from typing import NamedTuple


class Arm(NamedTuple):
    name: str
    colour: str
    text: str


SERVER = (
    Arm("stock", "#555555", "PostgreSQL without the extension"),
    Arm("hugetlb", "#a07000", "the same with `huge_pages = on`: what people use today"),
    Arm("memfd", "#7a5fb0", "the pool moved to memory of the extension, never flipped: what moving alone costs"),
    Arm("mprotect", "#b03030", "the pool moved; to flip, every process of the server changes its own mapping on request"),
    Arm("mprotect-huge", "#e08060", "the same, the pool in huge pages"),
    Arm("mshare", "#2060b0", "one page table for all processes; a flip is one ioctl"),
    Arm("mshare-huge", "#50a0e0", "the same, the pool in huge pages"),
)

FLIP = (
    Arm("mprotect", "#b03030", "every process is told by a signal, calls mprotect() and answers"),
    Arm("repair", "#d07030", "closing as `mprotect`; reopening is a word in memory, and each process repairs its own "
        "fault with mprotect() when it next writes"),
    Arm("uffd-wp", "#7a5fb0", "userfaultfd: the coordinator write-protects each process's range by its descriptor, "
        "with a thread per CPU"),
    Arm("pkeys", "#208050", "protection keys: every process is told by a signal and changes a register; page tables stay, "
        "and so do the rights of whoever does not take part"),
    Arm("hugetlb", "#a07000", "as `mprotect`, in 2 MiB pages of hugetlb, whose page tables Linux shares until they are protected"),
    Arm("leaf", "#50a0e0", "mshare without views: one shared page table, of which every entry is written"),
    Arm("mshare", "#2060b0", "one shared page table, one entry written per GiB"),
)

_COLOURS = {arm.name: arm.colour for arm in SERVER + FLIP}


def colour(name):
    return _COLOURS.get(name, "#000000")


def in_order(names, arms):
    """Names in the order of `arms`, unknown ones behind."""
    known = [arm.name for arm in arms if arm.name in names]
    return known + sorted(set(names) - set(known))
