# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""`sluice train` under limits of memory that others set: a plan that keeps within them and tells
the memory that is really taken, or a refusal before anything is done that says how many bytes are
short. With SLUICE_TEST_SOAK set under more limits, and for 10,000 steps."""

import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import tempfile
import unittest

from command import sanitized

BUILD = pathlib.Path(os.environ["SLUICE_BINARY_DIR"])
GROUPS = pathlib.Path("/sys/fs/cgroup/memory")
MIB = 1 << 20
SOAK = "SLUICE_TEST_SOAK" in os.environ

# 13 M parameters: 200 MiB of weights, gradients and state, beside activations.
CONFIG = """
[model]
family = "llama"
layers = 4
width = 512
heads = 8
[data]
train = ["text.txt"]
seq_len = 64
[train]
steps = 2
global_batch = 2
dtype = "fp32"
[limits]
threads = 2
storage = "1GiB"
[eval]
sequences = 1
[log]
trace = "none"
"""


def sizes(few):
    """The limits to try, in MiB: few, and twelve more from 256 MiB to 8 GiB."""
    return few + [round(256 * 32 ** (i / 11)) for i in range(12) if SOAK]


class MemoryLimits(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(dir=BUILD)
        self.addCleanup(scratch.cleanup)
        self.path = pathlib.Path(scratch.name)
        (self.path / "text.txt").write_text("Now is the winter of our discontent. " * 60)
        (self.path / "run.toml").write_text(CONFIG)

    def train(self, prepare, *flags):
        """Exit code, errors and the peak of resident memory."""
        shutil.rmtree(self.path / "runs", ignore_errors=True)
        command = [BUILD / "sluice", "train", "run.toml", *flags]
        with subprocess.Popen(command, cwd=self.path, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, preexec_fn=prepare) as process:
            errors = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, errors, 1024 * usage.ru_maxrss

    def within(self, limit, outcome):
        code, errors, peak = outcome
        self.assertIn(code, (0, 3), errors)
        self.assertLessEqual(peak, limit)
        if code == 3:
            self.assertRegex(errors, r"short of [0-9]+ bytes")
            return
        tiers = json.loads((self.path / "runs/run/plan.json").read_text())["tiers"]
        planned = sum(tiers[tier]["peak_bytes"] for tier in ("device", "host"))
        self.assertGreaterEqual(peak, planned)
        self.assertLessEqual(peak, planned * 1.05 + 64 * MIB)

    @unittest.skipIf(sanitized(), "sanitizers need the address space")
    def test_under_a_limit_of_address_space(self):
        codes = []
        for size in sizes([500, 900, 2400]):
            limit = size * MIB
            outcome = self.train(lambda most=limit: resource.setrlimit(resource.RLIMIT_AS,
                                                                        (most, most)))
            self.within(limit, outcome)
            codes.append(outcome[0])
        self.assertEqual((codes[0], codes[-1]), (3, 0))

    def control_group(self):
        """A control group of its own, and what makes a process join it."""
        group = GROUPS / f"sluice-test-{os.getpid()}"
        group.mkdir()
        self.addCleanup(group.rmdir)
        return group, lambda: (group / "cgroup.procs").write_text(str(os.getpid()))

    @unittest.skipIf(sanitized(), "sanitizers take memory of their own")
    @unittest.skipUnless(os.access(GROUPS / "cgroup.procs", os.W_OK), "needs cgroup v1 memory")
    def test_in_a_control_group(self):
        group, join = self.control_group()
        codes = []
        for size in sizes([160, 800, 2400]):
            (group / "memory.limit_in_bytes").write_text(str(size * MIB))
            outcome = self.train(join)
            self.within(size * MIB, outcome)
            self.assertIn("oom_kill 0", (group / "memory.oom_control").read_text())
            codes.append(outcome[0])
        self.assertEqual((codes[0], codes[-1]), (3, 0))

    def step_seconds(self):
        lines = (self.path / "runs/run/metrics.jsonl").read_text().splitlines()
        return [line["step_seconds"] for line in map(json.loads, lines) if "step_seconds" in line]

    @unittest.skipUnless(SOAK, "times steps")
    @unittest.skipUnless(os.access(GROUPS / "cgroup.procs", os.W_OK), "needs cgroup v1 memory")
    def test_swap_traffic_does_not_press_on_a_small_group(self):
        flags = ["--train.steps", "40", "--place.optimizer", "storage", "--limits.device", "50MiB",
                 "--limits.host", "60MiB"]
        self.assertEqual(self.train(None, *flags)[0], 0)
        alone = statistics.median(self.step_seconds())
        group, join = self.control_group()
        (group / "memory.limit_in_bytes").write_text(str(256 * MIB))
        outcome = self.train(join, *flags)
        self.assertEqual(outcome[0], 0, outcome[1])
        self.assertIn("oom_kill 0", (group / "memory.oom_control").read_text())
        self.assertLessEqual(statistics.median(self.step_seconds()), 2 * alone)

    @unittest.skipUnless(SOAK, "10,000 steps")
    def test_ten_thousand_steps_take_no_more_memory_than_a_hundred(self):
        command = [BUILD / "sluice", "train", "run.toml", "--model.layers", "2", "--model.width",
                   "64", "--model.heads", "2", "--data.seq_len", "16", "--train.steps", "10000",
                   "--place.optimizer", "storage", "--limits.threads", "1", "--log.every", "100",
                   "--checkpoint.every", "1000"]
        resident = []
        with subprocess.Popen(command, cwd=self.path, stderr=subprocess.PIPE, text=True,
                              stdout=subprocess.DEVNULL) as process:
            for line in process.stderr:
                if line.startswith("step ") and not process.poll():
                    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
                    resident += [int(row.split()[1]) for row in status.splitlines()
                                 if row.startswith("VmRSS")]
            self.assertEqual(process.wait(), 0)
        self.assertGreaterEqual(len(resident), 90)
        growth = resident[-2] - resident[1]  # KiB; the first line is of step 1 or 100
        self.assertLessEqual(growth, 10_000, resident)


if __name__ == "__main__":
    unittest.main()
