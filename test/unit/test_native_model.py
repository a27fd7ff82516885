#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""The model of larger machines against sums done by hand."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from native import model

GIB = 2 ** 30
STEPS = """name,median,low,high,n
cpus,4,4,4,1
mprotect_page,600,500,700,15
mprotect_entry,10,8,12,15
fault,1600,1000,2000,15
interrupt_1,900,800,1000,15
interrupt_3,1500,1200,1800,15
ask_process,5000,4000,6000,15
walk_list,150,100,200,15
walk_array,20,10,30,15
"""


class Model(unittest.TestCase):
    def setUp(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "steps.csv"
            path.write_text(STEPS, encoding="utf-8")
            self.steps = model.read(path)

    def test_one_process_for_itself(self):
        # 500 + 262,143 * 8, and no asking makes it quicker
        self.assertEqual(model.mprotect_each(self.steps, 1, GIB, 4), (500 + 262143 * 8, 700 + 262143 * 12))

    def test_many_processes_share_the_cpus(self):
        self.assertEqual(model.mprotect_each(self.steps, 8, 4096, 4), (2 * (500 + 4000), 2 * (700 + 6000)))

    def test_memory_of_other_nodes_widens_the_upper_end_only(self):
        self.assertEqual(model.mprotect_each(self.steps, 4, 8192, 4, remote=3), (500 + 8 + 4000, 700 + 3 * 12 + 6000))

    def test_mshare_is_a_page_stores_visits_and_interrupts(self):
        self.assertEqual(model.mshare(self.steps, 10, 2 * GIB, 4), (500 + 2 * 8 + 10 * 10 + 1200, 700 + 2 * 12 + 10 * 200 + 1800))

    def test_interrupts_at_once_or_one_after_the_other(self):
        self.assertEqual(model.interrupt_round(self.steps, 2), (800, 1000))
        self.assertEqual(model.interrupt_round(self.steps, 3), (1200, 1800))
        self.assertEqual(model.interrupt_round(self.steps, 31), (1200, 600 * 30))

    def test_a_fault_maps_sixteen_pages(self):
        self.assertEqual(model.new_process(self.steps, GIB), (16384 * 1000, 16384 * 2000))

    def test_a_closing_above_the_model_widens_it(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "flips.csv"
            path.write_text("mshare,flip_idle-8-1073741824,8,0,1,flip_p50,3.0,us,\nmshare,flip_idle-8-1073741824,8,0,1,up_p50,1,us,\n"
                            "mshare,flip_idle-64-1073741824,64,0,1,flip_p50,16.0,us,\nmprotect,flip_idle-8-4096,8,0,1,flip_p50,11.2,us,\n", encoding="utf-8")
            checked = list(model.check_rows(self.steps, path))
            words, wider = [word for *_, word, _ in checked], model.above(checked)
        self.assertEqual(words, ["0.73 times the upper end", "1.04 times the upper end", "1 times the middle"])
        self.assertAlmostEqual(wider, 16000 / (700 + 12 + 64 * 200 + 1800))


if __name__ == "__main__":
    unittest.main()
