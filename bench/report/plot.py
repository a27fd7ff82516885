# SPDX-License-Identifier: PostgreSQL
"""The plots, drawn by gnuplot."""

import subprocess

from . import stats

GIB = 2 ** 30
TIB = 2 ** 40

SERIES = (      # arm, bytes, title, colour, dash
    ("mprotect", GIB, "mprotect in every process, 1 GiB", "#b03030", 1),
    ("mshare", GIB, "mshare, 1 GiB", "#2060b0", 1),
    ("mshare", TIB, "mshare, 1 TiB", "#2060b0", 2),
)


def closing_by_processes(results, path):
    """Median closing times over the number of processes; False if there are none."""
    blocks, curves = [], []
    for arm, size, title, colour, dash in SERIES:
        points = sorted({row.clients for row in results.select("flip_p50")
                         if row.arm == arm and row.workload == f"flip-{row.clients}-{size}"})
        if not points:
            continue
        name = f"$series{len(blocks)}"
        lines = [f"{n} {stats.median(results.values(arm, f'flip-{n}-{size}', n, 'flip_p50'))}" for n in points]
        blocks.append(f"{name} << EOD\n" + "\n".join(lines) + "\nEOD\n")
        curves.append(f'{name} with linespoints pt 7 lw 2 dt {dash} lc rgb "{colour}" title "{title}"')
    if not blocks:
        return False
    script = "".join(blocks) + f"""
set terminal svg size 760,460 font "sans-serif,13" background "white"
set output "{path}"
set title "Time until no process can write (median, running processes)"
set logscale xy
set xlabel "processes that map the memory"
set xtics (1, 8, 64, 256)
set xrange [0.8:320]
set yrange [1:*]
set ytics ("1 us" 1, "10 us" 10, "100 us" 100, "1 ms" 1e3, "10 ms" 1e4, "100 ms" 1e5, "1 s" 1e6, "10 s" 1e7)
set grid ytics lc rgb "#dddddd"
set key top left
plot {", ".join(curves)}
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    return True
