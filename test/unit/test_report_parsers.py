#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""The report's parsers on golden logs: test/unit/report is a result folder."""

import shutil
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from report import raw, results

GOLDEN = Path(__file__).resolve().parent / "report"


def metrics(rows):
    return {row.metric: row.value for row in rows}


class Run(unittest.TestCase):
    def setUp(self):
        self.rows = raw.run_rows(GOLDEN / "raw/0001")
        self.metrics = metrics(self.rows)

    def test_point(self):
        self.assertEqual({row[:5] for row in self.rows}, {("mprotect", "tpcb-like", 32, 10, 1)})

    def test_pgbench(self):
        self.assertEqual(self.metrics["tps"], 133.06216)
        self.assertEqual(self.metrics["transactions"], 636)
        self.assertAlmostEqual(self.metrics["latency_average"], 240489)
        self.assertEqual(self.metrics["client_errors"], 0)

    def test_counters(self):
        self.assertEqual(self.metrics["page_table_bytes"], (10672 - 1272) * 1024)
        self.assertEqual(self.metrics["minor_faults"], 156174 - 117879)
        self.assertEqual(self.metrics["blks_read"], 0)

    def test_flips(self):
        self.assertEqual(self.metrics["n"], 43)
        self.assertEqual(self.metrics["flips_achieved"], 43 / 5)
        self.assertIn("flip_max", self.metrics)         # 43 are too few for a percentile
        self.assertNotIn("flip_p99", self.metrics)
        self.assertAlmostEqual(self.metrics["flip_p50"], 39.8e3, delta=0.1e3)
        self.assertAlmostEqual(self.metrics["time_closed"], 0.54458, places=5)

    def test_latencies(self):
        bins = raw.latencies(GOLDEN)["mprotect", "tpcb-like", 32, 10]
        self.assertEqual(sum(bins.values()), 636)
        self.assertEqual(min(bins), 28000)

    def test_order(self):
        self.assertEqual(raw.run_order(GOLDEN)[0], (1795469057, "mprotect", "tpcb-like", 32, 10, 133.06216))

    def test_a_run_without_failure_has_no_failed_row(self):
        self.assertNotIn("failed", self.metrics)


class FailedRun(unittest.TestCase):
    def setUp(self):
        self.rows = raw.run_rows(GOLDEN / "raw/0002")

    def test_reason(self):
        failed = [row for row in self.rows if row.metric == "failed"]
        self.assertEqual([(row.value, row.note) for row in failed],
                         [(1, "sums disagree: accounts 10, tellers 10, branches 10, history 9")])

    def test_client_errors_are_failed_transactions_and_aborted_clients(self):
        self.assertEqual(metrics(self.rows)["client_errors"], 2 + 2)

    def test_what_was_not_counted_has_no_row(self):
        for metric in ("page_table_bytes", "minor_faults", "flip_p50", "flips_achieved"):
            self.assertNotIn(metric, metrics(self.rows))


class OtherRuns(unittest.TestCase):
    def test_what_one_backend_takes_for_the_pool(self):
        found = metrics(raw.run_rows(GOLDEN / "raw/0003"))
        self.assertEqual(found["pinned_table_bytes"], 212 * 1024)
        self.assertEqual(found["pool_table_bytes"], 4 * 1024)
        self.assertEqual(found["pool_faults"], 7)
        self.assertEqual((found["first_read_us"], found["second_read_us"]), (431250, 200500))

    def test_freezes(self):
        found = metrics(raw.run_rows(GOLDEN / "raw/0004"))
        self.assertEqual((found["freeze_p50"], found["freeze_max"]), (300.25, 310.5))
        self.assertEqual(found["freezes"], 2)
        self.assertEqual((found["latency_p99"], found["latency_max"]), (1000, 210000))

    def test_resizes(self):
        found = metrics(raw.run_rows(GOLDEN / "raw/0007"))
        self.assertEqual((found["shrink_p50"], found["shrink_max"], found["shrinkings"]), (70000.5, 338061, 3))
        self.assertEqual((found["grow_p50"], found["growings"]), (7979, 2))     # the last was cut off

    def test_a_run_that_could_not_be_has_a_reason_and_no_figure(self):
        rows = raw.run_rows(GOLDEN / "raw/0005")
        self.assertEqual([(row.metric, row.arm) for row in rows], [("unavailable", "mprotect")])

    def test_a_fixed_rate_and_the_latency_from_when_each_was_due(self):
        found = metrics(raw.run_rows(GOLDEN / "raw/0006"))
        self.assertEqual((found["offered"], found["tps"], found["latency_average"]), (500, 498.1, 9797))
        self.assertEqual((found["latency_p99"], found["latency_max"]), (210000, 210000))

    def test_times_of_a_counting_clock_are_instructions(self):
        rows = list(raw.instruction_rows(GOLDEN / "icount"))
        self.assertEqual([(row.workload, row.metric, row.value) for row in rows],
                         [("flip_idle-8-1073741824", "flip_instructions", 4321), ("select-only", "instructions", 200000)])


class Boots(unittest.TestCase):
    def test_another_boot_has_repetitions_of_its_own(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "result"
            shutil.copytree(GOLDEN, folder)
            shutil.copytree(GOLDEN, folder / "boot-2", ignore=shutil.ignore_patterns("icount"))
            one, both = raw.rows(GOLDEN), raw.rows(folder)
            counted = len(list(raw.instruction_rows(GOLDEN / "icount")))
            self.assertEqual(len(both) - counted, 2 * (len(one) - counted))
            self.assertEqual([row._replace(rep=row.rep % 1000) for row in both if row.rep > 1000], one[:len(one) - counted])
            self.assertEqual(len(raw.run_order(folder)), 2 * len(raw.run_order(GOLDEN)))
            for boot in folder, folder / "boot-2":
                self.assertFalse(raw.complete(folder))
                (boot / "complete").touch()
            self.assertTrue(raw.complete(folder))


class Lines(unittest.TestCase):
    def test_flips_of_psql_and_of_notices(self):
        self.assertEqual(raw.flips("12.5 3\npgbench (15.20)\nINFO:  flip 7 8.25\ntps = 1 2\n"),
                         [(12.5, 3.0), (7.0, 8.25)])

    def test_pgbench_that_printed_nothing(self):
        self.assertEqual(raw.pgbench(""), {"aborted_clients": 0})


class Flip(unittest.TestCase):
    def test_a_line_cut_off_is_left_out(self):
        rows = raw.flip_rows(GOLDEN / "flip-1.csv")
        self.assertEqual(len(rows), 5)
        self.assertEqual(rows[-1].note, 'open "here", failed')

    def test_what_older_results_call_a_floor(self):
        fields = "mshare", "flip-8-4096", "8", "0", "1", "floor_p50", "50", "us", ""
        self.assertEqual(results.row_of(fields).metric, "flush_all_p50")


class Csv(unittest.TestCase):
    def test_round_trip(self):
        rows = raw.rows(GOLDEN)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.csv"
            results.write(path, rows)
            self.assertEqual(path.read_text(encoding="utf-8").splitlines()[0],
                             "arm,workload,clients,flips_per_s,rep,metric,value,unit,note")
            read = results.read(path)
        self.assertEqual([row._replace(value=0) for row in read], [row._replace(value=0) for row in rows])
        for before, after in zip(rows, read):
            self.assertAlmostEqual(before.value, after.value, delta=abs(before.value) * 1e-9)


if __name__ == "__main__":
    unittest.main()
