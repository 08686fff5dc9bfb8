# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""Whatever ends a command, its last line says what it is, in a length that a person reads, and
what to type next or the limit."""

import json
import os
import resource
import shutil
import unittest

from command import CONFIG, Folder, gpt2_folder

LONG = "x" * 5_000_000


class FatalLines(Folder):
    def setUp(self):
        super().setUp()
        gpt2_folder(self.path / "hub")
        for name in ("cut", "odd", "torn", "outside"):
            shutil.copytree(self.path / "hub", self.path / name)
        os.truncate(self.path / "cut/model.safetensors", 3000)
        self.write("odd/config.json", json.dumps({"model_type": LONG[:900_000]}))
        self.write("torn/config.json", "{")
        os.remove(self.path / "outside/model.safetensors")
        self.write("outside/model.safetensors.index.json",
                   json.dumps({"weight_map": {"wte.weight": "../" + LONG}}))
        (self.path / "open").mkdir()
        (self.path / "open").chmod(0o777)
        self.write("empty.txt", "")
        self.write("short.txt", "short")
        self.write("none.bin", "no shard")
        self.write("typo.toml", CONFIG.replace("width", "widht"))
        self.write("value.toml", CONFIG.replace('"gpt2"', f'"{LONG[:900_000]}"'))
        self.write("key.toml", CONFIG.replace("width", LONG[:900_000]))
        self.write("large.toml", CONFIG + f"# {LONG}")
        self.write("deep.toml", ".".join("a" * 30_000) + " = 1")
        self.assertEqual(self.sluice("train", "run.toml", "--run-dir", "ran").returncode, 0)
        self.assertEqual(self.sluice("plan", "run.toml", "--json", "plan.json").returncode, 0)
        shutil.copytree(self.path / "ran", self.path / "broken")
        for path in (self.path / "broken/checkpoints").rglob("*.safetensors"):
            os.truncate(path, 100)

    def test_each_is_one_line_that_helps(self):
        train = ["train", "run.toml"]
        hub = ["--data.train", "text.txt", "--data.seq_len", 16, "--train.steps", 1]
        for code, words, advice in [
                (2, [], "give a command: doctor"),
                (2, ["frobnicate"], "give one of doctor"),
                (2, ["trian", "run.toml"], "the nearest is train"),
                (2, [*train, "--no-such-flag"], "--help"),
                (2, [*train, "--train.steps"], "--train.steps VALUE"),
                (2, [*train, "--train.stesp", 3], "train.steps"),
                (2, ["train", "none.toml"], "give the path"),
                (2, ["train", "typo.toml"], "model.width"),
                (2, ["train", "value.toml"], "gpt2"),
                (2, ["train", "key.toml"], "the nearest is"),
                (2, ["train", "large.toml"], "1 MiB"),
                (2, ["train", "deep.toml"], "64"),
                (2, [*train, "--model.layers", "many"], "at most 4096"),
                (2, [*train, "--model.heads", 7], "model.heads"),
                (2, [*train, "--train.global_batch", 0], "at least 1"),
                (2, [*train, "--optimizer.lr", "1e39"], "optimizer.lr must be a number"),
                (2, [*train, "--optimizer.eps", "1e-300"], "at least 1e-30"),
                (2, [*train, "--train.micro_batch", 3], "train.micro_batch"),
                (2, [*train, "--data.seq_len", 10**9], "at most 1048576"),
                (2, ["train", *hub[:4]], "set model.layers"),
                (2, ["train", "--model.path", "hub", *hub[:4]], "set train.steps"),
                (2, [*train, "--run-dir", "ran"], "--overwrite"),
                (2, [*train, "--run-dir", "open"], "chmod"),
                (2, [*train, "--deadline", "soon"], "such as"),
                (2, [*train, "--limits.host", "lots"], "64MiB"),
                (2, [*train, "--plan", "plan.json", "--model.width", 32], "sluice plan"),
                (2, [*train, "--plan", "none.json"], "sluice plan"),
                (2, [*train, "--plan", "."], "folder; make a plan with `sluice plan --json"),
                (2, [*train, "--plan", "empty.txt"], "empty; make a plan with `sluice plan"),
                (2, [*train, "--plan", "run.toml"], "make a plan with `sluice plan --json"),
                (2, [*train, "--machine", "run.toml"], "sluice-machine"),
                (2, ["export", "hub"], "--out"),
                (2, ["export", "hub", "--out", "cut"], "--overwrite"),
                (2, ["export", "hub", "--out", "ran", "--overwrite"], "another --out"),
                (2, ["generate", "hub", "--prompt-tokens", "1,x"], "--prompt-tokens"),
                (2, ["generate", "hub", "--prompt-tokens", "256"], "from 0 to 255"),
                (2, ["eval", "hub"], "--data FILE"),
                (3, [*train, "--limits.device", "16KiB"], "--limits.device"),
                (3, [*train, "--limits.device", "4000GiB"], "lower"),
                (3, [*train, "--limits.device", "1MiB", "--limits.host", "256KiB",
                     "--limits.storage", "64KiB"], "limits"),
                (4, [*train, "--data.train", "none.txt"], "none.txt"),
                (4, [*train, "--data.train", "empty.txt"], "leave it out"),
                (4, [*train, "--data.train", "short.txt"], "data.seq_len"),
                (4, [*train, "--data.train", "none.bin", "--model.vocab", 300], "1024-byte header"),
                (4, [*train, "--model.vocab", 255], "at least 256"),
                (4, ["train", "--model.path", "cut", *hub], "the file has"),
                (4, ["train", "--model.path", "odd", *hub], "llama"),
                (4, ["train", "--model.path", "torn", *hub], "not JSON at byte"),
                (4, ["train", "--model.path", "outside", *hub], "outside"),
                (4, ["generate", "none"], "config.json"),
                (5, [*train, "--run-dir", "high", "--optimizer.lr", "1e30"], "lower optimizer.lr"),
                (6, [*train, "--machine", "none.toml"], "sluice probe"),
                (6, [*train, "--limits.storage_path", "/nowhere"], "give a folder"),
                (6, [*train, "--run-dir", "text.txt/run"], "--run-dir"),
                (6, [*train, "--run-dir", "broken", "--resume"], "--overwrite"),
                (6, ["export", "hub", "--out", "none/out"], "another --out"),
                (6, ["eval", "hub", "--data", "text.txt", "--json", "none/x"], "name a file"),
        ]:
            with self.subTest(words=words):
                done = self.sluice(*words)
                last = done.stderr.splitlines()[-1] if done.stderr else ""
                self.refused(done, code, advice)
                self.assertLess(len(last), 600)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    unittest.main()
