# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""`sluice train` killed at random moments, whatever it is doing, and gone on with: it ends as if
nothing had been. SLUICE_TEST_KILLS says how often, SLUICE_TEST_SEED repeats a run."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
import unittest

from command import BINARY, CONFIG, Folder, sanitized

KILLS = int(os.environ.get("SLUICE_TEST_KILLS", 5 if sanitized() else 20))
SEED = int(os.environ.get("SLUICE_TEST_SEED", random.randrange(1 << 30)))
STEPS, EVERY = 24 if sanitized() else 60, 4


class Kills(Folder):
    def setUp(self):
        super().setUp()
        self.write("run.toml", CONFIG.replace("steps = 6", f"steps = {STEPS}"))
        self.random = random.Random(SEED)
        print(f"SLUICE_TEST_SEED={SEED} repeats this")

    def command(self, run, *words):
        return [BINARY, "train", "run.toml", "--run-dir", run, "--place.optimizer", "storage",
                "--checkpoint.every", str(EVERY), *words]

    def start(self, run):
        """Goes on where there is something to go on from, as a user would."""
        again = ["--resume"] if self.checkpoints(run) else ["--overwrite"]
        return subprocess.Popen(self.command(run, *again), cwd=self.path, env=self.environment(),
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def checkpoints(self, run):
        names = [path.name for path in (self.path / run / "checkpoints").glob("*")]
        return sorted(int(name.split("-")[1]) for name in names if re.fullmatch(r"step-\d+", name))

    def digests(self, run):
        """Of each step, which has one line."""
        lines = self.steps(run)
        digests = {line["step"]: line["digest"] for line in lines}
        self.assertEqual(len(digests), len(lines))
        return digests

    def ended_well(self, run):
        self.assertEqual(self.digests(run), self.expected)
        self.assertEqual(self.checkpoints(run)[-1], STEPS)
        self.assertEqual(self.files(run), self.files_expected)

    def files(self, run):
        """Names of all files, but for which checkpoints were kept."""
        root = self.path / run
        return {re.sub(r"step-\d+", "step", str(path.relative_to(root)))
                for path in root.rglob("*")} | {str(p.name) for p in self.path.glob("*.swap")}

    def test_killed_at_random_moments_a_run_ends_as_if_nothing_had_been(self):
        begin = time.monotonic()
        whole = self.start("undisturbed")
        self.assertEqual(whole.wait(), 0, whole.stderr.read())
        whole.stderr.close()
        seconds = time.monotonic() - begin
        self.expected = self.digests("undisturbed")
        self.files_expected = self.files("undisturbed")
        self.assertEqual(len(self.expected), STEPS)
        kills = most_lost = 0
        while kills < KILLS:
            child = self.start("run")
            time.sleep(self.random.uniform(0, 1.1 * seconds))
            child.kill()
            said = child.communicate()[1]
            if child.returncode == 0:
                self.ended_well("run")
                shutil.rmtree(self.path / "run")
                continue
            self.assertEqual(child.returncode, -signal.SIGKILL, said)
            kills += 1
            if (self.path / "run" / "metrics.jsonl").exists():
                most_lost = max(most_lost, self.lost("run"))
        last = self.start("run")
        self.assertEqual(last.wait(), 0, last.stderr.read())
        last.stderr.close()
        self.ended_well("run")
        print(f"{kills} kills, at most {most_lost} steps of {EVERY} between checkpoints lost")

    def lost(self, run):
        """Steps that were done and have to be done again: those of one interval at most."""
        text = (self.path / run / "metrics.jsonl").read_text()
        done = max(map(int, re.findall(r'^{"step":(\d+),', text, re.MULTILINE)), default=0)
        lost = done - max(self.checkpoints(run), default=0)
        there = sorted(path.name for path in (self.path / run / "checkpoints").glob("*"))
        self.assertLessEqual(lost, EVERY, f"{there}\n{text}")
        return lost


if __name__ == "__main__":
    unittest.main()
