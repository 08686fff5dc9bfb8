# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""`sluice train` under limits of memory that others set: a plan that keeps within them, with the
memory really taken, or a refusal before anything is done that says how many bytes are short."""

import os
import pathlib
import resource
import subprocess
import tempfile
import unittest

BUILD = pathlib.Path(os.environ["SLUICE_BINARY_DIR"])
GROUPS = pathlib.Path("/sys/fs/cgroup/memory")
MIB = 1 << 20

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
steps = 1
global_batch = 2
dtype = "fp32"
[limits]
threads = 2
storage = "1GiB"
"""


def sanitized():
    """AddressSanitizer and ThreadSanitizer reserve terabytes of address space."""
    return "SLUICE_SANITIZE:STRING=\n" not in (BUILD / "CMakeCache.txt").read_text()


class MemoryLimits(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(dir=BUILD)
        self.addCleanup(scratch.cleanup)
        self.path = pathlib.Path(scratch.name)
        (self.path / "text.txt").write_text("Now is the winter of our discontent. " * 60)
        (self.path / "run.toml").write_text(CONFIG)

    def train(self, prepare):
        """Exit code, errors and the peak of resident memory of a start without steps."""
        command = [BUILD / "sluice", "train", "run.toml", "--dry-run"]
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

    @unittest.skipIf(sanitized(), "sanitizers need the address space")
    def test_under_a_limit_of_address_space(self):
        codes = []
        for size in (500, 900, 2400):
            limit = size * MIB
            outcome = self.train(lambda most=limit: resource.setrlimit(resource.RLIMIT_AS,
                                                                        (most, most)))
            self.within(limit, outcome)
            codes.append(outcome[0])
        self.assertEqual((codes[0], codes[-1]), (3, 0))

    @unittest.skipIf(sanitized(), "sanitizers take memory of their own")
    @unittest.skipUnless(os.access(GROUPS / "cgroup.procs", os.W_OK), "needs cgroup v1 memory")
    def test_in_a_control_group(self):
        group = GROUPS / f"sluice-test-{os.getpid()}"
        group.mkdir()
        self.addCleanup(group.rmdir)
        codes = []
        for size in (256, 800, 2400):
            (group / "memory.limit_in_bytes").write_text(str(size * MIB))
            (group / "memory.max_usage_in_bytes").write_text("0")
            outcome = self.train(lambda: (group / "cgroup.procs").write_text(str(os.getpid())))
            self.within(size * MIB, outcome)
            self.assertIn("oom_kill 0", (group / "memory.oom_control").read_text())
            codes.append(outcome[0])
        self.assertEqual((codes[0], codes[-1]), (3, 0))


if __name__ == "__main__":
    unittest.main()
