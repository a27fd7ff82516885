#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""The report's verdicts and tables: met, missed, and above all not measured."""

import re
import sys
import unittest
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from report import compare, contents, goals, losses, raw, render, units
from report.results import Results, Row

GOLDEN = Path(__file__).resolve().parent / "report"
GIB, TIB = 2 ** 30, 2 ** 40


def flip(arm, processes, size, us, metric="flip_p50"):
    return Row(arm, f"flip-{processes}-{size}", processes, 0, 1, metric, us, "us", "")


def backends(arm, workload, clients, page_tables):
    return Row(arm, workload, clients, 0, 1, "machine_table_bytes", page_tables, "bytes", "")


class Goals(unittest.TestCase):
    def test_nothing_measured_nothing_met(self):
        self.assertEqual({verdict.met for verdict in goals.verdicts(Results([]))}, {None})

    def test_ratio_has_the_single_process_beside_it(self):
        rows = [flip("mprotect", 64, GIB, 300000), flip("mprotect", 1, GIB, 9000), flip("mshare", 64, GIB, 100)]
        verdict = goals.closing_against_mprotect(Results(rows))
        self.assertIn("3,000 times", goals.closing_against_mprotect(Results(rows)).measured)
        self.assertIn("90 times", goals.closing_against_one_process(Results(rows)).measured)

    def test_missed_and_what_the_floor_would_reach(self):
        rows = [flip("mprotect", 64, GIB, 1999999), flip("mshare", 64, GIB, 100), flip("mshare", 64, GIB, 50, "floor_p50")]
        verdict = goals.closing_against_mprotect(Results(rows))
        self.assertIs(verdict.met, False)
        self.assertIn("50.0 us, which would be 40,000 times", verdict.measured)
        self.assertTrue(goals.closing_against_mprotect(Results([flip("mprotect", 64, GIB, 2e6), flip("mshare", 64, GIB, 100)])).met)

    def test_many_processes_may_take_a_bare_flush(self):
        rows = [flip("mshare", 1, TIB, 10), flip("mshare", 256, TIB, 30)]
        self.assertIs(goals.growth_with_processes(Results(rows)).met, False)
        rows += [flip("mshare", 256, TIB, 20, "floor_p50")]
        self.assertIs(goals.growth_with_processes(Results(rows)).met, True)
        rows += [flip("mshare", 1024, TIB, 41)]
        self.assertIs(goals.growth_with_processes(Results(rows)).met, False)

    def test_slope_is_that_of_the_worst_size(self):
        rows = [flip("mshare", 1, GIB, 10), flip("mshare", 101, GIB, 15), flip("mshare", 1, TIB, 10), flip("mshare", 101, TIB, 30)]
        verdict = goals.slope(Results(rows))
        self.assertIs(verdict.met, False)
        self.assertIn("200 ns", verdict.measured)

    def test_one_fault_is_too_many(self):
        rows = [flip("mshare", 8, GIB, 0, "touch_faults"), flip("mshare", 64, GIB, 0, "touch_table_bytes")]
        self.assertIs(goals.nothing_of_its_own(Results(rows)).met, True)
        self.assertIs(goals.nothing_of_its_own(Results(rows + [flip("mshare", 64, GIB, 1, "touch_faults")])).met, False)

    def test_no_difference_needs_runs_that_could_show_one(self):
        def rows(n, factor):
            return [Row(arm, "tpcb-like", 8, 0, rep, "tps", (100 + rep) * (factor if arm == "mshare" else 1), "tps", "")
                    for arm in ("stock", "memfd", "mprotect", "mshare") for rep in range(n)]
        self.assertIs(goals.no_cost_without_flips(Results(rows(2, 0.5))).met, None)
        self.assertIs(goals.no_cost_without_flips(Results(rows(5, 0.5))).met, False)
        self.assertIs(goals.no_cost_without_flips(Results(rows(5, 1))).met, True)
        lonely = [Row(arm, "scaling", 512, 0, 1, "tps", tps, "tps", "")
                  for arm, tps in (("stock", 90), ("memfd", 100), ("mprotect", 10), ("mshare", 50))]
        self.assertIs(goals.no_cost_without_flips(Results(rows(5, 0.5) + lonely)).met, False)
        self.assertIs(goals.no_cost_without_flips(Results(rows(5, 1) + lonely)).met, True)
        self.assertIn("too few runs to tell: scaling 512", goals.no_cost_without_flips(Results(lonely + rows(5, 1))).measured)

    def test_growth_takes_the_worst_number_of_processes(self):
        rows = [flip("mshare", 1, GIB, 10), flip("mshare", 1, TIB, 50),
                flip("mshare", 8, GIB, 10), flip("mshare", 8, TIB, 51)]
        verdict = goals.growth_with_bytes(Results(rows))
        self.assertIs(verdict.met, False)
        self.assertIn("5.10 times", verdict.measured)

    def test_page_tables_count_from_backends_that_only_pin(self):
        rows = [backends("mshare", "backends", 32, 32 * 168e3), backends("mshare", "backends-pin", 32, 32 * 160e3),
                backends("memfd", "backends", 32, 32 * 500e3), backends("memfd", "backends-pin", 32, 32 * 180e3)]
        verdict = goals.page_tables(Results(rows))
        self.assertTrue(verdict.met)
        self.assertIn("8,000 bytes each, memfd 320,000", verdict.measured)

    def test_one_run_that_was_closed_too_long_misses(self):
        rows = [Row("mshare", "tpcb-like", 1, 10, rep, "time_closed", value, "ratio", "")
                for rep, value in enumerate((0.0001, 0.002, 0.0001))]
        self.assertIs(goals.time_closed(Results(rows)).met, False)


