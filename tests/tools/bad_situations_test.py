# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""What goes wrong around a run: full and forbidden folders, two runs at once, broken data,
impatient people. Each time one line, the documented exit code, and nothing lost."""

import os
import resource
import shutil
import signal
import struct
import subprocess
import time
import unittest

from command import BINARY, CONFIG, Folder, gpt2_folder


class Situation(Folder):
    def as_child(self, words, prepare, **options):
        environment = dict(os.environ, XDG_CACHE_HOME=str(self.path / "cache"))
        return subprocess.run([BINARY, *map(str, words)], cwd=self.path, env=environment,
                              capture_output=True, text=True, timeout=100, check=False,
                              preexec_fn=prepare, **options)

    def start(self, *words):
        environment = dict(os.environ, XDG_CACHE_HOME=str(self.path / "cache"))
        process = subprocess.Popen([BINARY, *map(str, words)], cwd=self.path, env=environment,
                                   stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def wait_for(self, process, start):
        for line in process.stderr:
            if line.startswith(start):
                return
        self.fail(f"no line {start}")


class Storage(Situation):
    WORDS = ["train", "run.toml", "--place.optimizer", "storage"]

    def test_a_folder_that_cannot_be_written(self):
        folder = self.path / "closed"
        folder.mkdir(mode=0o555)
        os.chmod(self.path, 0o777)
        drop = (lambda: os.setuid(65534)) if os.geteuid() == 0 else None
        done = self.as_child([*self.WORDS, "--limits.storage_path", folder, "--run-dir", "run"],
                             drop)
        self.refused(done, 6, "closed", "cannot be written")
        self.assertFalse((self.path / "run").exists())

    def test_a_drive_without_room_for_the_swap_file(self):
        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        done = self.as_child([*self.WORDS, "--limits.storage_path", self.path], small_files,
                             restore_signals=False)
        self.refused(done, 3, "sluice-rank0.swap", "--limits.storage_path")
        self.assertFalse((self.path / "runs").exists(), "something was left behind")

    def test_a_limit_of_file_sizes_costs_checkpoints_and_not_the_process(self):
        def small_files():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        done = self.as_child(["train", "run.toml", "--run-dir", "run"], small_files)
        self.refused(done, 6, "File too large")

    def test_a_place_for_checkpoints_that_takes_none(self):
        self.assertEqual(self.sluice("train", "run.toml", "--run-dir", "run").returncode, 0)
        for name in ("checkpoints", "model"):
            shutil.rmtree(self.path / "run" / name)
        (self.path / "run" / "checkpoints").write_text("a file")
        done = self.sluice("train", "run.toml", "--run-dir", "run", "--resume")
        self.refused(done, 6, "checkpoints", "no checkpoint can be written", "--run-dir")

    def test_a_swap_file_in_use(self):
        first = self.start(*self.WORDS, "--limits.storage_path", self.path, "--run-dir", "a",
                           "--train.steps", 100000)
        self.wait_for(first, "step 1")
        start = time.monotonic()
        second = self.sluice("train", "run.toml", "--run-dir", "a", "--overwrite")
        self.refused(second, 2, "in use", str(first.pid))
        self.assertLess(time.monotonic() - start, 2)
        third = self.sluice(*self.WORDS, "--limits.storage_path", self.path, "--run-dir", "b")
        self.refused(third, 2, "swap", str(first.pid), "--limits.storage_path")


class RunDirectory(Situation):
    def test_that_cannot_be_written(self):
        folder = self.path / "closed"
        folder.mkdir(mode=0o555)
        os.chmod(self.path, 0o777)
        drop = (lambda: os.setuid(65534)) if os.geteuid() == 0 else None
        done = self.as_child(["train", "run.toml", "--run-dir", "closed"], drop)
        self.refused(done, 6, "closed/.sluice-lock", "Permission denied", "--run-dir names another")


class Data(Situation):
    @staticmethod
    def shard(magic, version, count, tokens):
        header = struct.pack("<3i", magic, version, count) + bytes(253 * 4)
        return header + struct.pack(f"<{len(tokens)}H", *tokens)

    def check(self, content, *parts):
        (self.path / "t.bin").write_bytes(content)
        done = self.sluice("train", "run.toml", "--data.train", '["t.bin"]', "--model.vocab", 300)
        self.refused(done, 4, "t.bin", *parts)
        self.assertFalse((self.path / "runs").exists(), "something was left behind")

    def test_broken_shards(self):
        good = [1] * 1000
        self.check(self.shard(20240520, 1, 1000, good)[:600], "header", "data.tokens")
        self.check(self.shard(1, 1, 1000, good), "magic")
        self.check(self.shard(20240520, 9, 1000, good), "version 9", "make the shard")
        self.check(self.shard(20240520, 1, 1001, good), "promises 1001 tokens")
        self.check(self.shard(20240520, 1, -1, good), "promises -1 tokens")
        self.check(self.shard(20240520, 1, 0, []), "no tokens", "leave it out")
        self.check(self.shard(20240520, 1, 1000, [1] * 500 + [300] + [1] * 499), "token 300",
                   "index 500", "model.vocab", "301")

    def test_a_vocabulary_below_a_byte(self):
        done = self.sluice("train", "run.toml", "--model.vocab", 255)
        self.refused(done, 4, "model.vocab", "256")

    def test_a_fifo_is_not_waited_for(self):
        os.mkfifo(self.path / "pipe")
        start = time.monotonic()
        done = self.sluice("train", "run.toml", "--data.train", '["pipe"]')
        self.refused(done, 4, "pipe", "no regular file")
        self.assertLess(time.monotonic() - start, 20)


class Strangers(Situation):
    """Folders that somebody else has filled."""

    MAKERS = (lambda path: path.symlink_to("../victim"), os.mkfifo)

    def check(self, make, name, code, *words):
        """`run/NAME`, a link to a file outside or a FIFO, is neither followed nor waited for."""
        self.write("victim", "mine")
        make(self.path / "run" / name)
        start = time.monotonic()
        done = self.sluice("train", "run.toml", *words)
        self.assertLess(time.monotonic() - start, 20)
        if code == 0:
            self.assertEqual(done.returncode, 0, done.stderr)
        else:
            self.refused(done, code, name)
        self.assertEqual((self.path / "victim").read_text(), "mine", name)

    def test_in_a_run_directory(self):
        for name, code in {".sluice-lock": 6, "log.txt": 6, "plan.json": 0, "trace.json": 0,
                           ".config.toml.partial": 6, ".plan.json.partial": 6,
                           ".trace.json.partial": 6}.items():
            for make in self.MAKERS:
                (self.path / "run").mkdir()
                self.check(make, name, code, "--run-dir", "run", "--log.trace", "1:2")
                shutil.rmtree(self.path / "run")

    def test_in_a_run_that_goes_on(self):
        self.assertEqual(self.sluice("train", "run.toml", "--run-dir", "run").returncode, 0)
        for name, code in {".metrics.jsonl.cut": 6, "log.txt": 6, "metrics.jsonl": 4}.items():
            for make in self.MAKERS:
                (self.path / "run" / name).unlink(missing_ok=True)
                self.check(make, name, code, "--run-dir", "run", "--resume", "--train.steps", 8)
                (self.path / "run" / name).unlink()

    def test_in_the_folder_of_a_swap_file(self):
        words = ["--place.optimizer", "storage", "--limits.storage_path", "run"]
        for make, code in zip(self.MAKERS, (6, 2)):
            shutil.rmtree(self.path / "run", ignore_errors=True)
            (self.path / "run").mkdir()
            self.check(make, "sluice-rank0.swap", code, *words)

    def test_in_a_model_folder(self):
        gpt2_folder(self.path / "hub")
        self.write("victim", CONFIG)
        for make, why in zip(self.MAKERS, ("symbolic link", "no regular file")):
            make(self.path / "hub/config.toml")
            done = self.sluice("eval", "hub", "--data", "text.txt")
            self.refused(done, 4, "config.toml", why)
            (self.path / "hub/config.toml").unlink()


class Numbers(Situation):
    def test_that_no_run_can_have(self):
        for words in (["--schedule.warmup_steps", 2**63 - 1], ["--train.epochs", "1e300"],
                      ["--train.steps", 2**63 - 1], ["--limits.threads", 4096],
                      ["--log.trace", "1:1000000000"]):
            self.refused(self.sluice("train", "run.toml", *words), 2, words[0].lstrip("-"))


class People(Situation):
    def test_a_second_ctrl_c_ends_the_run_at_once_and_leaves_what_was_there(self):
        self.assertEqual(self.sluice("train", "run.toml", "--run-dir", "run").returncode, 0)
        before = (self.path / "run/model/model.safetensors").read_bytes()
        # A step of seconds, so that the second one falls into it.
        process = self.start("train", "run.toml", "--run-dir", "run", "--overwrite",
                             "--train.steps", 1000, "--model.width", 512, "--model.heads", 8,
                             "--train.global_batch", 512)
        self.wait_for(process, "plan:")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        self.wait_for(process, "stopping after this step")
        time.sleep(0.4)  # sooner it would count as the same keypress
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(10), 130)
        self.assertEqual((self.path / "run/model/model.safetensors").read_bytes(), before)
        self.assertEqual(self.sluice("eval", "run").returncode, 0)

    def test_a_signal_before_the_first_step_is_answered_soon_and_leaves_nothing(self):
        before = set(self.path.iterdir())
        plans = ["--model.layers", 4000, "--model.width", 1 << 16, "--model.heads", 512]
        loads = ["--model.layers", 8, "--model.width", 1024, "--place.optimizer", "storage",
                 "--limits.storage_path", "."]

        def seconds_until_the_end(words):
            process = self.start("train", "run.toml", "--run-dir", "runs/deep/run", *words)
            # What takes long begins.
            if words is loads:
                self.wait_for(process, "storage:")
            else:
                while not (self.path / "runs/deep/run/.sluice-lock").exists():
                    time.sleep(0.01)
                time.sleep(0.5)
            start = time.monotonic()
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(60), 75)
            seconds = time.monotonic() - start
            self.assertIn("nothing was kept", process.stderr.read())
            self.assertEqual(set(self.path.iterdir()) - {self.path / "cache"}, before)
            return seconds

        for words in plans, loads:
            # The best of three: the machine may be busy with something else.
            self.assertTrue(any(seconds_until_the_end(words) < 2 for _ in range(3)), words)

    def test_closed_standard_streams_are_no_reason_to_die(self):
        def closed():
            for descriptor in (0, 1, 2):
                os.close(descriptor)
        environment = dict(os.environ, XDG_CACHE_HOME=str(self.path / "cache"))
        with subprocess.Popen([BINARY, "train", "run.toml"], cwd=self.path, env=environment,
                              preexec_fn=closed) as process:
            self.assertEqual(process.wait(100), 0)
        self.assertTrue((self.path / "runs/run/model/config.json").exists())

    def until_it_talks(self, *words):
        """The exit code of a command whose reader leaves after its first line."""
        with subprocess.Popen([BINARY, *map(str, words)], cwd=self.path, env=self.environment(),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            process.stdout.readline()
            process.stdout.close()
            return process.wait(100)

    def test_a_pager_that_is_left_ends_no_training(self):
        words = ["train", "run.toml", "--run-dir", "run", "--place.optimizer", "storage"]
        self.assertEqual(self.until_it_talks(*words, "--train.steps", 50), 0)
        self.assertEqual(len(self.steps("run")), 50)
        self.assertIn("step 50", (self.path / "run/log.txt").read_text())
        self.assertTrue((self.path / "run/model/config.json").exists())
        self.assertEqual(self.until_it_talks(*words, "--resume", "--train.steps", 60,
                                             "--data.seq_len", 16), 2)
        # What it shows is all that it is for.
        self.assertEqual(self.until_it_talks("verify", "run.toml", "--steps", 2), 6)
        self.assertEqual(list(self.path.glob("*.swap")), [])

    def test_plan_flags_beside_a_plan_are_not_ignored(self):
        self.assertEqual(self.sluice("plan", "run.toml", "--json", "plan.json").returncode, 0)
        done = self.sluice("train", "run.toml", "--plan", "plan.json", "--place.weights", "storage")
        self.refused(done, 2, "plan.json", "place.weights")
        text = (self.path / "plan.json").read_text()
        (self.path / "plan.json").write_text(text.replace('"wave": ', '"wave": 1', 1))
        self.refused(self.sluice("train", "run.toml", "--plan", "plan.json"), 2, "wave")

    def test_a_machine_file_that_is_none(self):
        for name in ("run.toml", "nowhere.toml", "."):
            done = self.sluice("plan", "run.toml", "--machine", name)
            self.assertIn(done.returncode, (2, 6))
            self.assertIn(name, done.stderr.strip().splitlines()[-1])

    def test_probe_says_before_it_measures_that_the_cache_cannot_be_written(self):
        blocked = self.path / "cache"
        shutil.rmtree(blocked, ignore_errors=True)
        blocked.write_text("a file")
        start = time.monotonic()
        self.refused(self.sluice("probe", "--quick"), 6, "cache")
        self.assertLess(time.monotonic() - start, 5)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    unittest.main()
