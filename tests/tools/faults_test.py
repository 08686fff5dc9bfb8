# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""The `sluice` command while system calls fail (tests/preload/fault_calls.cpp): a run goes on
with the same digests, or ends within seconds, in one line, with the right exit code."""

import json
import os
import pathlib
import random
import resource
import subprocess
import tempfile
import time
import unittest

BUILD = pathlib.Path(os.environ["SLUICE_BINARY_DIR"])
SHIM = BUILD / "libsluice_faults.so"
SEED = int(os.environ.get("SLUICE_SEED", random.randrange(1 << 30)))

CONFIG = """
[model]
family = "gpt2"
layers = 3
width = 32
heads = 4
[data]
train = ["text.txt"]
seq_len = 16
[train]
steps = 60
global_batch = 2
micro_batch = 1
dtype = "fp32"
[place]
weights = "storage"
gradients = "storage"
optimizer = "storage"
activations = "storage"
[limits]
threads = 2
[eval]
sequences = 1
[log]
every = 100
digest = true
trace = "none"
"""
# Every way that reads, writes and submissions may fail and yet succeed when asked again.
TRANSIENT = {
    "threads": ["read.short", "read.EINTR", "read.EAGAIN", "read.EIO", "read.ECANCELED",
                "write.short", "write.EINTR", "write.EAGAIN", "write.EIO"],
    "uring": ["read.short", "read.EINTR", "read.EAGAIN", "read.EIO", "read.ECANCELED",
              "write.short", "write.EINTR", "write.EAGAIN", "write.EIO", "write.ECANCELED",
              "ring_submit.EINTR", "ring_submit.EAGAIN", "ring_submit.EBUSY",
              "ring_wait.EINTR", "ring_wait.EAGAIN", "ring_wait.EBUSY"],
}


def injects_completions():
    """Whether io_uring is to be had, and can be told which result to give (Linux 6.10)."""
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    forbidden = pathlib.Path("/proc/sys/kernel/io_uring_disabled")
    return release >= (6, 10) and (not forbidden.exists() or forbidden.read_text().strip() == "0")


@unittest.skipUnless(SHIM.exists(), "needs liburing: built without it")
class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(f"seed {SEED}: SLUICE_SEED={SEED} replays it")
        # On the build's disk: a tmpfs would be refused as storage.
        scratch = tempfile.TemporaryDirectory(dir=BUILD)
        cls.addClassCleanup(scratch.cleanup)
        cls.path = pathlib.Path(scratch.name)
        (cls.path / "text.txt").write_text("Now is the winter of our discontent. " * 40)
        (cls.path / "run.toml").write_text(CONFIG)
        done = cls.train("", "--limits.io", "threads")
        assert done.returncode == 0, done.stderr
        cls.digests = cls.read_digests()

    @classmethod
    def train(cls, faults, *words):
        environment = dict(os.environ, XDG_CACHE_HOME=str(cls.path / "cache"))
        if faults:
            environment.update(LD_PRELOAD=str(SHIM), SLUICE_FAULTS=f"seed={SEED};{faults}",
                               SLUICE_FAULTS_REPORT=str(cls.path / "report"),
                               # The sanitizer wants to be the first library.
                               ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") +
                               ":verify_asan_link_order=0")
        return subprocess.run(
            [BUILD / "sluice", "train", "run.toml", "--run-dir", "run", "--overwrite", *words],
            cwd=cls.path, env=environment, capture_output=True, text=True, timeout=100,
            check=False)

    @classmethod
    def read_digests(cls):
        lines = (cls.path / "run" / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["digest"] for line in lines if '"digest"' in line]

    def struck(self):
        """Faults by failpoint, of the last run."""
        lines = (self.path / "report").read_text().splitlines()
        return {name: int(faults) for name, _, faults in map(str.split, lines)}

    def goes_on(self, done, warnings=()):
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.read_digests(), self.digests)
        said = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
        self.assertEqual(len(said), len(warnings), done.stderr)
        for line, part in zip(said, warnings):
            self.assertIn(part, line)

    def ends(self, done, code, *parts):
        self.assertEqual(done.returncode, code, done.stderr)
        said = [line for line in done.stderr.splitlines() if line.startswith("sluice: ")]
        self.assertEqual(len(said), 1, done.stderr)
        for part in parts:
            self.assertIn(part, said[0])
        self.assertFalse(list((self.path / "run").glob("*.swap")), "the swap file stayed")

    def back_ends(self):
        return ["threads", "uring"] if injects_completions() else ["threads"]

    def test_transfers_that_fail_for_once_change_no_digest(self):
        for io in self.back_ends():
            points = TRANSIENT[io]
            done = self.train(";".join(f"{point}=0.05" for point in points), "--limits.io", io)
            self.goes_on(done)
            struck = self.struck()
            for point in points:
                self.assertGreater(struck[point], 0, f"{point} was never hit")
            self.assertGreaterEqual(sum(struck.values()), 200, struck)

    def test_asking_again_is_no_busy_loop(self):
        for io in self.back_ends():
            points = [point for point in TRANSIENT[io]
                      if point.split(".")[1] in ("EINTR", "EAGAIN", "EBUSY", "ECANCELED")]
            faults = ";".join(f"{point}=0.01" for point in points)
            ratios = []
            # In pairs: what else the machine does may double the seconds of one of them, and
            # a busy loop those of each.
            while not any(ratio < 1.5 for ratio in ratios) and len(ratios) < 5:
                calm, struck = (
                    self.cpu_seconds(which, "--limits.io", io, "--train.steps", "200")
                    for which in ("read.EIO@1000000000", faults))  # the shim alone, and struck
                ratios.append(struck / calm)
            self.assertLess(min(ratios), 1.5, ratios)
            for point in points:
                self.assertGreater(self.struck()[point], 0, f"{point} was never hit")

    def cpu_seconds(self, faults, *words):
        def used():
            children = resource.getrusage(resource.RUSAGE_CHILDREN)
            return children.ru_utime + children.ru_stime
        before = used()
        done = self.train(faults, *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return used() - before

    def test_three_hundred_steps_of_transfers_cut_short_change_no_digest(self):
        steps = ("--train.steps", "300")
        done = self.train("", "--limits.io", "threads", *steps)
        self.assertEqual(done.returncode, 0, done.stderr)
        right = self.read_digests()
        for io in self.back_ends():
            done = self.train("read.short=0.02;write.short=0.02", "--limits.io", io, *steps)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.read_digests(), right)
            self.assertGreaterEqual(sum(self.struck().values()), 200)

    def test_a_drive_that_is_gone_ends_the_run_within_seconds(self):
        for io in self.back_ends():
            for fault, part in (("read.EIO@300+", "cannot read"), ("write.EIO@300+", "cannot write"),
                                ("write.ENOSPC@200", "No space left")):
                start = time.monotonic()
                done = self.train(fault, "--limits.io", io)
                self.assertLess(time.monotonic() - start, 5 + 5)  # its steps before included
                self.ends(done, 6, part, "rank0.swap", "lane storage_", "--limits.storage_path")
                self.assertGreater(sum(self.struck().values()), 0)

    def test_a_ring_that_takes_or_gives_nothing_more_ends_the_run(self):
        if not injects_completions():
            self.skipTest("no io_uring here")
        for fault, part in (("ring_submit.EINVAL@1+", "cannot write"),  # the first weights
                            ("ring_submit.EINVAL@300+", "lane storage_"),
                            ("ring_wait.EINVAL@300+", "lane storage_"),
                            ("ring_wait.EIO@300+", "lane storage_")):
            start = time.monotonic()
            done = self.train(fault, "--limits.io", "uring")
            self.assertLess(time.monotonic() - start, 5 + 5)
            self.ends(done, 6, "rank0.swap", part)

    def test_memory_that_may_not_be_registered_is_used_all_the_same(self):
        if not injects_completions() or os.geteuid() != 0:
            self.skipTest("no io_uring here, or no right to lock memory")
        done = self.train("ring_register.ENOMEM=1", "--limits.io", "uring")
        self.goes_on(done, ["io_uring without registered buffers"])
        self.assertEqual(self.struck(), {"ring_register.ENOMEM": 1})

    def test_without_io_uring_threads_do_the_same_with_one_warning(self):
        for reason in ("EPERM", "ENOSYS", "EOPNOTSUPP", "ENOMEM"):
            done = self.train(f"ring_setup.{reason}=1", "--limits.io", "auto")
            self.goes_on(done, ["storage without io_uring"])
            self.assertEqual(self.struck(), {f"ring_setup.{reason}": 1})

    def test_without_direct_io_the_page_cache_does_the_same_with_one_warning(self):
        self.goes_on(self.train("open.EINVAL=1"), ["no direct I/O"])
        self.assertEqual(self.struck(), {"open.EINVAL": 1})
        # Taken at open, refused at the first transfer.
        self.goes_on(self.train("write.EINVAL@1", "--limits.io", "threads"), ["no direct I/O"])
        self.assertEqual(self.struck(), {"write.EINVAL": 1})

    def test_a_drive_that_gets_slow_is_named_once_and_the_run_goes_on(self):
        done = self.train("read.slow@700+", "--limits.io", "threads")
        self.goes_on(done, ["storage has become slow"])


if __name__ == "__main__":
    unittest.main()
