# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""Runs of a user who is nobody special: files for that user alone where the umask says so, nothing
of the environment in them, and no folder that everybody may write to."""

import os
import shutil
import stat
import subprocess
import unittest

from command import BINARY, Folder

NOBODY = 65534
SECRET = "hf_n0b0dy5h0u1d5eeth15"


class Nobody(Folder):
    def setUp(self):
        super().setUp()
        if os.getuid() != 0 or shutil.which("setpriv") is None:
            self.skipTest("needs root and setpriv to become somebody else")
        for path in (self.path, *self.path.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        if self.as_nobody("--version").returncode != 0:
            self.skipTest("nobody may not run the command where it was built")

    def as_nobody(self, *words):
        environment = dict(self.environment(), HF_TOKEN=SECRET, AWS_SECRET_ACCESS_KEY=SECRET)
        return subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", BINARY,
             *map(str, words)], cwd=self.path, env=environment, capture_output=True, text=True,
            timeout=100, umask=0o077, check=False)

    def test_a_run_belongs_to_its_user_alone_and_holds_no_secret(self):
        done = self.as_nobody("train", "run.toml", "--place.optimizer", "storage")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn(SECRET, done.stdout + done.stderr)
        files = list((self.path / "runs").rglob("*"))
        self.assertGreater(len(files), 10)
        for path in files:
            status = path.stat()
            self.assertEqual((status.st_uid, stat.S_IMODE(status.st_mode) & 0o077), (NOBODY, 0), path)
            if path.is_file():
                self.assertNotIn(SECRET.encode(), path.read_bytes(), path)

    def test_a_run_directory_that_all_may_write_is_refused(self):
        (self.path / "open").mkdir()
        os.chown(self.path / "open", NOBODY, NOBODY)
        (self.path / "open").chmod(0o777)
        done = self.as_nobody("train", "run.toml", "--run-dir", "open", "--overwrite")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("open", done.stderr)
        self.assertEqual(list((self.path / "open").iterdir()), [])


if __name__ == "__main__":
    unittest.main()
