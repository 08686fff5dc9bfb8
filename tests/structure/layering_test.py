# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""The tree keeps the direction of its arrows, and the check sees one that runs backwards."""

import os
import pathlib
import tempfile
import unittest

import layering

ROOT = pathlib.Path(os.environ.get("SLUICE_SOURCE_DIR", pathlib.Path(__file__).parents[2]))


def complaints_about(files):
    """What the check says of a tree that holds these files {path: text}."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return layering.complaints(folder)


class Tree(unittest.TestCase):
    def test_keeps_the_direction_of_its_arrows(self):
        self.assertEqual(layering.complaints(ROOT), [])

    def test_has_sources_that_the_check_reads(self):
        self.assertGreater(len(list((ROOT / "devices").rglob("*.h"))), 5)


class Check(unittest.TestCase):
    def sees(self, what, path, text):
        found = complaints_about({path: text})
        self.assertEqual(len(found), 1, found)
        self.assertIn(what, found[0])

    def test_sees_an_arrow_that_runs_backwards(self):
        self.sees("kernels must not know offload", "kernels/a.h", '#include "offload/plan.h"\n')
        self.sees("devices/base must not know devices",
                  "devices/base/a.h", '#include "devices/storage.h"\n')

    def test_sees_a_back_end_that_looks_at_another(self):
        self.sees("back end devices/cuda", "devices/host/a.cpp", '#include "devices/cuda/b.h"\n')
        self.sees("back end uring", "devices/storage/thread_storage.cpp",
                  '#include "devices/storage/uring_storage.h"\n')

    def test_sees_a_back_end_named_outside_the_registry(self):
        self.sees("only a registry", "engine/a.cpp", '#include "devices/host/host_queue.h"\n')

    def test_sees_a_heavy_header_in_a_header(self):
        self.sees("heavy headers", "engine/a.h", "#include <nlohmann/json.hpp>\n")

    def test_sees_a_path_that_is_not_from_the_root(self):
        self.sees("from the root", "engine/a.h", '#include "neighbour.h"\n')

    def test_is_content_with_arrows_that_run_forwards(self):
        self.assertEqual(complaints_about({
            "tools/main.cpp": '#include "engine/a.h"\n#include <CLI/CLI.hpp>\n',
            "kernels/host/a.cpp": '#include "devices/host/host_queue.h"\n',
            "devices/registry.cpp": '#include "devices/cuda/b.h"\n',
            "devices/storage/storage.cpp": '#include "devices/storage/uring_storage.h"\n',
        }), [])


if __name__ == "__main__":
    unittest.main()

