# SPDX-License-Identifier: PostgreSQL
"""What closing a range would take of a machine that nobody here has, from what this one takes for each step.

A model, not a measurement: every figure is a band, (low, high) in nanoseconds.
"""

import argparse
import csv
import sys
from pathlib import Path

if __package__ is None or __package__ == "":     # run as `python3 bench/native/model.py`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from report import flips, raw, render
from report.units import count, micro, ratio, rounded_size

GIB = 2 ** 30
PAGE = 4096
FAULT_AROUND = 16       # pages that one fault maps
REMOTE = 3              # memory of another node is at most so many times slower: an assumption
STEPS = {
    "system_call": "a system call that does nothing",
    "mprotect_page": "mprotect() of one page, by a process that runs nowhere else",
    "mprotect_entry": "each further page that is present",
    "fault": "a fault in shared memory, which maps 16 pages",
    "unmap_entry": "munmap() or exit, each page that is present",
    "ask_process": "asking a process by a signal, and its answer: of one CPU",
    "walk_list": "a sharer that a flip visits, in no cache, by a list",
    "walk_array": "the same by an array, with prefetch",
}


def read(path):
    """{name: (low, median, high)}"""
    with open(path, encoding="utf-8", newline="") as file:
        return {row["name"]: tuple(float(row[each]) for each in ("low", "median", "high")) for row in csv.DictReader(file)}


def middle(steps, name):
    return steps[name][1]


def band(steps, name, worst=1):
    low, _, high = steps[name]
    return low, high * worst


def interrupt_round(steps, cpus):
    """Interrupting all other CPUs: they do it at the same time (as long as the most that was measured), or one after the other."""
    measured = {int(name.removeprefix("interrupt_")): value for name, value in steps.items() if name.startswith("interrupt_")}
    most = max(measured)
    if cpus - 1 <= most:
        nearest = min(others for others in measured if others >= cpus - 1)
        return measured[nearest][0], measured[nearest][2]
    return measured[most][0], measured[most][2] / most * (cpus - 1)


def plus(*bands):
    return tuple(map(sum, zip(*bands)))


def times(factor, of):
    return tuple(factor * each for each in of)


def mprotect_each(steps, processes, length, cpus, remote=1):
    """Every process is asked, and changes its own mapping; all CPUs work at it, and one process cannot be quicker than itself."""
    own = plus(band(steps, "mprotect_page"), times(length / PAGE - 1, band(steps, "mprotect_entry", remote)))
    return tuple(max(one, all_of_them) for one, all_of_them in
                 zip(own, times(processes / cpus, plus(own, band(steps, "ask_process")))))


def mshare(steps, processes, length, cpus, remote=1):
    """An mprotect() of one page, a store for each GiB, a visit of each sharer, and a round of interrupts."""
    visit = steps["walk_array"][0], steps["walk_list"][2] * remote
    return plus(band(steps, "mprotect_page", remote), times(-(-length // GIB), band(steps, "mprotect_entry", remote)),
                times(processes, visit), interrupt_round(steps, cpus))


def new_process(steps, length, remote=1):
    """The faults of a process that reads all of the range for the first time."""
    return times(length / PAGE / FAULT_AROUND, band(steps, "fault", remote))


def between(of):
    return f"{micro(of[0] / 1e3)} .. {micro(of[1] / 1e3)}"


def steps_table(steps):
    names = [name for name in steps if name in STEPS or name.startswith("interrupt_")]
    words = {name: STEPS.get(name) or f"interrupting {name.removeprefix('interrupt_')} other CPU(s), more than mprotect() alone" for name in names}
    return render.Table(("step", "ns", "quartiles"), [
        (words[name], f"{middle(steps, name):,.1f}", f"{steps[name][0]:,.1f} .. {steps[name][2]:,.1f}") for name in names])


def check_rows(steps, path):
    """(what, predicted, measured us, word, arm) of closings that bench/flip timed on the machine of `steps`."""
    cpus = int(middle(steps, "cpus"))
    for row in raw.flip_rows(path):
        if row.metric != "flip_p50" or not row.workload.startswith("flip_idle-"):
            continue
        length = int(row.workload.split("-")[2])
        if row.arm == "mprotect":
            predicted = mprotect_each(steps, row.clients, length, cpus)
            word = f"{ratio(1e3 * row.value / ((predicted[0] + predicted[1]) / 2))} times the middle"
        elif row.arm == "mshare":
            predicted = mshare(steps, row.clients, length, cpus)
            word = f"{ratio(1e3 * row.value / predicted[1])} times the upper end"
        else:
            continue
        yield f"{flips.words(row.workload)}, {row.arm}", predicted, row.value, word, row.arm


def above(checked):
    """By how much the closings of mshare were above the model's upper end, at worst; 1 if none was."""
    return max([1] + [1e3 * us / predicted[1] for _, predicted, us, _, arm in checked if arm == "mshare"])


def far_table(steps, length, processes, cpus, wider):
    slow, (low, high) = (way(steps, processes, length, cpus, REMOTE) for way in (mprotect_each, mshare))
    fast = low, high * wider
    entries = length // PAGE
    return render.Table(("", "each process for itself", "mshare"), [
        ("closing it for all", between(slow), between(fast)),
        ("entries written", count(entries * processes), count(-(-length // GIB))),
        ("page tables, once all have read all", rounded_size(8 * entries * processes), rounded_size(8 * entries)),
        ("a new process that reads all of it", f"{between(new_process(steps, length, REMOTE))} of faults", "none")])


def main():
    parser = argparse.ArgumentParser(prog="bench/native/model.py", description=__doc__.splitlines()[0])
    parser.add_argument("steps", type=Path, help="what calibrate printed on this machine")
    parser.add_argument("--check", nargs=2, type=Path, metavar=("STEPS", "FLIPS"),
                        help="what calibrate and bench/flip printed on another, where the model is tried")
    parser.add_argument("--gib", type=int, default=300)
    parser.add_argument("--processes", type=int, default=1500)
    parser.add_argument("--cpus", type=int, default=128)
    options = parser.parse_args()
    steps = read(options.steps)
    wider = 1
    blocks = [render.Heading("The steps, measured on this machine"), steps_table(steps)]
    if options.check:
        there = read(options.check[0])
        checked = list(check_rows(there, options.check[1]))
        wider = above(checked)
        blocks += [
            render.Heading("The model against measured closings"),
            render.Text("In the virtual machine, with the steps as they were measured there. No closing was used for the model."),
            render.Table(("closing", "model", "measured", ""), [
                (what, between(predicted), micro(us), word) for what, predicted, us, word, _ in checked]),
            render.Fold("The steps there", (steps_table(there),))]
    blocks += [
        render.Heading(f"A model of {options.gib} GiB, {options.processes:,} processes, {options.cpus} CPUs"),
        render.Text(f"Nothing here was measured on such a machine. Each figure is a band: from the lower quartiles of this machine's steps to the upper ones, "
                    f"memory of other nodes up to {REMOTE} times slower (an assumption), a round of interrupts from as long as the largest measured here to one CPU after the other, "
                    "sharers visited in an array or a list. "
                    + (f"The upper end of mshare is {ratio(wider)} times as high as the steps alone make it, as the worst closing above was." if wider > 1 else
                       "Nothing was tried against measured closings." if not options.check else "No closing above was beyond the model's upper end.")),
        far_table(steps, options.gib * GIB, options.processes, options.cpus, wider)]
    print(render.markdown("pg_mshare: a model of larger machines", blocks), end="")


if __name__ == "__main__":
    main()
