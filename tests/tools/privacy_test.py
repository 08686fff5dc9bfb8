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

    def as_nobody(self, *words, umask=0o077):
        environment = dict(self.environment(), HF_TOKEN=SECRET, AWS_SECRET_ACCESS_KEY=SECRET)
        return subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", BINARY,
             *map(str, words)], cwd=self.path, env=environment, capture_output=True, text=True,
            timeout=100, umask=umask, check=False)

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

    def test_a_file_of_a_run_is_nobody_elses_to_read_whatever_the_umask(self):
        words = ["train", "run.toml", "--place.optimizer", "storage"]
        self.assertEqual(self.as_nobody(*words, umask=0o022).returncode, 0)
        with subprocess.Popen(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}",
                               "--clear-groups", BINARY, *words, "--overwrite", "--train.steps",
                               "100000"], cwd=self.path, env=self.environment(), umask=0o022,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            for line in process.stderr:
                if line.startswith(b"step 2"):
                    break
            # While it runs, there are the lock and the swap file too.
            files = [path for path in (self.path / "runs").rglob("*") if path.is_file()]
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files}
            process.terminate()
            process.communicate()
        self.assertLessEqual({".sluice-lock", "log.txt", "sluice-rank0.swap"}, modes.keys())
        for name, mode in modes.items():
            self.assertEqual(mode & 0o037, 0, f"{name}: {mode:o}")

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
