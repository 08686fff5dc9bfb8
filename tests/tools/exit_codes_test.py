# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""Every exit code of README.md's table is reached, and none that it does not list; each time
the last line says what, and what to do."""

import re
import resource
import signal
import subprocess
import time
import unittest

from command import BINARY, SOURCE, Folder


@unittest.skipIf(BINARY.parent.name in ("dev", "tsan"), "verify at a sanitizer's speed")
class ExitCodes(Folder):
    def code_of(self, *words, said=""):
        done = self.sluice(*words)
        self.assertIn(said, done.stderr + done.stdout)
        return done.returncode

    def after_signals(self, run, *seconds):
        """Of a long run that gets a SIGINT after each of these pauses."""
        with subprocess.Popen([BINARY, "train", "run.toml", "--run-dir", run, "--train.steps",
                               "1000", "--model.width", "512", "--train.global_batch", "512"],
                              cwd=self.path, env=self.environment(), stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as process:
            for line in process.stderr:
                if line.startswith("plan:"):
                    break
            for pause in seconds:
                time.sleep(pause)
                process.send_signal(signal.SIGINT)
            process.communicate()
        return process.returncode

    def test_each_is_reached(self):
        reached = {
            self.code_of("train", "run.toml", "--run-dir", "a", said="model in"),
            self.code_of("verify", "run.toml", "--steps", 2, "--model.layers", 2, "--drop-edge",
                         said="differs in"),
            self.code_of("train", "run.toml", "--model.widht", 4, said="model.width"),
            self.code_of("train", "run.toml", "--limits.device", "16KiB", said="--limits.device"),
            self.code_of("train", "run.toml", "--data.train", "none.txt", said="none.txt"),
            self.code_of("train", "run.toml", "--run-dir", "b", "--optimizer.lr", "1e30",
                         said="lower optimizer.lr"),
            self.code_of("train", "run.toml", "--run-dir", "c", "--limits.storage_path",
                         "/nowhere", said="/nowhere"),
            self.after_signals("d", 0.5),
            self.after_signals("e", 0.5, 0.5),
        }
        table = re.findall(r"^\| (\d+) \|", (SOURCE / "README.md").read_text(), re.M)
        self.assertEqual(reached, set(map(int, table)))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    unittest.main()
