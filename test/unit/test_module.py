#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""The module stands for every patch, and its check finds what a kernel has otherwise."""

import re
import subprocess
import tempfile
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
MODULE = TOP / "kernel/module"

SOURCE = """
typedef unsigned int vm_fault_t;
struct vm_area_struct { long x; };
struct file_operations { int (*open)(int); };
vm_fault_t handle(struct vm_area_struct *vma, unsigned int flags) { return vma->x + flags; }
void *make(const struct file_operations *ops, const char *name, ...) { return ops->open + *name; }
"""

RIGHT = """# of this kernel

call  void *make(const struct file_operations *, const char *, ...)
hook  vm_fault_t handle(struct vm_area_struct *, unsigned int)
data  int sysctl
"""


class Patches(unittest.TestCase):
    def setUp(self):
        self.hooks = (MODULE / "hooks.c").read_text(encoding="utf-8")
        self.table = dict(re.findall(r'HOOK\("\d+", (\w+),\s+(\w+)', self.hooks))

    def test_every_patch_has_an_entry(self):
        series = (TOP / "kernel/patches/series").read_text(encoding="utf-8")
        patches = set(re.findall(r"^(\d{4})-", series, re.M))
        without = re.search(r"No hook stands for:(.*?)\*/", self.hooks, re.S)[1]
        hooked = set(re.findall(r'HOOK\("(\d+)",', self.hooks))
        unhooked = set(re.findall(r"\b\d{4}\b", without))
        self.assertEqual(hooked | unhooked, patches)
        self.assertEqual(hooked & unhooked, set())

    def test_hooks_are_those_that_are_checked(self):
        prototypes = (MODULE / "prototypes").read_text(encoding="utf-8")
        checked = set(re.findall(r"^hook .*?(\w+)\(", prototypes, re.M))
        self.assertEqual(set(self.table), checked)


class Check(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "kernel.c").write_text(SOURCE)
        subprocess.run(["gcc", "-gbtf", "-c", "kernel.c"], cwd=self.folder, check=True)

    def check(self, prototypes, kernel="kernel.o"):
        (self.folder / "prototypes").write_text(prototypes)
        ran = subprocess.run([MODULE / "check", self.folder / kernel, self.folder / "prototypes"],
                             capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout + ran.stderr

    def test_the_same(self):
        self.assertEqual(self.check(RIGHT), (0, ""))

    def test_another_argument(self):
        status, said = self.check(RIGHT.replace("*, unsigned int)", "*, long int)"))
        self.assertEqual(status, 1)
        self.assertEqual(said, "hook  handle\n"
                         "  expected  vm_fault_t handle(struct vm_area_struct *, long int)\n"
                         "  found     vm_fault_t handle(struct vm_area_struct *, unsigned int)\n")

    def test_another_result(self):
        self.assertEqual(self.check(RIGHT.replace("vm_fault_t handle", "int handle"))[0], 1)

    def test_no_such_function(self):
        status, said = self.check(RIGHT + "call  int gone(void)\n")
        self.assertEqual((status, said), (1, "call  gone: this kernel has no such function\n"))

    def test_nothing_to_compare(self):
        self.assertEqual(self.check(RIGHT, "kernel.c")[0], 2)
        subprocess.run(["gcc", "-c", "kernel.c"], cwd=self.folder, check=True)
        self.assertEqual(self.check(RIGHT)[0], 2)


if __name__ == "__main__":
    unittest.main()
