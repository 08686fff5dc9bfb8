# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""The `sluice` command on the CUDA device, whole, where there is no GPU: with tests/emulator in the
place of CUDA's libraries. What it computes is what a GPU computes, kernel by kernel."""

import re
import signal
import subprocess
import time
import unittest

from command import BINARY, Folder, sanitized

CONFIG = """
[model]
family = "llama"
layers = 2
width = 32
heads = 2
kv_heads = 1
[data]
train = ["text.txt"]
tokens = "bytes"
seq_len = 16
[train]
steps = 50
global_batch = 2
micro_batch = 1
dtype = "fp32"
seed = 3
[eval]
sequences = 1
[limits]
threads = 2
[log]
every = 1
"""

ECC = 214


class EmulatedGpu(Folder):
    program = BINARY.with_name("sluice_emulated")
    fault = ""

    def setUp(self):
        super().setUp()
        self.write("run.toml", CONFIG)

    def environment(self):
        return {**super().environment(), "EMULATED_GPU_FAULT": self.fault}

    def train(self, name, *words):
        done = self.sluice("train", "run.toml", "--run-dir", name, *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def digests(self, name):
        return {step["step"]: step["digest"] for step in self.steps(name)}

    def test_it_is_found_and_named(self):
        done = self.sluice("doctor")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"computes on +emulated, 0000:e3:00.0")

    # The bounds that ARCHITECTURE.md gives for two devices: of the losses of 50 steps, relative.
    @unittest.skipIf(sanitized(), "takes minutes there")
    def test_its_losses_are_those_of_the_host_device(self):
        for family, kv_heads in (("llama", 1), ("gpt2", 2)):
            for dtype, bound in (("fp32", 1e-5), ("bf16", 2e-3)):
                words = ["--model.family", family, "--model.kv_heads", kv_heads,
                         "--train.dtype", dtype, "--overwrite"]
                self.assertIn("device: emulated, ", self.train("gpu", *words).stderr)
                self.train("host", *words, "--limits.accelerator", "host")
                on_gpu, on_host = self.steps("gpu"), self.steps("host")
                self.assertEqual(len(on_gpu), 50)
                for step, (here, there) in enumerate(zip(on_gpu, on_host), 1):
                    self.assertLessEqual(abs(here["loss"] - there["loss"]), bound * there["loss"],
                                         f"{family} {dtype} step {step}")
                memory, = [m for m in self.metrics("gpu") if m.get("event") == "memory"]
                self.assertEqual(memory["device_bytes"], memory["device_planned_bytes"])

    @unittest.skipIf(sanitized(), "takes minutes there")
    def test_all_placements_give_the_same_bits(self):
        done = self.sluice("verify", "run.toml", "--steps", 2, "--limits.accelerator", "cuda",
                           "--model.layers", 3, "--model.width", 16, "--model.head_width", 8,
                           "--model.ffn_width", 24, "--data.seq_len", 9, "--train.dtype", "bf16")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        placements = re.search(r"verify: (\d+) placements, all digests equal", done.stdout)
        self.assertGreaterEqual(int(placements.group(1)), 41)

    def test_a_checkpoint_goes_on_on_the_other_device(self):
        words = ["--schedule.kind", "constant", "--train.steps"]
        self.train("run", *words, 4)
        self.train("run", *words, 8, "--resume", "--limits.accelerator", "host")
        self.train("run", *words, 10, "--resume")
        self.train("host", *words, 10, "--limits.accelerator", "host")
        for here, there in zip(self.steps("run"), self.steps("host")):
            self.assertLessEqual(abs(here["loss"] - there["loss"]), 1e-5 * there["loss"])
        self.write("line.txt", "Now is the winter of our discontent.")
        on_gpu = self.sluice("eval", "run/model", "--data", "line.txt")
        self.assertEqual(on_gpu.returncode, 0, on_gpu.stderr)

    def test_a_device_that_breaks_in_a_step_costs_no_more_than_that(self):
        words = ["--log.digest", "true", "--train.steps", 12, "--checkpoint.every", 2]
        self.train("whole", *words)
        self.fault = f"{ECC}@1500"
        done = self.sluice("train", "run.toml", "--run-dir", "broken", *words)
        self.refused(done, 1, "uncorrectable memory error (ECC) on the GPU")
        steps = len(self.steps("broken"))
        self.assertGreater(steps, 2)
        self.assertLess(steps, 12)
        self.fault = ""
        said = self.train("broken", *words, "--resume").stderr
        resumed = int(re.search(r"resumed at step (\d+)", said).group(1))
        self.assertGreaterEqual(resumed, steps - 2)
        self.assertEqual(self.digests("broken"), self.digests("whole"))

    def test_a_signal_saves_what_is_on_the_device(self):
        words = ["--log.digest", "true", "--train.steps", 12]
        self.train("whole", *words)
        with subprocess.Popen([self.program, "train", "run.toml", "--run-dir", "cut",
                               *map(str, words)], cwd=self.path, env=self.environment(),
                              stderr=subprocess.DEVNULL) as run:
            while not (self.path / "cut/metrics.jsonl").exists() or not self.steps("cut"):
                time.sleep(0.01)
            run.send_signal(signal.SIGTERM)
        self.assertEqual(run.returncode, 75)
        self.train("cut", *words, "--resume")
        self.assertEqual(self.digests("cut"), self.digests("whole"))


if __name__ == "__main__":
    unittest.main()
