# SPDX-License-Identifier: PostgreSQL
"""The arms: their order in tables, their colour in charts, what they are."""

from typing import NamedTuple


class Arm(NamedTuple):
    name: str
    colour: str
    text: str
    tuning: str = ""    # what was done to have it as good as its authors could make it


SERVER = (
    Arm("stock", "#555555", "PostgreSQL without the extension", "pool larger than the data, all of it prewarmed"),
    Arm("hugetlb", "#a07000", "the same with `huge_pages = on`: what people use today", "2 MiB pages, reserved before"),
    Arm("memfd", "#7a5fb0", "the pool moved to memory of the extension, never flipped: what moving alone costs"),
    Arm("mprotect", "#b03030", "the pool moved; to flip, every process of the server changes its own mapping on request",
        "the extension's fallback: a real-time signal to those that are behind, all sent before the first answer is "
        "waited for, one `mprotect()` of the whole pool in the handler"),
    Arm("mprotect-huge", "#e08060", "the same, the pool in huge pages", "512 times fewer entries"),
    Arm("mshare", "#2060b0", "one page table for all processes; a flip is one ioctl"),
    Arm("mshare-huge", "#50a0e0", "the same, the pool in huge pages"),
)

FLIP = (
    Arm("mprotect", "#b03030", "every process is told by a signal, calls mprotect() and answers",
        "one `kill()` for the whole process group, mprotect() in the handler at once, one atomic counter for the answers; who "
        "is done sleeps until all are, so as to take no CPU from the others"),
    Arm("repair", "#d07030", "closing as `mprotect`; reopening is a word in memory, and each process repairs its own "
        "fault with mprotect() when it next writes",
        "the repair opens the whole range, so that a process faults once"),
    Arm("uffd-wp", "#7a5fb0", "userfaultfd: the coordinator write-protects each process's range by its descriptor",
        "no process is told or waited for; a thread for each CPU, with the coordinator's priority; one call for the whole range; "
        "pages mapped before"),
    Arm("pagemap", "#a070b0", "for watching, not for denying: userfaultfd's asynchronous write protection, and PAGEMAP_SCAN of each process, "
        "which tells what was written and protects it again. A store is told of, not stopped", "a thread for each CPU; nothing has "
        "been written but what was tried, so that a scan only looks"),
    Arm("pkeys", "#208050", "protection keys: every process is told by a signal and changes a register; page tables stay, "
        "and so do the rights of whoever does not take part", "the register of the interrupted code is changed in the "
        "signal frame: no system call in the handler but those of the answer"),
    Arm("hugetlb", "#a07000", "as `mprotect`, in 2 MiB pages of hugetlb, whose page tables Linux shares until they are protected",
        "mappings aligned to 1 GiB, so that their PMD tables are shared at the start"),
    Arm("hugetlb-1g", "#705000", "the same in pages of 1 GiB: one entry for each GiB and process", "reserved before"),
    Arm("thp", "#c0a030", "as `mprotect`, the memory in transparent huge pages of shmem", "asked for by madvise(), and it is checked "
        "that the kernel gave them"),
    Arm("fifreeze", "#606060", "the range is a file that each process maps, and its file system is frozen (FIFREEZE): who stores waits in the "
        "kernel for the thaw, and so does every writer of that file system. No process takes part",
        "ext4 on a loop device in memory; nothing is dirty but what was tried, so that next to nothing has to be written first"),
    Arm("piece", "#8090b0", "mshare on a range that is only a part of its chunks: every entry is written, once for all"),
    Arm("leaf", "#50a0e0", "mshare with its views switched off: one shared page table, of which every entry is written. That is what sharing "
        "alone brings: what the mshare patches posted for Linux (v3), whose calls are to create and remove mappings, could do with a "
        "call that changes protection"),
    Arm("mshare", "#2060b0", "one shared page table, one entry written per GiB"),
    Arm("mshare-again", "#7090b0", "the same arm once more: how far it differs from `mshare` is how far two of the same thing differ (A/A)"),
)

_COLOURS = {arm.name: arm.colour for arm in SERVER + FLIP}


def colour(name):
    return _COLOURS.get(name, "#000000")


def in_order(names, arms):
    """Names in the order of `arms`, unknown ones behind."""
    known = [arm.name for arm in arms if arm.name in names]
    return known + sorted(set(names) - set(known))
