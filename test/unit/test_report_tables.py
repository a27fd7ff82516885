#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""The report's verdicts and tables: met, missed, and above all not measured."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from report import goals, markdown, raw
from report.results import Results, Row

GOLDEN = Path(__file__).resolve().parent / "report"
GIB, TIB = 2 ** 30, 2 ** 40


def flip(arm, processes, size, us, metric="flip_p50"):
    return Row(arm, f"flip-{processes}-{size}", processes, 0, 1, metric, us, "us", "")


def backends(arm, workload, clients, page_tables):
    return Row(arm, workload, clients, 0, 1, "page_table_bytes", page_tables, "bytes", "")


class Goals(unittest.TestCase):
    def test_nothing_measured_nothing_met(self):
        self.assertEqual({verdict.met for verdict in goals.verdicts(Results([]))}, {None})

    def test_ratio_has_the_single_process_beside_it(self):
        rows = [flip("mprotect", 64, GIB, 300000), flip("mprotect", 1, GIB, 9000), flip("mshare", 64, GIB, 100)]
        verdict = goals.closing_against_mprotect(Results(rows))
        self.assertTrue(verdict.met)
        self.assertIn("3,000 times", verdict.measured)
        self.assertIn("90 times", verdict.measured)

    def test_missed(self):
        rows = [flip("mprotect", 64, GIB, 99999), flip("mshare", 64, GIB, 100)]
        self.assertIs(goals.closing_against_mprotect(Results(rows)).met, False)

    def test_growth_takes_the_worst_number_of_processes(self):
        rows = [flip("mshare", 1, GIB, 10), flip("mshare", 1, TIB, 50),
                flip("mshare", 8, GIB, 10), flip("mshare", 8, TIB, 101)]
        verdict = goals.growth_with_bytes(Results(rows))
        self.assertIs(verdict.met, False)
        self.assertIn("10.10 times", verdict.measured)

    def test_page_tables_count_from_backends_that_only_pin(self):
        rows = [backends("mshare", "backends", 32, 32 * 170e3), backends("mshare", "backends-pin", 32, 32 * 160e3),
                backends("memfd", "backends", 32, 32 * 500e3), backends("memfd", "backends-pin", 32, 32 * 180e3)]
        verdict = goals.page_tables(Results(rows))
        self.assertTrue(verdict.met)
        self.assertIn("10,000 each, memfd 320,000", verdict.measured)

    def test_one_run_that_was_closed_too_long_misses(self):
        rows = [Row("mshare", "tpcb-like", 1, 10, rep, "time_closed", value, "ratio", "")
                for rep, value in enumerate((0.001, 0.02, 0.001))]
        self.assertIs(goals.time_closed(Results(rows)).met, False)


class Tables(unittest.TestCase):
    def test_units(self):
        self.assertEqual([markdown.micro(us) for us in (1.234, 999.4, 1500, 2.5e6)],
                         ["1.23 us", "999 us", "1.5 ms", "2.5 s"])
        self.assertEqual([markdown.size(n) for n in (67108864, GIB, TIB)], ["64 MiB", "1 GiB", "1 TiB"])

    def test_no_difference_is_a_tilde(self):
        self.assertTrue(markdown.change([1, 2, 3, 4, 5], [1.1, 2.1, 2.9, 4.2, 5.1]).startswith("~"))
        self.assertTrue(markdown.change([1, 2, 3, 4, 5], [16, 17, 18, 19, 20]).startswith("+500.0 %"))

    def test_report_of_the_golden_folder(self):
        text = markdown.report(Results(raw.rows(GOLDEN)), raw.flip_samples(GOLDEN), {}, [], complete=False)
        self.assertIn("This run was interrupted", text)
        self.assertIn("sums disagree", text)
        self.assertIn('failed: open "here", failed', text)
        self.assertIn("4,576.1", text)              # 270,449.8 / 59.1
        self.assertIn("8.60 of 10", text)

    def test_a_busy_host_is_told(self):
        text = markdown.report(Results([]), {}, {"host_other_load_percent": "40.0"}, [], complete=True)
        self.assertIn("Other work took 40 %", text)


if __name__ == "__main__":
    unittest.main()
