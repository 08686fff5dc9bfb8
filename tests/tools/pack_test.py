# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""tools/pack.sh: what it packs finds its libraries in the pack, and only those of libc and of the
compiler outside."""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["SLUICE_SOURCE_DIR"])
BINARY = pathlib.Path(os.environ["SLUICE_BINARY_DIR"])
PROGRAMS = ("sluice", "sluice_kernels_tests", "sluice_devices_tests")
OUTSIDE = re.compile(r"(linux-vdso|ld-linux-x86-64"
                     r"|lib(c|m|dl|rt|pthread|resolv|stdc\+\+|gcc_s|asan|ubsan|tsan))\.so")


def pack(*words):
    return subprocess.run([SOURCE / "tools/pack.sh", *words], capture_output=True, text=True,
                          check=False)


class Pack(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.build = pathlib.Path(scratch.name) / "build"
        self.out = pathlib.Path(scratch.name) / "out"
        self.build.mkdir()

    def build_programs(self):
        for name in PROGRAMS:  # the tests may not be built in this folder
            (self.build / name).symlink_to(BINARY / "sluice")

    def test_a_folder_lib_that_is_of_no_pack_stays(self):
        self.build_programs()
        (self.out / "lib").mkdir(parents=True)
        (self.out / "lib/mine").write_text("mine")
        done = pack(self.build, self.out)
        self.assertEqual(done.returncode, 2)
        self.assertIn("of no pack", done.stderr)
        self.assertTrue((self.out / "lib/mine").exists())

    def test_libraries_are_found_in_the_pack(self):
        self.build_programs()
        done = pack(self.build, self.out)
        self.assertEqual(done.returncode, 0, done.stderr)
        listed = subprocess.run(["ldd", self.out / "sluice"], capture_output=True, text=True,
                                check=True).stdout
        inside = [line for line in listed.splitlines() if f"=> {self.out}/lib/" in line]
        self.assertGreater(len(inside), 2, listed)
        for line in listed.splitlines():
            if line not in inside:
                self.assertRegex(line, OUTSIDE)
        said = subprocess.run([self.out / "sluice", "--version"], env={}, capture_output=True,
                              text=True, check=True)
        self.assertTrue(said.stdout)

    def test_what_is_not_built_is_named(self):
        done = pack(self.build, self.out)
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"sluice is not there: tools/build\.sh cuda --target sluice")
        self.assertFalse(self.out.exists())


if __name__ == "__main__":
    unittest.main()