class Losses(unittest.TestCase):
    def rows(self, ours, theirs, metric="tps", unit="tps"):
        return Results([Row(arm, "select-only", 8, 0, rep, metric, value, unit, "")
                        for arm, values in (("mshare", ours), ("hugetlb", theirs)) for rep, value in enumerate(values)])

    def test_a_significant_loss_is_told_and_a_win_is_not(self):
        slow, fast = [100, 101, 102, 103, 104], [110, 111, 112, 113, 114]
        (loss,), made = losses.find(self.rows(slow, fast))
        self.assertEqual((loss.arm, loss.theirs, loss.ours, made), ("hugetlb", 112, 102, 1))
        self.assertEqual(losses.find(self.rows(fast, slow)), ([], 1))
        self.assertEqual(losses.find(self.rows(fast, slow, "session_us", "us"))[0][0].what, "connect, read, disconnect")

    def test_what_chance_explains_is_no_loss(self):
        self.assertEqual(losses.find(self.rows([1, 2, 3, 4, 5], [1.5, 2.5, 3.5, 4.5, 5.5])), ([], 1))

    def test_too_few_runs_are_not_compared(self):
        self.assertEqual(losses.find(self.rows([1, 2], [3, 4])), ([], 0))


class Tables(unittest.TestCase):
    def test_units(self):
        self.assertEqual([units.micro(us) for us in (1.234, 999.4, 1500, 2.5e6)],
                         ["1.23 us", "999 us", "1.5 ms", "2.5 s"])
        self.assertEqual([units.size(n) for n in (67108864, GIB, TIB)], ["64 MiB", "1 GiB", "1 TiB"])

    def test_no_difference_is_a_tilde(self):
        self.assertTrue(contents.change([1, 2, 3, 4, 5], [1.1, 2.1, 2.9, 4.2, 5.1]).startswith("~"))
        self.assertTrue(contents.change([1, 2, 3, 4, 5], [16, 17, 18, 19, 20]).startswith("+500.0 %"))

    def test_what_the_same_server_differs_by_is_no_difference(self):
        slow, fast = [100, 101, 102, 103, 104], [110, 111, 112, 113, 114]
        self.assertTrue(contents.change(slow, fast, noise=0.05).startswith("+9.8 %"))
        self.assertTrue(contents.change(slow, fast, noise=0.10).startswith("~ (within A/A"))


