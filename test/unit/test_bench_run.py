#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""bench/run refuses what it cannot measure before it does anything."""

import subprocess
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


class Usage(unittest.TestCase):
    def refused(self, *options):
        ran = subprocess.run([TOP / "bench/run", *options], capture_output=True, text=True, check=False)
        self.assertEqual((ran.returncode, ran.stdout), (2, ""))
        return ran.stderr

    def test_a_kernel_that_is_none_of_ours(self):
        self.assertIn("--kernel plain: one of debian12 debian13 patched", self.refused("--kernel", "plain"))
        self.assertIn("--kernel off13", self.refused("--kernel", "patched,off13"))

    def test_a_kernel_beside_itself(self):
        self.assertIn("each once", self.refused("--kernel", "debian12,patched,debian12"))

    def test_a_system_that_there_is_none_of(self):
        self.assertIn("--system debian9", self.refused("--system", "debian9"))

    def test_the_host_has_one_system(self):
        own = subprocess.run([TOP / "test/system", "own"], capture_output=True, text=True, check=True).stdout.strip()
        other = next(name for name in ("debian12", "debian13") if name != own)
        self.assertIn(own, self.refused("--host", "--system", other))


if __name__ == "__main__":
    unittest.main()
