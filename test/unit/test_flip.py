#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""bench/flip's series of flips, with a clock and counters that are made up: flip/series.c."""

import csv
import subprocess
import tempfile
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


class Series(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.program = Path(cls.folder.name) / "series"
        subprocess.run(["cc", "-std=gnu11", "-Dusleep=pause_us", "-I", TOP / "bench/flip", "-o", cls.program,
                        *(TOP / "bench/flip" / name for name in ("measure.c", "median.c", "failure.c")), TOP / "test/unit/flip/series.c"],
                       check=True, stderr=subprocess.DEVNULL)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def series(self, box, samples, least, *running):
        """The rows as {metric: value}, and what was done."""
        trace = Path(self.folder.name) / "trace"
        ran = subprocess.run([self.program, str(box), str(samples), str(least), trace, *running], capture_output=True, text=True, check=True)
        return {fields[5]: float(fields[6]) for fields in csv.reader(ran.stdout.splitlines())}, trace.read_text(encoding="utf-8")

    def rows(self, *options):
        return self.series(*options)[0]

    def test_the_box_holds_flips_only(self):
        # Ten seconds take nine flips of 1.1 s and one that was begun in time; reading the statuses and flushing take none of it.
        self.assertEqual(self.rows(10, 1000, 1)["n"], 10)

    def test_the_first_flip_is_apart(self):
        rows = self.rows(10, 1000, 1)
        self.assertAlmostEqual(rows["flip_first"], 50e6)
        self.assertAlmostEqual(rows["up_first"], 0.1e6)
        self.assertAlmostEqual(rows["flip_max"], 1e6)
        self.assertEqual(self.rows(0.1, 1000, 3)["n"], 3)       # the least, and the first is not one of them

    def test_flushes_are_always_as_many_and_between_flips(self):
        for options in ((10, 1000, 1), (0.1, 1000, 3), (1000, 5, 1)):
            rows, done = self.series(*options)
            flips = done[done.index("co") + 2:].split("co")[1:]
            self.assertEqual(done.count("f"), 20, options)
            self.assertEqual(len(flips), rows["n"])
            for part in flips:      # no more than 20 shared out evenly, rounded up
                self.assertLessEqual(part.count("f"), -(-20 // len(flips)) + 1, (options, done))

    def test_interrupts_of_flushes_are_not_those_of_flips(self):
        self.assertEqual(self.rows(10, 1000, 1)["call_interrupts"], 2)

    def test_what_a_running_process_loses(self):
        # a quarter of a second in a closing and another in a reopening, whatever the coordinator's own time
        self.assertAlmostEqual(self.rows(10, 10, 1, "running")["lost_us"], 0.5e6, delta=100)
        self.assertNotIn("lost_us", self.rows(10, 10, 1))

    def test_a_tail_has_its_maximum_too(self):
        self.assertNotIn("flip_p99", self.rows(1000, 99, 1))
        rows = self.rows(1000, 100, 1)
        self.assertIn("flip_p99", rows)
        self.assertIn("flip_max", rows)


if __name__ == "__main__":
    unittest.main()
