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


def environment_of(folder):
    """What bench/run noted, and what is known of the data."""
    found = {}
    for name in ("env.host", "env"):
        if (folder / name).exists():
            found.update(raw.assignments((folder / name).read_text(encoding="utf-8")))
    if raw.data_bytes(folder):
        found["data_bytes"] = str(raw.data_bytes(folder))
    return found


def published_environment(folder):
    return json.loads((folder / "env.json").read_text(encoding="utf-8"))


def write(folder, blocks, rows_name="results.csv"):
    for figure in render.figures(blocks):
        (folder / f"{figure.name}.svg").write_text(figure.svg, encoding="utf-8")
    for name, form in (("report.md", render.markdown), ("report.html", render.page)):
        (folder / name).write_text(form(contents.TITLE, blocks).replace("results.csv", rows_name), encoding="utf-8")


def again(folder, beside):
    """The report of a published result once more, from its rows; charts that need raw output stay as they are."""
    svgs = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.svg")}
    environment = published_environment(folder)
    blocks = contents.blocks(results_module.Results.of(folder), environment, True, beside=beside, svgs=svgs,
                             data_bytes=int(environment.get("data_bytes", 0)))
    for path in folder.glob("*.svg"):
        path.unlink()
    write(folder, blocks, results_module.place(folder).name)


def main():
    parser = argparse.ArgumentParser(prog="bench/report", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what bench/run left, build/bench/TIME; or a published result")
    parser.add_argument("--figures", metavar="PLACE",
                        help="write nothing; print what README.md shows of a result that is published in PLACE")
    parser.add_argument("--beside", type=Path, action="append", default=[], metavar="PLACE",
                        help="another run, in a folder below this one's, that the report names, and compares where it was on another kernel; may be repeated")
    parser.add_argument("--again", action="store_true",
                        help="the folder is a published result: make its report again, from its rows")
    options = parser.parse_args()
    folder = options.folder
    beside = [results_module.Beside(place.name, results_module.Results.of(place), published_environment(place)) for place in options.beside]

    if options.figures:
        published = results_module.Results.of(folder)
        print(readme.figures(published, options.figures, published_environment(folder)), end="")
        return
    if options.again:
        again(folder, beside)
        return
    rows = raw.rows(folder)
    if not rows:
        sys.exit(f"bench/report: {folder} holds no result of any run")
    results = results_module.Results(rows)
    environment = environment_of(folder)
    results_module.write(folder / "results.csv", rows)
    (folder / "env.json").write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")

    complete = raw.complete(folder)
    write(folder, contents.blocks(results, environment, complete, raw.latencies(folder), raw.run_order(folder), raw.data_bytes(folder),
                                  beside))
    sys.exit(0 if complete and not results.select("failed") else 1)


if __name__ == "__main__":
    main()
