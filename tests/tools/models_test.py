# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""Checkpoints and model folders of the `sluice` command: resumed, loaded, exported."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time
import unittest

from command import BINARY, SOURCE, Folder, gpt2_folder


class Checkpoints(Folder):
    def test_a_run_goes_on_from_its_checkpoint(self):
        words = ["train", "run.toml", "--schedule.kind", "constant", "--train.micro_batch", 4]
        whole = self.sluice(*words, "--run-dir", "whole")
        self.assertEqual(whole.returncode, 0, whole.stderr)
        self.assertEqual(self.sluice(*words, "--run-dir", "cut", "--train.steps", 2).returncode, 0)
        done = self.sluice(*words, "--run-dir", "cut", "--resume", "--place.optimizer", "storage")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("resumed at step 2", done.stderr)
        self.assertEqual([s["digest"] for s in self.steps("whole")],
                         [s["digest"] for s in self.steps("cut")])
        path = self.path / "cut/checkpoints/step-6/model.safetensors"
        os.truncate(path, path.stat().st_size - 1)
        done = self.sluice(*words, "--run-dir", "cut", "--resume")
        self.assertEqual(done.returncode, 0, done.stderr)
        first, second = [m for m in self.metrics("cut") if m.get("event") == "resume"]
        self.assertEqual((first["step"], first["skipped"]), (2, ""))
        self.assertEqual(second["step"], 2)
        self.assertTrue(second["path"].endswith("checkpoints/step-2"), second)
        self.assertIn("model.safetensors", second["skipped"])
        saved = [m for m in self.metrics("cut") if m.get("event") == "checkpoint"]
        self.assertEqual([m["step"] for m in saved], [2, 6])
        for key in ("path", "bytes", "pause_seconds", "write_seconds"):
            self.assertIn(key, saved[0])
        refused = self.sluice(*words, "--run-dir", "cut", "--resume", "--train.seed", 9)
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("train.seed", refused.stderr)

    def test_a_checkpoint_is_a_model(self):
        done = self.sluice("train", "run.toml", "--checkpoint.every", 3)
        self.assertEqual(done.returncode, 0, done.stderr)
        run = self.path / "runs/run"
        newest = self.sluice("eval", run / "checkpoints/step-6")
        self.assertEqual(newest.returncode, 0, newest.stderr)
        self.assertEqual(newest.stdout, self.sluice("eval", run).stdout)
        shutil.rmtree(run / "model")
        self.assertEqual(newest.stdout, self.sluice("eval", run).stdout)
        text = self.sluice("generate", run / "checkpoints/step-6", "--tokens", 3)
        self.assertEqual(text.returncode, 0, text.stderr)
        weights = run / "checkpoints/step-6/model.safetensors"
        broken = bytearray(weights.read_bytes())
        broken[-7] ^= 1
        weights.write_bytes(broken)
        refused = self.sluice("eval", run / "checkpoints/step-6")
        self.assertEqual(refused.returncode, 4, refused.stdout)
        self.assertIn("model.safetensors: tensor", refused.stderr)

    def test_a_deadline_ends_a_run_in_good_order(self):
        done = self.sluice("train", "run.toml", "--train.steps", 100000000, "--deadline", "3s")
        self.assertEqual(done.returncode, 75, done.stderr)
        self.assertIn("deadline", done.stdout)
        last = self.steps("runs/run")[-1]["step"]
        self.assertTrue((self.path / f"runs/run/checkpoints/step-{last}/manifest.json").exists())
        refused = self.sluice("train", "run.toml", "--deadline", "soon")
        self.assertEqual((refused.returncode, "2h30m" in refused.stderr), (2, True), refused.stderr)

    def test_a_deadline_ends_loading_too(self):
        text = (SOURCE / "configs/machines/h200.toml").read_text()
        text = text.replace('device = "cuda"', 'device = "host"')
        text = text.replace('host_to_device = "55GB/s"', "host_to_device = 1000\npaced = true", 1)
        self.write("slow.toml", text)
        begin = time.monotonic()
        done = self.sluice("train", "run.toml", "--machine", "slow.toml", "--place.weights", "host",
                           "--deadline", "1s")
        self.assertEqual(done.returncode, 75, done.stderr)
        self.assertIn("stopped before the first step", done.stderr)
        self.assertLess(time.monotonic() - begin, 20)  # at that pace loading takes longer
        self.assertFalse((self.path / "runs/run").exists())


