#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""bench/guard lets what is at its limit pass, and nothing above it or missing."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "bench"))
from report.results import Row, write


def limits():
    for line in (TOP / "bench/limits").read_text(encoding="utf-8").splitlines():
        fields = line.split("#")[0].split()
        if fields:
            arm, workload, clients, metric, most = fields
            yield Row(arm, workload, int(clients), 0, 1, metric, float(most), "count", "")


class Guard(unittest.TestCase):
    def judge(self, rows):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "results.csv", rows)
            ran = subprocess.run([TOP / "bench/guard", folder], capture_output=True, text=True, check=False)
        return ran.returncode, [line for line in ran.stdout.splitlines() if line.startswith("not ok")]

    def test_at_the_limit(self):
        self.assertEqual(self.judge(list(limits())), (0, []))

    def test_one_above_it(self):
        rows = list(limits())
        rows[2] = rows[2]._replace(value=rows[2].value + 1)
        status, bad = self.judge(rows)
        self.assertEqual(status, 1)
        self.assertEqual(len(bad), 1)
        self.assertIn(f"{rows[2].metric}: {rows[2].value:.0f} is above", bad[0])

    def test_the_worst_repetition_counts(self):
        rows = list(limits())
        rows.insert(0, rows[0]._replace(value=rows[0].value + 1, rep=2))
        self.assertEqual(self.judge(rows)[0], 1)

    def test_what_was_not_measured_fails(self):
        status, bad = self.judge(list(limits())[1:])
        self.assertEqual((status, len(bad)), (1, 1))
        self.assertIn("not measured", bad[0])


if __name__ == "__main__":
    unittest.main()
