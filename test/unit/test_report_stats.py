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
        self.assertEqual(list(stats.tails(list(range(1, 100)))), [("max", 99)])

    def test_hundred_samples_have_a_percentile_too(self):
        self.assertEqual(list(stats.tails(list(range(1, 101)))), [("p99", 99), ("max", 100)])


class Ratio(unittest.TestCase):
    def test_is_of_medians_and_its_interval_of_repetitions(self):
        above, below = {i: 100 + i for i in range(10)}, {i: 10 + i for i in range(10)}
        ratio, low, high = stats.ratio_interval(above, below)
        self.assertAlmostEqual(ratio, 104.5 / 14.5)
        self.assertLess(low, ratio)
        self.assertGreater(high, ratio)
        self.assertEqual(stats.ratio_interval(above, below), (ratio, low, high))       # the same every time

    def test_one_repetition_of_both_is_drawn_together(self):
        # both arms were slow in the same repetitions: their ratio is certain
        above = {i: 1000 * (i + 1) for i in range(10)}
        self.assertEqual(stats.ratio_interval(above, {i: value / 1000 for i, value in above.items()}), (1000, 1000, 1000))

    def test_unequal_numbers_are_drawn_apart(self):
        ratio, low, high = stats.ratio_interval({1: 4, 2: 6, 3: 8}, {1: 2, 2: 2})
        self.assertEqual((ratio, low, high), (3, 2, 4))

    def test_a_single_repetition_has_no_interval(self):
        self.assertEqual(stats.ratio_interval({1: 6}, {1: 2}), (3, 3, 3))


class Boots(unittest.TestCase):
    """Repetitions of one boot are alike: ten of them are no more than one, where boots differ."""

    alike = {boot * stats.BOOT + i: 100 * (boot + 1) + i / 100 for boot in range(3) for i in range(1, 11)}

    def test_one_boot_is_as_before(self):
        values = list(range(1, 11))
        self.assertEqual(stats.median_interval(stats.Sample(dict(enumerate(values, 1)))), stats.median_interval(values))

    def test_an_interval_reaches_over_boots(self):
        low, high, _ = stats.median_interval(stats.Sample(self.alike))
        self.assertLess(low, 101)
        self.assertGreater(high, 299)

    def test_a_ratio_within_boots_is_certain(self):
        self.assertEqual(stats.ratio_interval(self.alike, {i: value / 4 for i, value in self.alike.items()}), (4, 4, 4))

    def test_a_ratio_of_what_differs_by_boot_is_not(self):
        ratio, low, high = stats.ratio_interval(self.alike, {i: 100 for i in self.alike})
        self.assertLess(low, 1.1)
        self.assertGreater(high, 2.9)

    def test_names(self):
        self.assertEqual(stats.named(3), "repetition 3")
        self.assertEqual(stats.named(2003), "repetition 3 of boot 3")


class Holm(unittest.TestCase):
    def test_by_hand(self):
        # in order 0.01 * 3, 0.02 * 2, 0.3 * 1
        for value, expected in zip(stats.holm([0.02, 0.3, 0.01]), [0.04, 0.3, 0.03]):
            self.assertAlmostEqual(value, expected)

    def test_no_smaller_than_one_before_it_and_never_above_one(self):
        self.assertEqual(stats.holm([0.02, 0.021, 0.9]), [0.06, 0.06, 0.9])
        self.assertEqual(stats.holm([0.5, 0.6]), [1.0, 1.0])
        self.assertEqual(stats.holm([]), [])


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
    def test_slope_is_not_turned_by_one_wild_point(self):
        self.assertAlmostEqual(stats.slope([(1, 10), (64, 16.3), (256, 35.5), (1024, 112.3), (512, 5000)]), 0.1)
        self.assertIsNone(stats.slope([(8, 1), (8, 2)]))

    def test_smallest_p_is_what_the_test_says_at_its_most_certain(self):
        self.assertAlmostEqual(stats.smallest_p(5, 5), stats.mann_whitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]))


if __name__ == "__main__":
    unittest.main()
