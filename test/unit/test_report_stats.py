#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""The report's statistics against values worked out by hand."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from report import stats


class Median(unittest.TestCase):
    def test_odd_and_even(self):
        self.assertEqual(stats.median([3, 1, 2]), 2)
        self.assertEqual(stats.median([4, 1, 2, 3]), 2.5)

    def test_interval_of_few_is_the_range_with_its_coverage(self):
        self.assertEqual(stats.median_interval([7]), (7, 7, 0.0))
        self.assertEqual(stats.median_interval([2, 1]), (1, 2, 0.5))
        self.assertEqual(stats.median_interval([5, 4, 3, 2, 1]), (1, 5, 0.9375))

    def test_interval_of_ten_leaves_out_the_extremes(self):
        low, high, coverage = stats.median_interval(range(1, 11))
        self.assertEqual((low, high), (2, 9))       # 1 + 10 of 1,024 on either side
        self.assertAlmostEqual(coverage, 1 - 22 / 1024)

    def test_interval_of_hundred(self):
        low, high, coverage = stats.median_interval(range(1, 101))
        self.assertEqual((low, high), (40, 61))
        self.assertAlmostEqual(coverage, 0.9648, places=4)


class Tail(unittest.TestCase):
    def test_ninety_nine_samples_have_a_maximum_only(self):
        self.assertEqual(stats.high_tail(list(range(1, 100))), ("max", 99))

    def test_hundred_samples_have_a_percentile(self):
        self.assertEqual(stats.high_tail(list(range(1, 101))), ("p99", 99))


class MannWhitney(unittest.TestCase):
    def test_exact(self):
        # U = 0: one of the 252 orderings, on either side
        self.assertAlmostEqual(stats.mann_whitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]), 2 / 252)
        # U = 5: 1 + 1 + 2 + 3 + 4 + 4 of the 35 orderings
        self.assertAlmostEqual(stats.mann_whitney([1, 4, 6], [2, 3, 5, 7]), 30 / 35)

    def test_two_a_side_can_show_nothing(self):
        self.assertAlmostEqual(stats.mann_whitney([1, 2], [3, 4]), 1 / 3)

    def test_is_symmetric(self):
        first, second = [3, 1, 8, 7], [2, 9, 10, 12, 6]
        self.assertEqual(stats.mann_whitney(first, second), stats.mann_whitney(second, first))

    def test_ties_take_the_normal_approximation(self):
        # U = 2.5 of a mean of 8, variance 16/12 * (9 - 36/56): z = 5 / 3.338
        self.assertAlmostEqual(stats.mann_whitney([1, 2, 2, 3], [2, 3, 4, 4]), 0.1342, places=4)

    def test_all_equal_is_no_difference(self):
        self.assertEqual(stats.mann_whitney([5, 5, 5], [5, 5, 5]), 1.0)

    def test_many_values(self):
        self.assertLess(stats.mann_whitney(list(range(60)), list(range(30, 90))), 1e-6)


class Growth(unittest.TestCase):
    def test_student_t(self):
        # tables of the distribution, two-sided 95 % and 99 %
        for freedom, value in ((1, 12.706), (2, 4.303), (5, 2.571), (30, 2.042)):
            self.assertAlmostEqual(stats.student_t(freedom), value, places=3)
        self.assertAlmostEqual(stats.student_t(3, 0.99), 5.841, places=3)

    def test_line(self):
        fit = stats.line([1, 2, 3, 4], [2, 4, 5, 7])
        self.assertAlmostEqual(fit.slope, 1.6)
        self.assertAlmostEqual(fit(0), 0.5)
        # residues 0.2 in sum of squares: 4.303 * sqrt(0.2 / 2 / 5)
        self.assertAlmostEqual(fit.high - fit.slope, 0.6085, places=4)
        self.assertAlmostEqual(fit.slope - fit.low, 0.6085, places=4)

    def test_two_points_have_no_interval_and_one_has_no_line(self):
        self.assertEqual(stats.line([1, 2], [1, 3])[2:], (None, None))
        self.assertIsNone(stats.line([1, 1], [1, 3]))

    def test_power(self):
        fit = stats.power([1, 10, 100], [3, 30, 300])
        self.assertAlmostEqual(fit.slope, 1)
        self.assertAlmostEqual(fit.low, 1)
        self.assertAlmostEqual(stats.power([1, 4, 16], [5, 10, 20]).slope, 0.5)

    def test_ecdf(self):
        self.assertEqual(stats.ecdf([3, 1, 2, 2]), [(1, 0.25), (2, 0.5), (2, 0.75), (3, 1.0)])

    def test_ecdf_of_many_keeps_the_last(self):
        steps = stats.ecdf(range(1001), most=100)
        self.assertLessEqual(len(steps), 101)
        self.assertEqual(steps[0], (10, 11 / 1001))
        self.assertEqual(steps[-1], (1000, 1.0))

    def test_smallest_p_is_what_the_test_says_at_its_most_certain(self):
        self.assertAlmostEqual(stats.smallest_p(5, 5), stats.mann_whitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]))


if __name__ == "__main__":
    unittest.main()
