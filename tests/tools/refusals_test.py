# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""What the `sluice` command refuses: one line, the documented exit code, nothing left behind."""

import json
import math
import os
import resource
import shutil
import subprocess
import tempfile
import unittest

from command import BINARY, CONFIG, Folder, gpt2_folder, sanitized


# Of all its threads: what others do on the machine does not count.
MOST_CPU_SECONDS = 30 if sanitized() else 1


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Refusals(Folder):
    def check(self, words, code, *parts):
        before = {p for p in self.path.rglob("*") if "cache" not in p.parts}
        used = []
        while len(used) < 2 and min(used, default=math.inf) > MOST_CPU_SECONDS:
            start = cpu_seconds()
            done = self.sluice(*words)
            used.append(cpu_seconds() - start)
        self.assertLess(min(used), MOST_CPU_SECONDS, words)
        self.refused(done, code, *parts)
        after = {p for p in self.path.rglob("*") if "cache" not in p.parts}
        self.assertEqual(before, after, "something was left behind")

    def test_config_and_usage(self):
        self.write("typo.toml", CONFIG.replace("width = 64", "widht = 64"))
        self.check(["train", "typo.toml"], 2, "widht", "width", "typo.toml:5")
        self.check(["train", "none.toml"], 2, "none.toml")
        self.check(["train", "run.toml", "--model.layers", "many"], 2, "layers")
        self.check(["train", "run.toml", "--train.global_batch", "0"], 2, "global_batch")
        self.check(["train", "run.toml", "--model.heads", "7"], 2, "heads")
        self.check(["train", "run.toml", "--place.segment", "3KiB"], 2, "at least 16.0 KiB")
        self.check(["train", "run.toml", "--place.optimizer",
                    '[{layers = "1-4", home = "storage"}]'], 2, "place.optimizer", "block 4")
        self.check(["frobnicate"], 2)
        self.check(["train", "run.toml", "--no-such-flag"], 2)
        self.check(["train", "run.toml", "--machine", "none.toml"], 6, "none.toml")

    def test_does_not_fit(self):
        self.check(["train", "run.toml", "--limits.device", "16KiB"], 3, "device", "bytes",
                   "--limits.device")
        self.check(["train", "run.toml", "--limits.device", "4000GiB"], 3, "limits.device")
        self.check(["plan", "run.toml", "--limits.device", "16KiB"], 3, "device")
        self.check(["train", "run.toml", "--limits.device", "1MiB", "--limits.host", "256KiB",
                    "--limits.storage", "64KiB"], 3)

    def test_data(self):
        self.write("empty.txt", "")
        self.write("short.txt", "too short")
        self.write("bad.bin", "not a shard")
        for name in ("missing.txt", "empty.txt", "short.txt"):
            self.check(["train", "run.toml", "--data.train", f'["{name}"]'], 4)
        self.check(["train", "run.toml", "--data.train", '["bad.bin"]', "--model.vocab", 300], 4,
                   "bad.bin")
        self.check(["eval", "nowhere"], 2)
        self.check(["generate", "nowhere"], 4, "nowhere")

    def test_models(self):
        gpt2_folder(self.path / "hub")
        words = ["train", "--model.path", "hub", "--data.train", '["text.txt"]', "--data.seq_len",
                 16, "--train.steps", 1]
        self.check([*words, "--model.layers", 2], 2, "model.layers is 2", "config.json has 1")
        path = self.path / "hub" / "model.safetensors"
        os.truncate(path, path.stat().st_size - 4)
        self.check(words, 4, "model.safetensors", "the file has")
        self.check(["eval", "hub", "--data", "text.txt"], 4, "model.safetensors")
        self.check(["export", "hub", "--out", "out"], 4, "model.safetensors")
        self.write("hub/config.json", "{")
        self.check(words, 4, "config.json", "not JSON")

    def cost(self, words, code=0, *parts):
        """Seconds of CPU, so that a busy machine is no slow one, and bytes resident at the most."""
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen([BINARY, *map(str, words)], cwd=self.path,
                                       env=self.environment(), stdout=said, stderr=said)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            text = said.read()
        self.assertEqual(process.returncode, code, text)
        for part in parts:
            self.assertIn(part, text)
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10

    @unittest.skipIf(sanitized(), "holds memory and time to the bounds of a plain build")
    def test_a_hostile_config_is_refused_before_anything_is_planned(self):
        gpt2_folder(self.path / "hub")
        path = self.path / "hub/config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {
            "n_layer": 4096, "n_embd": 1 << 20, "n_head": 8192}))
        words = ["--model.path", "hub", "--data.train", '["text.txt"]', "--data.seq_len", 16,
                 "--train.steps", 1]
        _, idle = self.cost(["--version"])
        for command in (["train", *words], ["plan", *words], ["verify", *words],
                        ["eval", "hub", "--data", "text.txt"], ["export", "hub", "--out", "out"],
                        ["generate", "hub"]):
            seconds, most = min(self.cost(command, 4, "config.json") for _ in range(3))
            self.assertLess(seconds, 0.05, command)
            self.assertLess(most - idle, 16 << 20, command)
        gpt2_folder(self.path / "small")
        os.remove(self.path / "small/model.safetensors")
        done = self.sluice("plan", "--model.path", "small", "--data.seq_len", 16,
                           "--train.steps", 1)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_exports(self):
        gpt2_folder(self.path / "hub")
        self.check(["export", "hub", "--out", "hub"], 2, "hub", "--overwrite")
        (self.path / "link").symlink_to("hub")
        self.check(["export", "hub", "--out", "link", "--overwrite"], 2, "link", "no folder")
        self.check(["export", "hub", "--out", "nowhere/out"], 6, "nowhere")
        self.check(["export", "hub", "--out", "out", "--dtype", "fp8"], 2, "--dtype fp8")
        self.check(["export", "hub"], 2, "--out")
        (self.path / "hub" / "merges.txt").symlink_to(self.path / "text.txt")
        self.check(["export", "hub", "--out", "out"], 4, "merges.txt", "symbolic link")

    def test_an_export_replaces_nothing_but_an_export(self):
        gpt2_folder(self.path / "hub")
        words = ["export", "hub", "--overwrite", "--max-shard-size", "4kB", "--out"]
        for _ in range(2):
            done = self.sluice(*words, "out")
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.sluice("train", "run.toml").returncode, 0)
        self.check([*words, "runs/run/checkpoints/step-6"], 2, "holds config.toml", "--out")
        for name in ("README.md", "pytorch_model.bin", "src/thesis.txt", ".git/HEAD",
                     "model-final.safetensors", "model-1-of-2.safetensors",
                     "tokenizer.json/notes.txt"):
            folder = self.path / "mine"
            shutil.copytree(self.path / "out", folder)
            path = folder / name
            (folder / name.split("/")[0]).unlink(missing_ok=True)
            path.parent.mkdir(exist_ok=True)
            path.write_text("years of work")
            self.check([*words, "mine"], 2, "mine", f"holds {name.split('/')[0]},", "--out")
            self.assertEqual(path.read_text(), "years of work")
            shutil.rmtree(folder)

    def test_storage(self):
        # Before planning: storage that is RAM has no room for anything.
        if os.path.ismount("/dev/shm"):
            self.check(["train", "run.toml", "--place.optimizer", "storage", "--run-dir",
                        "/dev/shm/sluice-refused"], 6, "/dev/shm")
        words = ["train", "run.toml", "--place.optimizer", "storage", "--limits.storage_path"]
        self.check([*words, "/dev/shm"], 6, "tmpfs")
        self.check([*words, self.path / "nowhere"], 6, "nowhere")
        self.check([*words, self.path / "text.txt"], 6, "text.txt")

    def test_a_run_directory_is_not_taken_twice(self):
        self.assertEqual(self.sluice("train", "run.toml", "--train.steps", 1).returncode, 0)
        self.check(["train", "run.toml"], 2, "--overwrite")
        self.check(["train", "run.toml", "--resume", "--model.width", 32], 2,
                   "model.ffn_width was 256, here it is 128, ", "model.width was 64, here it is 32")
        self.check(["train", "run.toml", "--resume", "--overwrite"], 2, "runs/run", "drop one")
        shutil.rmtree(self.path / "runs/run/checkpoints")
        self.check(["train", "run.toml", "--resume"], 6, "checkpoint")
        done = self.sluice("train", "run.toml", "--train.steps", 1, "--overwrite")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_numbers_that_are_not_finite(self):
        done = self.sluice("train", "run.toml", "--optimizer.lr", "1e30", "--train.steps", 20,
                           "--schedule.kind", "constant")
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertFalse((self.path / "runs/run/model").exists())


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    unittest.main()
