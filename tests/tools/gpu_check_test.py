# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""tools/gpu_check.py against programs that answer as a GPU build on a GPU would, and against
this machine's own build where there is no GPU."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["SLUICE_SOURCE_DIR"])
BINARY = pathlib.Path(os.environ["SLUICE_BINARY_DIR"])

# Stands in for every program; what it is called decides what it says.
FAKE = """#!/usr/bin/env python3
import json, os, pathlib, sys
name, words = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
def after(flag):
    return words[words.index(flag) + 1]
if name == "compute-sanitizer":
    print("[  PASSED  ] 18 tests.")
elif name.endswith("_tests"):
    print("[  PASSED  ] 21 tests.")
elif words[0] == "doctor":
    attention = "own tiled kernel" if os.environ.get("FAKE") == "no cudnn" else "cuDNN 9.28.1"
    print(json.dumps([{"what": "computes on", "value": "NVIDIA H200, 0000:17:00.0"},
                      {"what": "kernels", "value": "attention: " + attention}]))
elif words[0] == "verify":
    print("verify: 41 placements, all digests equal")
elif words[0] == "probe":
    keys = ("host_to_device", "device_to_host", "duplex_factor", "elementwise", "launch_seconds",
            "attention_bf16_flops_per_second", "beside_copies")
    if os.environ.get("FAKE") == "probe":
        keys = keys[1:]
    pathlib.Path(after("--out")).write_text("".join(f"{key} = 5e10\\n" for key in keys))
else:
    off = 1e-2 if os.environ.get("FAKE") == "losses" and after("--limits.accelerator") == "host" else 0
    run = pathlib.Path(after("--run-dir"))
    run.mkdir()
    lines = [{"step": s, "loss": 5.0 - s / 100 + off, "step_seconds": 0.01} for s in range(50)]
    if os.environ.get("FAKE") == "nan":
        lines[7]["loss"] = float("nan")
    if os.environ.get("FAKE") == "short":
        del lines[30:]
    lines.append({"step": 50, "val_loss": 1.89})
    if os.environ.get("FAKE") != "no memory event":
        touched = 4095 if os.environ.get("FAKE") == "arena" else 4096
        lines.append({"event": "memory", "device_bytes": touched, "device_planned_bytes": 4096})
    lines.append({"event": "stop", "reason": "steps"})
    (run / "metrics.jsonl").write_text("\\n".join(map(json.dumps, lines)))
"""


class GpuCheck(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.path = pathlib.Path(scratch.name)
        for name in ("sluice", "sluice_kernels_tests", "sluice_devices_tests",
                     "compute-sanitizer"):
            (self.path / name).write_text(FAKE)
            (self.path / name).chmod(0o755)

    def check(self, *words, fault=""):
        environment = {**os.environ, "FAKE": fault,
                       "PATH": f"{self.path}:{os.environ['PATH']}"}
        return subprocess.run(
            [sys.executable, "-B", SOURCE / "tools/gpu_check.py", self.path, *words, "--results",
             self.path], capture_output=True, text=True, check=False, env=environment)

    def result(self):
        file, = self.path.glob("*.json")
        self.assertIn("h200", file.name)
        return json.loads(file.read_text())

    def test_all_that_holds_passes_and_is_kept(self):
        done = self.check()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        result = self.result()
        self.assertLessEqual({"device", "driver", "date", "commit", "seconds"}, set(result))
        for name in ("libraries", "parity", "sanitizer", "verify", "host", "shakespeare", "G1", "probe"):
            self.assertTrue(result[name]["holds"], name)
        self.assertEqual(result["G1"]["tokens_per_second"], 16 * 1024 / 0.01)
        self.assertEqual(result["G1"]["device_bytes"], 4096)
        self.assertEqual(result["probe"]["host_to_device"], 5e10)
        self.assertIn("8 checks, 0 missed", done.stdout)

    def test_a_miss_is_an_exit_status_and_a_line(self):
        done = self.check("host", fault="losses")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"MISS\thost")
        self.assertFalse(self.result()["host"]["holds"])

    def test_losses_that_are_none_are_a_miss(self):
        for fault in ("nan", "short"):
            done = self.check("host", fault=fault)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn("losses of 50, or not all finite", done.stdout)

    def test_attention_without_cudnn_is_a_miss(self):
        done = self.check("libraries", fault="no cudnn")
        self.assertEqual(done.returncode, 1)
        self.assertIn("attention is not cuDNN's: attention: own tiled kernel", done.stdout)

    def test_a_machine_file_that_lacks_a_rate_is_a_miss(self):
        done = self.check("probe", fault="probe")
        self.assertEqual(done.returncode, 1)
        self.assertIn("the machine file lacks host_to_device", done.stdout)

    def test_what_nobody_foresaw_is_a_miss_and_the_rest_runs(self):
        (self.path / "sluice_devices_tests").unlink()
        done = self.check("parity", "probe")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"MISS\tparity.*FileNotFoundError")
        self.assertRegex(done.stdout, r"pass\tprobe")

    def test_an_arena_that_is_not_what_the_plan_said_is_a_miss(self):
        done = self.check("G1", fault="arena")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"MISS\tG1.*device_bytes 4095 \(limit 4096\)")

    def test_a_run_that_does_not_say_what_it_touched_is_a_miss(self):
        done = self.check("G1", fault="no memory event")
        self.assertEqual(done.returncode, 1)
        self.assertIn("wrote no event `memory`", done.stdout)

    def test_a_program_that_fails_is_a_miss_too(self):
        (self.path / "sluice_kernels_tests").write_text("#!/bin/sh\necho gone wrong\nexit 3\n")
        done = self.check("parity")
        self.assertEqual(done.returncode, 1)
        self.assertIn("sluice_kernels_tests ended with 3: gone wrong", done.stdout)

    @unittest.skipIf(pathlib.Path("/proc/driver/nvidia/version").exists(), "there is a GPU here")
    def test_without_a_gpu_it_stops_with_one_line(self):
        for words in ([], [BINARY]):
            done = subprocess.run([SOURCE / "tools/gpu_check.sh", *words], capture_output=True,
                                  text=True, check=False)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    unittest.main()
