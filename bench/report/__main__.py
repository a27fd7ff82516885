# SPDX-License-Identifier: PostgreSQL
"""Turns a folder of raw results into results.csv, env.json, report.md, report.html and charts.

Exit status: 0, or 1 if any run failed or the runs were interrupted.
"""

import argparse
import json
import sys
from pathlib import Path

if __package__ is None or __package__ == "":     # run as `python3 bench/report`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    __package__ = "report"

from . import contents, raw, readme, render, results as results_module


def main():
    parser = argparse.ArgumentParser(prog="bench/report", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what bench/run left: build/bench/TIME")
    parser.add_argument("--figures", metavar="PLACE",
                        help="write nothing; print what README.md shows of a result that is published in PLACE")
    parser.add_argument("--beside", type=Path, action="append", default=[], metavar="PLACE",
                        help="another run, published in a folder below this one's, that the report names; may be repeated")
    options = parser.parse_args()
    folder = options.folder

    rows = raw.rows(folder)
    if not rows:
        sys.exit(f"bench/report: {folder} holds no result of any run")
    results = results_module.Results(rows)
    environment = {}
    for name in ("env.host", "env"):
        if (folder / name).exists():
            environment.update(raw.assignments((folder / name).read_text(encoding="utf-8")))
    if options.figures:
        print(readme.figures(results, options.figures, environment.get("wide_mib")), end="")
        return
    results_module.write(folder / "results.csv", rows)
    (folder / "env.json").write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")

    complete = (folder / "complete").exists()
    blocks = contents.blocks(results, environment, complete, raw.flip_samples(folder), raw.latencies(folder),
                             raw.run_order(folder), raw.data_bytes(folder),
                             [(place.name, results_module.Results.of(place)) for place in options.beside])
    for block in blocks:
        if hasattr(block, "svg"):
            (folder / f"{block.name}.svg").write_text(block.svg, encoding="utf-8")
    (folder / "report.md").write_text(render.markdown(contents.TITLE, blocks), encoding="utf-8")
    (folder / "report.html").write_text(render.page(contents.TITLE, blocks), encoding="utf-8")
    sys.exit(0 if complete and not results.select("failed") else 1)


if __name__ == "__main__":
    main()
