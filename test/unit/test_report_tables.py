#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""The report's verdicts and tables: met, missed, and above all not measured."""

import json
import re
import sys
import unittest
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from report import compare, contents, goals, hosts, kernels, losses, raw, readme, render, results, units
from report.results import Beside, Results, Row

GOLDEN = Path(__file__).resolve().parent / "report"
GIB, TIB = 2 ** 30, 2 ** 40


TOP = Path(__file__).resolve().parents[2]
PUBLISHED = sorted(TOP.glob("bench/results/**/results.csv.gz"))


def flip(arm, processes, size, us, metric="flip_p50", rep=1, kind="flip"):
    return Row(arm, f"{kind}-{processes}-{size}", processes, 0, rep, metric, us, "us", "")


def backends(arm, workload, clients, page_tables):
    return Row(arm, workload, clients, 0, 1, "machine_table_bytes", page_tables, "bytes", "")


class Goals(unittest.TestCase):
    def test_nothing_measured_nothing_met(self):
        self.assertEqual({verdict.word() for verdict in goals.verdicts(Results([]))}, {"not measured"})

    def test_instructions_have_the_target_that_times_had(self):
        def rows(fast):
            return Results([flip("mprotect", 8, GIB, 2e7, "flip_instructions", kind="flip_idle"),
                            flip("mshare", 8, GIB, fast, "flip_instructions", kind="flip_idle")])
        self.assertIs(goals.instructions(rows(1000)).met, True)
        self.assertIs(goals.instructions(rows(1001)).met, False)

    def test_ratio_has_the_single_process_beside_it(self):
        rows = [flip("mprotect", 64, GIB, 300000), flip("mprotect", 1, GIB, 9000), flip("mshare", 64, GIB, 100)]
        self.assertIn("3,000 times", goals.closing_against_mprotect(Results(rows)).measured)
        self.assertIn("90 times", goals.closing_against_one_process(Results(rows)).measured)

    def test_missed_and_what_was_within_reach(self):
        rows = [flip("mprotect", 64, GIB, 1999999), flip("mshare", 64, GIB, 100), flip("mshare", 64, GIB, 50, "flush_all_p50")]
        verdict = goals.closing_against_mprotect(Results(rows))
        self.assertEqual(verdict.word(), "missed")
        self.assertIn("40,000 times", verdict.why)
        self.assertTrue(goals.closing_against_mprotect(Results([flip("mprotect", 64, GIB, 2e6), flip("mshare", 64, GIB, 100)])).met)

    def test_an_interval_on_both_sides_of_the_limit_decides_nothing(self):
        def verdict(ours):
            return goals.closing_against_a_flush(Results([flip("mshare", 64, GIB, 100, "flush_all_p50", rep) for rep in range(10)] + [
                flip("mshare", 64, GIB, us, rep=rep) for rep, us in enumerate(ours)])).word()
        self.assertEqual(verdict([150] * 10), "met")
        self.assertEqual(verdict([250] * 10), "missed")
        self.assertEqual(verdict([150] * 5 + [250] * 5), "not decided")

    def test_many_processes_may_take_a_bare_flush(self):
        rows = [flip("mshare", 1, TIB, 10), flip("mshare", 256, TIB, 30)]
        self.assertIs(goals.growth_with_processes(Results(rows)).met, False)
        rows += [flip("mshare", 256, TIB, 20, "flush_all_p50")]
        self.assertIs(goals.growth_with_processes(Results(rows)).met, True)
        rows += [flip("mshare", 1024, TIB, 41)]
        self.assertIs(goals.growth_with_processes(Results(rows)).met, False)

    def test_slope_is_that_of_the_worst_size(self):
        rows = [flip("mshare", 1, GIB, 10), flip("mshare", 101, GIB, 15), flip("mshare", 1, TIB, 10), flip("mshare", 101, TIB, 30)]
        verdict = goals.slope(Results(rows))
        self.assertIs(verdict.met, False)
        self.assertIn("200 ns", verdict.measured)

    def test_one_cold_flip_a_repetition_makes_no_slope(self):
        def rows(flips, *more):
            return Results([row for rep in range(10) for processes, us in ((1, 10), (64, 12), (1024, 500))
                            for row in (flip("mshare", processes, 4096, us, rep=rep, kind="flip_idle"),
                                        flip("mshare", processes, 4096, 1 if processes == 1024 else flips, "n", rep, "flip_idle"),
                                        *(flip("mshare", processes, 4096, 500, metric, rep, "flip_idle") for metric in more))])
        verdict = goals.slope(rows(50))
        self.assertEqual(verdict.word(), "met")
        self.assertIn("32 ns", verdict.measured)
        self.assertIn("cold flip", verdict.measured)
        # where the first flip is kept apart, the one that is left is a flip like any other
        self.assertEqual(goals.slope(rows(50, "flip_first")).word(), "missed")

    def test_one_fault_is_too_many(self):
        rows = [flip("mshare", 8, GIB, 0, "touch_faults"), flip("mshare", 64, GIB, 0, "touch_table_bytes")]
        self.assertIs(goals.nothing_of_its_own(Results(rows)).met, True)
        self.assertIs(goals.nothing_of_its_own(Results(rows + [flip("mshare", 64, GIB, 1, "touch_faults")])).met, False)

    def test_no_worse_needs_the_whole_interval(self):
        def verdict(factors):
            return goals.throughput(Results([Row(arm, "tpcb-like", 8, 0, rep, "tps", 100 * (factor if arm == "mshare" else 1), "tps", "")
                                             for arm in ("stock", "mshare") for rep, factor in enumerate(factors)]))
        self.assertEqual(verdict([1.125] * 10).word(), "met")
        self.assertEqual(verdict([0.9] * 10).word(), "missed")
        self.assertEqual(verdict([0.7, 1.6] * 5).word(), "not decided")         # +15 % at the median says nothing then
        self.assertEqual(verdict([0.5] * 2).word(), "not decided")
        self.assertIn("115 %", verdict([0.7, 1.6] * 5).measured)

    def test_transactions_are_judged_by_their_worst_run(self):
        def verdict(ours):
            return goals.instructions_of_transactions(Results([
                Row(arm, "tpcb-like", 1, 0, rep, "instructions", value, "count", "")
                for arm, values in (("stock", [1000, 1010, 1030]), ("mshare", ours)) for rep, value in enumerate(values)]))
        self.assertEqual(verdict([990, 1000, 1020]).word(), "met")
        self.assertEqual(verdict([990, 1000, 1021]).word(), "missed")

    def test_growth_takes_the_worst_number_of_processes(self):
        rows = [flip("mshare", 1, GIB, 10), flip("mshare", 1, TIB, 50),
                flip("mshare", 8, GIB, 10), flip("mshare", 8, TIB, 51)]
        verdict = goals.growth_with_bytes(Results(rows))
        self.assertIs(verdict.met, False)
        self.assertIn("5.10 times", verdict.measured)

    def test_what_is_not_present_is_told(self):
        rows = [flip("mshare", 8, GIB, 10), flip("mshare", 8, TIB, 11), flip("mshare", 8, TIB, TIB // 4096 // 8, "entries_mapped")]
        self.assertIn("12.5 % of the 1 TiB present", goals.growth_with_bytes(Results(rows)).measured)

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
        self.assertEqual(loss.where, "select-only, 8 clients")
        self.assertEqual((loss.arm, loss.theirs, loss.ours, made), ("hugetlb", 112, 102, 1))
        self.assertEqual(losses.find(self.rows(fast, slow)), ([], 1))
        self.assertEqual(losses.find(self.rows(fast, slow, "session_us", "us"))[0][0].what, "connect, read, disconnect")

    def test_what_chance_explains_is_no_loss(self):
        self.assertEqual(losses.find(self.rows([1, 2, 3, 4, 5], [1.5, 2.5, 3.5, 4.5, 5.5])), ([], 1))

    def test_many_comparisons_need_more_than_one(self):
        # p = 0.008 alone; of ten such comparisons one in ten reports would have it by chance
        slow, fast = [100, 101, 102, 103, 104], [110, 111, 112, 113, 114]
        rows = self.rows(slow, fast).rows
        for clients in range(10, 19):
            rows += [row._replace(clients=clients, value=100 + (7 * row.rep + clients) % 11) for row in rows[:10]]
        self.assertEqual(losses.find(Results(rows)), ([], 10))

    def test_points_are_named_in_words(self):
        rows = Results([flip(arm, 64, GIB, us + rep, rep=rep) for arm, us in (("piece", 100), ("pkeys", 10)) for rep in range(5)])
        (loss,), _ = losses.find(rows)
        self.assertEqual(loss.where, "1 GiB, 64 running")

    def test_too_few_runs_are_not_compared(self):
        self.assertEqual(losses.find(self.rows([1, 2], [3, 4])), ([], 0))


class Tables(unittest.TestCase):
    def test_units(self):
        self.assertEqual([units.micro(us) for us in (1.234, 999.4, 999.6, 1500, 999.6e3, 2.5e6)],
                         ["1.23 us", "999 us", "1 ms", "1.5 ms", "1 s", "2.5 s"])
        self.assertEqual([units.size(n) for n in (67108864, GIB, TIB)], ["64 MiB", "1 GiB", "1 TiB"])

    def test_no_difference_is_a_tilde(self):
        self.assertTrue(contents.change([1, 2, 3, 4, 5], [1.1, 2.1, 2.9, 4.2, 5.1]).startswith("~"))
        self.assertTrue(contents.change([1, 2, 3, 4, 5], [16, 17, 18, 19, 20]).startswith("+500.0 %"))

    def test_what_the_same_server_differs_by_is_no_difference(self):
        slow, fast = [100, 101, 102, 103, 104], [110, 111, 112, 113, 114]
        self.assertTrue(contents.change(slow, fast, noise=0.05).startswith("+9.8 %"))
        self.assertTrue(contents.change(slow, fast, noise=0.10).startswith("~ (within A/A"))


    def cells(self, **metrics):
        rows = [Row("mshare", "tpcb-like", 8, 0, rep, metric, value, "", "") for metric, values in metrics.items()
                for rep, value in enumerate(values)]
        return contents._Cells(Results(rows), "mshare", "tpcb-like", 8)

    def test_a_p99_is_the_median_of_the_repetitions(self):
        self.assertEqual(self.cells(flip_p50=[1, 1, 1], flip_p99=[10, 20, 5000], flip_max=[30, 40, 9000]).tail("flip"), "p99 20 us")
        # where a repetition had too few flips for one, the longest of all stands there
        self.assertEqual(self.cells(flip_p50=[1, 1, 1], flip_p99=[10, 20], flip_max=[500]).tail("flip"), "max 500 us")

    def test_faults_are_of_a_transaction(self):
        self.assertEqual(self.cells(minor_faults=[100, 900], transactions=[10, 30]).per("minor_faults", "transactions"), "20")

    def test_a_ratio_stands_with_its_interval_and_its_doubt(self):
        before, after = {rep: 100 + rep for rep in range(10)}, {rep: 200 + rep for rep in range(10)}
        self.assertRegex(contents.share_of(before, after, 0.01), r"^196 % \[19\d \.\. 19\d\]$")
        self.assertTrue(contents.share_of(before, after, 0.2).endswith(", ~"))

    def test_slopes_in_units_that_people_read(self):
        self.assertEqual([contents._signed(us) for us in (13282.4, -41.7, 0.0952, -0.234)], ["13.3 ms", "-41.7 us", "95 ns", "-234 ns"])


class Report(unittest.TestCase):
    @staticmethod
    def blocks(complete=False, environment=None):
        return contents.blocks(Results(raw.rows(GOLDEN)), environment or {}, complete, raw.latencies(GOLDEN), raw.run_order(GOLDEN),
                               raw.data_bytes(GOLDEN))

    @classmethod
    def setUpClass(cls):
        cls.drawn = cls.blocks()

    def text(self, environment):
        """Of a complete run, without drawing its charts again."""
        with mock.patch("report.plot.Chart.render", return_value="<svg></svg>"):
            return render.markdown("", self.blocks(True, environment))

    def test_markdown(self):
        text = render.markdown(contents.TITLE, self.drawn)
        self.assertIn("This run was interrupted", text)
        self.assertIn("sums disagree", text)
        self.assertIn('failed: open "here", failed', text)
        self.assertIn("4,576", text)                # 270,449.8 / 59.1
        self.assertIn("8.60 of 10", text)
        self.assertIn("| mshare | 10 | 8 | 500 | 498 | 9.8 ms | 210 ms | 210 ms | 1 |", text)
        self.assertIn("(latency-paced.svg)", text)
        self.assertIn("(closing.svg)", text)
        self.assertEqual(text.count("<details>"), text.count("</details>"))
        self.assertGreater(text.count("<details>"), 3)
        self.assertGreater(text.index("## Our own targets"), text.index("## Environment"))

    def test_page_needs_nothing_else(self):
        page = render.page(contents.TITLE, self.drawn)
        self.assertNotIn("src=", page)
        self.assertNotIn("<script", page)
        self.assertEqual({link for link in re.findall(r'href="([^"]*)"', page)}, {"results.csv", "env.json"})
        figures = list(render.figures(self.drawn))
        self.assertGreaterEqual(len(figures), 3)
        for figure in figures:
            self.assertIn(figure.svg, page)
        self.assertEqual(page.count("<p"), page.count("</p>") + page.count("<path"))

    def test_how_long_a_run_lasted(self):
        text = self.text({"run_seconds": "2", "pgbench_threads": "2", "boots": "one",
                                                      "checkpoint_timeout": "1h", "max_wal_size": "4GB"})
        for words in ("lasted 2 s", "2 threads", "checkpoint_timeout was 1h", "boots: one"):
            self.assertIn(words, text)

    def test_more_processors_than_there_are_make_times_meaningless(self):
        text = self.text({"machine": "virtual machine", "cpus": "16", "host_cpus": "2"})
        self.assertIn("Times in this report mean nothing: 16 emulated CPUs ran on 2", text)
        self.assertNotIn("mean nothing", self.text({"machine": "virtual machine", "cpus": "2", "host_cpus": "2"}))

    def test_the_earlier_harness_is_told(self):
        self.assertIn("earlier harness", render.markdown("", self.drawn))
        rows = raw.rows(GOLDEN) + [flip("mshare", 64, GIB, 70, "flip_first")]
        self.assertEqual(contents.harness_note(Results(rows)), "")

    def test_every_chart_is_xml_without_a_number_that_is_none(self):
        for figure in render.figures(self.drawn):
            tree = ElementTree.fromstring(figure.svg)
            self.assertGreater(len(list(tree.iter("{http://www.w3.org/2000/svg}path"))), 3)
            self.assertNotRegex(figure.svg, r'="[^"]*\b(nan|inf)\b')

    def test_a_busy_host_is_told(self):
        text = self.text({"host_other_load_percent": "40.0"})
        self.assertIn("Other work took 40 %", text)
        self.assertNotIn("interrupted", text)
        text = self.text({"host_other_load_percent": "0.2", "host_stolen_percent": "6.0"})
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


class Published(unittest.TestCase):
    """What bench/results holds; a checkout without it has nothing to look at."""

    def test_no_number_is_a_difference_below_0_taken_for_a_huge_one(self):
        for path in PUBLISHED:
            self.assertEqual([row for row in results.read(path) if row.value >= 2 ** 63], [], path)

    def test_reports_are_those_of_the_rows(self):
        for path in PUBLISHED:
            report, found = (path.parent / "report.md").read_text(encoding="utf-8"), Results(results.read(path))
            if "flip-64-1073741824" in {row.workload for row in found.rows}:
                self.assertIn(contents.times_sentence(found), report)
            for verdict in goals.verdicts(found):
                if verdict.word() != "not measured":
                    self.assertIn(verdict.measured.replace("|", "/"), report)


    def test_readme_shows_the_figures_of_the_rows(self):
        text = (TOP / "README.md").read_text(encoding="utf-8")
        for place in (TOP / "bench/results").glob("*/env.json"):
            figures = readme.figures(Results.of(place.parent), str(place.parent.relative_to(TOP)),
                                     json.loads(place.read_text(encoding="utf-8")))
            self.assertIn(figures, text)


MODULE = {"kernel": "Linux 6.12.117+deb12-cloud-amd64 #1 SMP x86_64", "mshare": "stock kernel + module", "mshare_hooks": "15"}
PATCHED = {"kernel": "Linux 6.12.117-plain #1 SMP x86_64", "mshare": "patched kernel"}


class Kernels(unittest.TestCase):
    @staticmethod
    def rows(*factors, repetitions=6, arm="mshare", metric="flip_p50"):
        return [flip(arm, processes, GIB, factor * (100 + rep), metric, rep)
                for processes, factor in zip((8, 64), factors) for rep in range(repetitions)]

    def pairs(self, first, second):
        return kernels.pairs(Results(first), Results(second))

    def test_the_head_says_which_kernel(self):
        text = kernels.sentence(MODULE)
        for words in ("stock kernel + module", "6.12.117+deb12-cloud-amd64", "15 hooks", "not measured here"):
            self.assertIn(words, text)
        self.assertNotIn("knobs", text)
        self.assertIn("`leaf`", kernels.sentence({**MODULE, "mshare_knobs": "no"}))
        self.assertIn("patched kernel (6.12.117-plain)", kernels.sentence(PATCHED))
        self.assertNotIn("stock", kernels.sentence(PATCHED))
        self.assertIn("without msharefs", kernels.sentence({"kernel": "Linux 6.1.0-9-amd64 #1", "mshare": "none"}))

    def test_older_results_are_told_by_their_kernel(self):
        self.assertEqual(kernels.form({"kernel": PATCHED["kernel"]}), kernels.PATCHED)
        self.assertEqual(kernels.sentence({"kernel": "Linux 6.12.117-stock #1"}), "")
        self.assertEqual(kernels.sentence({}), "")

    def test_same_flips_are_the_same_and_others_differ(self):
        same, slower = self.pairs(self.rows(1, 1), self.rows(1.01, 1.5))
        self.assertEqual((same.workload, same.word()), (f"flip-8-{GIB}", "same within noise"))
        self.assertEqual((slower.workload, slower.word()), (f"flip-64-{GIB}", "differs"))
        self.assertAlmostEqual(slower.ratio[0], 1.5)

    def test_what_an_arm_differs_from_itself_by_is_noise(self):
        again = self.rows(1, 1.6, arm="mshare-again")
        found = [pair.word() for pair in self.pairs(self.rows(1, 1) + again, self.rows(1, 1.5)) if pair.arm == "mshare"]
        self.assertEqual(found, ["same within noise", "same within A/A"])

    def test_few_repetitions_decide_nothing(self):
        few = self.pairs(self.rows(1, 1, repetitions=4), self.rows(3, 3))
        self.assertEqual({pair.word() for pair in few}, {"too few repetitions to tell"})

    def text(self, first, second):
        blocks = contents.kernels_blocks(Results(first), MODULE, Beside("patched", Results(second), PATCHED))
        return render.markdown("", [block for block in blocks if block != render.Text("")])

    def test_side_by_side(self):
        bare = self.rows(0.5, 0.5, metric="flush_all_p50")
        text = self.text(self.rows(1, 1) + bare, self.rows(1.01, 1.5) + bare)
        self.assertIn("Two kernels: stock kernel + module and patched kernel", text)
        self.assertIn("Of 2 closings", text)
        self.assertIn("1 are the same within noise and 1 differ", text)
        self.assertIn("mshare, 1 GiB, 64 running: 1.5 times", text)
        self.assertIn("flush of all CPUs 1.00 times", text)
        self.assertIn("| 1 GiB, 64 running | mshare | 102 us", text)

    def test_counts_that_differ_are_listed(self):
        counted = [flip("mshare", 8, GIB, value, metric) for metric, value in (("entries_written", 1), ("touch_faults", 0))]
        more = [counted[0], counted[1]._replace(value=2)]
        self.assertIn("Of 2 counts", self.text(counted, counted))
        self.assertIn("2 have one and the same median", self.text(counted, counted))
        self.assertIn("| 1 GiB, 8 running | mshare | touch faults | 0 | 2 |", self.text(counted, more))

    def test_a_report_compares_what_was_on_another_kernel_only(self):
        def names(environment):
            found = contents.blocks(Results(self.rows(1, 1)), MODULE, True, beside=[Beside("other", Results(self.rows(1, 1)), environment)])
            return [block.text for block in found if isinstance(block, render.Heading)]
        with mock.patch("report.plot.Chart.render", return_value="<svg></svg>"):
            self.assertIn("Two kernels: stock kernel + module and patched kernel", names(PATCHED))
            self.assertNotIn("Beside this run", names(PATCHED))
            self.assertIn("Beside this run", names(MODULE))


class Hosts(unittest.TestCase):
    HOST = {"kernel": "Linux 6.18.1 #1", "mshare": "none", "machine": "this host"}

    @staticmethod
    def rows(**arms):
        return Results([flip(arm, 8, GIB, us + rep, rep=rep) for arm, us in arms.items() for rep in (1, 2)]
                       + [Row(arm, "cold-lookup", 1, 0, 1, "session_us", us, "us", "") for arm, us in arms.items()])

    def test_what_both_have_and_its_ratio_on_each(self):
        virtual, host = self.rows(mprotect=4000, hugetlb=400, mshare=10), self.rows(mprotect=1000, hugetlb=50)
        base, huge = hosts.closings(virtual, host)
        self.assertEqual((base.arm, base.virtual_times), ("mprotect", None))
        self.assertEqual(huge.arm, "hugetlb")
        self.assertAlmostEqual(huge.virtual_times[0], 401.5 / 4001.5)
        self.assertAlmostEqual(huge.host_times[0], 51.5 / 1001.5)

    def test_without_the_arm_that_all_are_compared_with_there_is_no_ratio(self):
        only, = hosts.sessions(self.rows(hugetlb=400), self.rows(hugetlb=50, stock=80))
        self.assertEqual((only.arm, only.virtual_times), ("hugetlb", None))

    def test_a_report_of_a_virtual_machine_has_its_host_beside(self):
        def text(environment):
            host = Beside("host", self.rows(mprotect=1000, stock=300), self.HOST)
            with mock.patch("report.plot.Chart.render", return_value="<svg></svg>"):
                return render.markdown("", contents.blocks(self.rows(mprotect=4000, stock=900), environment, True, beside=[host]))
        found = text(MODULE)
        self.assertIn("Two machines", found)
        self.assertIn("| 1 GiB, 8 running | mprotect | 4 ms [4 ms .. 4 ms] |  | 1 ms", found)
        self.assertIn("without mshare: that kernel has none", found)
        self.assertNotIn("Two kernels", found)
        self.assertNotIn("Two machines", text(self.HOST))


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