class Report(unittest.TestCase):
    def blocks(self, complete=False, environment=None):
        return contents.blocks(Results(raw.rows(GOLDEN)), environment or {}, complete, raw.flip_samples(GOLDEN),
                               raw.latencies(GOLDEN), raw.run_order(GOLDEN), raw.data_bytes(GOLDEN))

    def test_markdown(self):
        text = render.markdown(contents.TITLE, self.blocks())
        self.assertIn("This run was interrupted", text)
        self.assertIn("sums disagree", text)
        self.assertIn('failed: open "here", failed', text)
        self.assertIn("4,576", text)                # 270,449.8 / 59.1
        self.assertIn("8.60 of 10", text)
        self.assertIn("(closing.svg)", text)

    def test_page_needs_nothing_else(self):
        page = render.page(contents.TITLE, self.blocks())
        self.assertNotIn("src=", page)
        self.assertNotIn("<script", page)
        self.assertEqual({link for link in re.findall(r'href="([^"]*)"', page)}, {"results.csv", "env.json"})
        figures = [block for block in self.blocks() if hasattr(block, "svg")]
        self.assertGreater(len(figures), 3)
        for figure in figures:
            self.assertIn(figure.svg, page)
        self.assertEqual(page.count("<p"), page.count("</p>") + page.count("<path"))

    def test_every_chart_is_xml_without_a_number_that_is_none(self):
        for block in self.blocks():
            if hasattr(block, "svg"):
                tree = ElementTree.fromstring(block.svg)
                self.assertGreater(len(list(tree.iter("{http://www.w3.org/2000/svg}path"))), 3)
                self.assertNotRegex(block.svg, r'="[^"]*\b(nan|inf)\b')

    def test_a_busy_host_is_told(self):
        text = render.markdown("", self.blocks(True, {"host_other_load_percent": "40.0"}))
        self.assertIn("Other work took 40 %", text)
        self.assertNotIn("interrupted", text)
        text = render.markdown("", self.blocks(True, {"host_other_load_percent": "0.2", "host_stolen_percent": "6.0"}))
        self.assertIn("6 % of it to others", text)

    def test_a_column_without_a_cell_is_left_out(self):
        table = render.without_empty_columns(render.Table(("a", "b", "c"), [("1", "", "0"), ("2", "", "")]))
        self.assertEqual(table, render.Table(("a", "c"), [("1", "0"), ("2", "")]))

    def test_one_reason_is_told_once(self):
        rows = [Row(arm, "small-pool", 8, 10, 1, "unavailable", 0, "", f"block {block}")
                for arm, block in (("mprotect", 5), ("mprotect", 77), ("memfd", 6))]
        self.assertEqual(contents.failures(Results(rows + [rows[0]._replace(workload="freeze", note="no")])),
                         render.Bullets(("`small-pool` was not measured: block 5 (mprotect, memfd; 3 times)",
                                         "`freeze` was not measured: no (mprotect)")))

    def test_text_is_escaped(self):
        page = render.page("a < b", [render.Text("`<script>` & **strong** [here](there)")])
        self.assertIn("<h1>a &lt; b</h1>", page)
        self.assertIn('<code>&lt;script&gt;</code> &amp; <strong>strong</strong> <a href="there">here</a>', page)


class Compare(unittest.TestCase):
    def rows(self, values, metric="tps"):
        return Results([Row("mshare", "tpcb-like", 8, 0, rep, metric, value, "tps", "") for rep, value in enumerate(values)])

    def change(self, before, after):
        return compare.table(self.rows(before), self.rows(after), ["tps"]).rows[0][-1]

    def test_enough_runs_are_tested(self):
        self.assertTrue(self.change([1, 2, 3, 4, 5], [11, 12, 13, 14, 15]).startswith("+333.3 % (p=0.008)"))
        self.assertTrue(self.change([1, 2, 3, 4, 5], [1.5, 2.5, 3.5, 4.5, 5.5]).startswith("~"))

    def test_few_runs_say_so(self):
        self.assertIn("too few to tell", self.change([100], [110]))
        self.assertEqual(self.change([100], [100]), "=")

    def test_what_one_side_lacks(self):
        table = compare.table(self.rows([1]), Results([]), ["tps"])
        self.assertEqual(table.rows[0][-2:], ("not measured", ""))

    def test_only_the_metrics_asked_for(self):
        self.assertEqual(compare.table(self.rows([1]), self.rows([1]), ["flip_p50"]).rows, [])


if __name__ == "__main__":
    unittest.main()
