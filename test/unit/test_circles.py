#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""No two source files need each other: neither by a call nor over a third one."""

import re
import unittest
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
DEFINITION = re.compile(r"^([a-zA-Z_][\w \*]*?\n?)\**([a-z_]\w*)\([^;{}()]*(?:\([^()]*\)[^;{}()]*)*\)\s*\n\{", re.MULTILINE)


def without_comments_and_strings(text):
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL))


def calls(texts):
    """{file: the files that define a function which it names}"""
    own = {file: {name: head for head, name in DEFINITION.findall(text)} for file, text in texts.items()}
    defined = {name: file for file, names in own.items() for name, head in names.items() if not re.search(r"\bstatic\b", head)}
    return {file: {defined[word] for word in set(re.findall(r"[a-z_]\w*", text)) & set(defined) - set(own[file])}
            for file, text in texts.items()}


def imports(text):
    """Modules of the same package"""
    found = re.findall(r"^from \. import (.*)$|^from \.(\w+) import", text, re.MULTILINE)
    return set(re.findall(r"\w+", " ".join(several or one for several, one in found)))


def circle(graph):
    """One as a list of files, None if there is none."""
    try:
        TopologicalSorter(graph).prepare()
        return None
    except CycleError as error:
        return error.args[1]


class Circles(unittest.TestCase):
    def check_c(self, folder):
        graph = calls({path.name: without_comments_and_strings(path.read_text(encoding="utf-8")) for path in (TOP / folder).glob("*.c")})
        self.assertGreater(sum(map(len, graph.values())), 20, "calls were found")
        self.assertIsNone(circle(graph))

    def test_extension(self):
        self.check_c("pg_mshare")

    def test_flip(self):
        self.check_c("bench/flip")

    def test_report(self):
        graph = {path.stem: imports(path.read_text(encoding="utf-8")) for path in (TOP / "bench/report").glob("*.py")}
        self.assertGreater(sum(map(len, graph.values())), 20, "imports were found")
        self.assertIsNone(circle(graph))

    def test_a_circle_is_found(self):
        a, b, own_a = "void\na(void)\n{\n\tb();\n}\n", "int\nb(void)\n{\n\ta();\n}\n", "static void\na(void)\n{\n}\n"
        self.assertEqual(circle(calls({"a.c": a, "b.c": b})), ["a.c", "b.c", "a.c"])
        self.assertIsNone(circle(calls({"a.c": a, "b.c": own_a + b})))


if __name__ == "__main__":
    unittest.main()
