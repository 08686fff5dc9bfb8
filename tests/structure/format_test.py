# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""Every source file is as clang-format leaves it, and carries the licence in its head."""

import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("SLUICE_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
FOLDERS = ("devices", "kernels", "offload", "engine", "tools", "tests")
FORMATTER = shutil.which("clang-format-14") or shutil.which("clang-format")


def sources(*suffixes):
    found = []
    for folder in FOLDERS:
        found += [p for p in sorted((ROOT / folder).rglob("*")) if p.suffix in suffixes]
    return found


def misformatted(paths):
    """What clang-format would change in these files: empty where nothing."""
    command = [FORMATTER, "--dry-run", "-Werror", "--ferror-limit=1",
               f"--style=file:{ROOT / '.clang-format'}", *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


class Format(unittest.TestCase):
    @unittest.skipUnless(FORMATTER, "needs clang-format: apt-get install clang-format")
    def test_is_what_clang_format_leaves(self):
        paths = sources(".h", ".cpp", ".cu", ".cuh")
        self.assertGreater(len(paths), 50)
        batches = [paths[i : i + 20] for i in range(0, len(paths), 20)]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            told = "".join(pool.map(misformatted, batches))
        self.assertEqual(told, "", f"run: {FORMATTER} -i FILE")

    @unittest.skipUnless(FORMATTER, "needs clang-format")
    def test_check_sees_a_misformatted_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".cpp") as file:
            file.write("int  x( ){return 1 ;}\n")
            file.flush()
            self.assertIn("code should be clang-formatted", misformatted([file.name]))


class Licence(unittest.TestCase):
    def test_stands_in_the_head_of_every_file(self):
        paths = sources(".h", ".cpp", ".cu", ".cuh", ".py", ".sh")
        self.assertEqual([], [
            str(p.relative_to(ROOT)) for p in paths
            if "SPDX-License-Identifier: Apache-2.0" not in p.read_text(encoding="utf-8")[:200]])


if __name__ == "__main__":
    unittest.main()