class Models(Folder):
    def test_loading_takes_no_memory_beside_the_plan(self):
        size = gpt2_folder(self.path / "hub", vocab=50000, width=640)
        self.assertGreater(size, 120 << 20)
        words = ["--model.path", "hub", "--data.train", '["text.txt"]', "--data.seq_len", 16,
                 "--train.steps", 1, "--train.global_batch", 1, "--train.dtype", "fp32",
                 "--place.optimizer", "storage", "--limits.storage", "2GiB", "--limits.threads", 1]
        planned = self.sluice("plan", *words, "--json", "-")
        self.assertEqual(planned.returncode, 0, planned.stderr)
        tiers = json.loads(planned.stdout)["tiers"]
        peak = sum(tiers[t]["peak_bytes"] for t in ("device", "host"))
        environment = dict(os.environ, XDG_CACHE_HOME=str(self.path / "cache"))
        with subprocess.Popen([BINARY, "train", *map(str, words), "--dry-run"], cwd=self.path,
                              env=environment, stderr=subprocess.PIPE, text=True) as process:
            talk = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0, talk)
        self.assertIn("attn_pdrop 0.1: dropout is not offered", talk)
        if BINARY.parent.name in ("dev", "tsan"):
            return  # sanitizers keep shadow memory of their own
        self.assertLessEqual(usage.ru_maxrss * 1024, peak + (64 << 20))

    def test_an_export_that_is_stopped_leaves_nothing(self):
        gpt2_folder(self.path / "hub", layers=6, width=1024)
        before = set(self.path.iterdir())
        begun = self.path / ".out.partial/model.safetensors"
        for _ in range(5):  # on a busy machine the signal may come too late
            shutil.rmtree(self.path / "out", ignore_errors=True)
            process = subprocess.Popen([BINARY, "export", "hub", "--out", "out"], cwd=self.path,
                                       stdout=subprocess.PIPE, text=True)
            while process.poll() is None and not begun.exists():
                time.sleep(0.001)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
            if process.returncode != 0:
                break
        self.assertEqual(process.returncode, 75)
        self.assertEqual(said, "stopped by a signal: nothing was written\n")
        self.assertEqual(set(self.path.iterdir()) - {self.path / "cache"}, before)

    def test_export_writes_a_folder_that_trains_on(self):
        gpt2_folder(self.path / "hub")
        words = ["--data.train", '["text.txt"]', "--data.seq_len", 16, "--train.steps", 2,
                 "--train.global_batch", 2, "--train.dtype", "fp32", "--run-dir"]
        done = self.sluice("train", "--model.path", "hub", *words, "run")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.sluice("export", "run", "--out", "out/", "--max-shard-size", "4kB")
        self.assertEqual(done.returncode, 0, done.stderr)
        names = {path.name for path in (self.path / "out").iterdir()}
        self.assertLess({"config.json", "tokenizer.json", "model.safetensors.index.json"}, names)
        self.assertNotIn("model.safetensors", names)
        config = json.loads((self.path / "out/config.json").read_text())
        self.assertEqual((config["eos_token_id"], config["dtype"], config["tie_word_embeddings"]),
                         (7, "float32", True))
        losses = []
        for model in ("run", "out"):
            done = self.sluice("eval", model, "--data", "text.txt", "--data.seq_len", 16,
                               "--json", "-")
            self.assertEqual(done.returncode, 0, done.stderr)
            losses.append(json.loads(done.stdout)["loss"])
        self.assertEqual(*losses)
        done = self.sluice("export", "out", "--out", "out", "--dtype", "bf16", "--overwrite")
        self.assertEqual(done.returncode, 0, done.stderr)
        config = json.loads((self.path / "out/config.json").read_text())
        self.assertEqual(config["dtype"], "bfloat16")
        self.assertFalse((self.path / "out/model.safetensors.index.json").exists())
        done = self.sluice("train", "--model.path", "out", *words, "again")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse([p for p in self.path.iterdir() if p.name.startswith(".")])


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    unittest.main()
