# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""The `sluice` command as a user meets it: runs, files, exit codes, one-line refusals."""

import json
import math
import os
import pathlib
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

BINARY = pathlib.Path(os.environ["SLUICE_BINARY_DIR"]) / "sluice"
SOURCE = pathlib.Path(os.environ["SLUICE_SOURCE_DIR"])

CONFIG = """
[model]
family = "gpt2"
layers = 4
width = 64
heads = 4
[data]
train = ["text.txt"]
seq_len = 32
[train]
steps = 6
global_batch = 8
dtype = "fp32"
seed = 3
[limits]
threads = 2
[log]
every = 1
digest = true
"""


class Folder(unittest.TestCase):
    def setUp(self):
        # On the build's disk: a tmpfs would be refused as storage.
        scratch = tempfile.TemporaryDirectory(dir=os.environ["SLUICE_BINARY_DIR"])
        self.addCleanup(scratch.cleanup)
        self.path = pathlib.Path(scratch.name)
        self.write("text.txt", "Now is the winter of our discontent. " * 400)
        self.write("run.toml", CONFIG)

    def write(self, name, text):
        (self.path / name).write_text(text)

    def environment(self):
        # No GPU: what is tested here is the command, on the host device.
        return dict(os.environ, XDG_CACHE_HOME=str(self.path / "cache"), CUDA_VISIBLE_DEVICES="")

    def sluice(self, *words):
        return subprocess.run([BINARY, *map(str, words)], cwd=self.path, env=self.environment(),
                              capture_output=True, text=True, errors="replace", timeout=100,
                              check=False)

    def metrics(self, run):
        lines = (self.path / run / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def steps(self, run):
        return [line for line in self.metrics(run) if "loss" in line]

    def refused(self, done, code, *words):
        self.assertEqual(done.returncode, code, done.stderr)
        last = done.stderr.strip().splitlines()[-1]
        self.assertTrue(last.startswith("sluice: "), done.stderr)
        for word in words:
            self.assertIn(word, last)


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


class Train(Folder):
    def test_a_run_leaves_what_is_promised(self):
        done = self.sluice("train", "run.toml")
        self.assertEqual(done.returncode, 0, done.stderr)
        run = self.path / "runs" / "run"
        for name in ("config.toml", "plan.json", "metrics.jsonl", "trace.json", "log.txt",
                     "model/config.json", "model/model.safetensors"):
            self.assertTrue((run / name).exists(), name)
        steps = self.steps("runs/run")
        self.assertEqual([s["step"] for s in steps], [1, 2, 3, 4, 5, 6])
        self.assertLess(steps[-1]["loss"], steps[0]["loss"])
        for key in ("tokens", "grad_norm", "lr", "step_seconds", "tokens_per_second",
                    "forecast_seconds", "lanes"):
            self.assertIn(key, steps[0])
        self.assertRegex(steps[0]["digest"], "^[0-9a-f]{16}$")
        self.assertTrue(any("val_loss" in line for line in self.metrics("runs/run")))
        self.assertFalse(list(run.glob("*.swap")))
        trace = json.loads((run / "trace.json").read_text())
        events = trace["traceEvents"] if isinstance(trace, dict) else trace
        self.assertGreater(len({e["pid"] for e in events}), 1)

    def test_placements_overlap_and_drives_do_not_change_a_digest(self):
        digests = set()
        for i, words in enumerate((
                [],
                ["--serial", "--limits.threads", "1"],
                ["--place.optimizer", "storage", "--place.weights", "host",
                 "--place.gradients", "host", "--limits.io", "threads"],
                ["--place.weights", "storage", "--place.gradients", "storage",
                 "--place.activations", "storage", "--place.recompute", "full",
                 "--place.optimizer", '[{layers = "0-1", home = "host"}, '
                                      '{layers = "*", home = "storage"}]'])):
            done = self.sluice("train", "run.toml", "--run-dir", f"r{i}", "--train.micro_batch", 4,
                               *words)
            self.assertEqual(done.returncode, 0, done.stderr)
            digests.add(tuple(s["digest"] for s in self.steps(f"r{i}")))
        self.assertEqual(len(digests), 1)

    def test_a_plan_is_replayed_and_refused_for_another_model(self):
        self.assertEqual(self.sluice("plan", "run.toml", "--json", "plan.json").returncode, 0)
        plan = json.loads((self.path / "plan.json").read_text())
        self.assertEqual((plan["format"], plan["version"]), ("sluice-plan", 1))
        self.assertEqual(set(plan["tiers"]), {"device", "host", "storage"})
        done = self.sluice("train", "run.toml", "--plan", "plan.json", "--run-dir", "a")
        self.assertEqual(done.returncode, 0, done.stderr)
        made = json.loads((self.path / "a" / "plan.json").read_text())
        self.assertEqual(made["hash"], plan["hash"])
        other = self.sluice("train", "run.toml", "--plan", "plan.json", "--run-dir", "b",
                            "--model.layers", "5")
        self.refused(other, 2, "plan")

    def test_eval_gives_the_runs_validation_loss_and_generate_writes_text(self):
        self.assertEqual(self.sluice("train", "run.toml").returncode, 0)
        done = self.sluice("eval", "runs/run", "--json", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        value = json.loads(done.stdout)
        trained = [m for m in self.metrics("runs/run") if "val_loss" in m][-1]
        self.assertAlmostEqual(value["loss"], trained["val_loss"], delta=2e-5)
        self.assertEqual(value["tokens"], trained["val_tokens"])
        text = self.sluice("generate", "runs/run", "--prompt", "Now ", "--tokens", 20)
        self.assertEqual(text.returncode, 0, text.stderr)
        self.assertTrue(text.stdout.startswith("Now "))
        again = self.sluice("generate", "runs/run", "--prompt", "Now ", "--tokens", 20)
        self.assertEqual(text.stdout, again.stdout)

    def test_sigint_finishes_the_step_and_saves(self):
        environment = self.environment()
        with subprocess.Popen([BINARY, "train", "run.toml", "--train.steps", "100000"],
                              cwd=self.path, env=environment, stderr=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, text=True) as process:
            for line in process.stderr:
                if line.startswith("step 3"):
                    break
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
            self.assertEqual(process.wait(60), 75, rest)
        self.assertTrue((self.path / "runs/run/model/config.json").exists())
        self.assertEqual(self.metrics("runs/run")[-1]["reason"], "signal")

    def test_files_stop_and_save_do_what_they_say(self):
        environment = self.environment()
        with subprocess.Popen([BINARY, "train", "run.toml", "--train.steps", "100000"],
                              cwd=self.path, env=environment, stderr=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, text=True) as process:
            for line in process.stderr:
                if line.startswith("step 2"):
                    (self.path / "runs/run/SAVE").touch()
                if line.startswith("saved "):
                    (self.path / "runs/run/STOP").touch()
            self.assertEqual(process.wait(60), 0)
        events = [m["event"] for m in self.metrics("runs/run") if "event" in m]
        # And a last checkpoint, unless the run stopped where it had just saved.
        self.assertIn(events, (["start", "checkpoint", "save", "stop"],
                               ["start", "checkpoint", "save", "checkpoint", "stop"]))

    def test_memory_stays_within_the_plan(self):
        # 14 M parameters: a plan of well over 100 MiB.
        words = ["train", "run.toml", "--model.width", 512, "--model.heads", 8,
                 "--train.steps", 2, "--train.global_batch", 2, "--eval.sequences", 2]
        environment = self.environment()
        with subprocess.Popen([BINARY, *map(str, words)], cwd=self.path, env=environment,
                              stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        plan = json.loads((self.path / "runs/run/plan.json").read_text())
        planned = sum(plan["tiers"][t]["peak_bytes"] for t in ("device", "host"))
        self.assertGreater(planned, 100 << 20)
        if "asan" in str(BINARY) or BINARY.parent.name in ("dev", "tsan"):
            return  # sanitizers keep shadow memory of their own
        self.assertLessEqual(usage.ru_maxrss * 1024, planned * 1.05 + (64 << 20))


def gpt2_folder(folder, vocab=256, width=16, layers=1):
    """A gpt2 of Hugging Face whose weights are all 0, as holes in its file."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({
        "model_type": "gpt2", "n_layer": layers, "n_embd": width, "n_head": 4, "n_positions": 32,
        "vocab_size": vocab, "attn_pdrop": 0.1, "eos_token_id": 7}))
    (folder / "tokenizer.json").write_text("{}")
    shapes = {"wte.weight": [vocab, width], "wpe.weight": [32, width]}
    for i in range(layers):
        for name, shape in {
                "ln_1": [width], "ln_2": [width], "attn.c_attn": [width, 3 * width],
                "attn.c_proj": [width, width], "mlp.c_fc": [width, 4 * width],
                "mlp.c_proj": [4 * width, width]}.items():
            shapes[f"h.{i}.{name}.weight"] = shape
            shapes[f"h.{i}.{name}.bias"] = shape[-1:]
    shapes |= {"ln_f.weight": [width], "ln_f.bias": [width]}
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + at)
    return at


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


class Refusals(Folder):
    def check(self, words, code, *parts):
        before = {p for p in self.path.rglob("*") if "cache" not in p.parts}
        start = time.monotonic()
        done = self.sluice(*words)
        self.assertLess(time.monotonic() - start, 20)
        self.assertEqual(done.returncode, code, (words, done.stderr))
        last = done.stderr.strip().splitlines()[-1]
        self.assertTrue(last.startswith("sluice: "), done.stderr)
        for part in parts:
            self.assertIn(part, last)
        after = {p for p in self.path.rglob("*") if "cache" not in p.parts}
        self.assertEqual(before, after, "something was left behind")

    def test_config_and_usage(self):
        self.write("typo.toml", CONFIG.replace("width = 64", "widht = 64"))
        self.check(["train", "typo.toml"], 2, "widht", "width", "typo.toml:5")
        self.check(["train", "none.toml"], 2, "none.toml")
        self.check(["train", "run.toml", "--model.layers", "many"], 2, "layers")
        self.check(["train", "run.toml", "--train.global_batch", "0"], 2, "global_batch")
        self.check(["train", "run.toml", "--model.heads", "7"], 2, "heads")
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

    def test_exports(self):
        gpt2_folder(self.path / "hub")
        self.check(["export", "hub", "--out", "hub"], 2, "hub", "--overwrite")
        (self.path / "mine").mkdir()
        self.write("mine/letter.txt", "dear")
        self.check(["export", "hub", "--out", "mine", "--overwrite"], 2, "mine", "no model folder")
        self.check(["export", "hub", "--out", "nowhere/out"], 6, "nowhere")
        self.check(["export", "hub", "--out", "out", "--dtype", "fp8"], 2, "--dtype fp8")
        self.check(["export", "hub"], 2, "--out")
        (self.path / "hub" / "merges.txt").symlink_to(self.path / "text.txt")
        self.check(["export", "hub", "--out", "out"], 4, "merges.txt", "symbolic link")

    def test_storage(self):
        words = ["train", "run.toml", "--place.optimizer", "storage", "--limits.storage_path"]
        self.check([*words, "/dev/shm"], 6, "tmpfs")
        self.check([*words, self.path / "nowhere"], 6, "nowhere")
        self.check([*words, self.path / "text.txt"], 6, "text.txt")

    def test_a_run_directory_is_not_taken_twice(self):
        self.assertEqual(self.sluice("train", "run.toml", "--train.steps", 1).returncode, 0)
        self.check(["train", "run.toml"], 2, "--overwrite")
        shutil.rmtree(self.path / "runs/run/checkpoints")
        self.check(["train", "run.toml", "--resume"], 6, "checkpoint")
        done = self.sluice("train", "run.toml", "--train.steps", 1, "--overwrite")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_numbers_that_are_not_finite(self):
        done = self.sluice("train", "run.toml", "--optimizer.lr", "1e30", "--train.steps", 20,
                           "--schedule.kind", "constant")
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertFalse((self.path / "runs/run/model").exists())


class Help(Folder):
    def test_every_command_has_help_with_an_example(self):
        for command in ("doctor", "clean", "probe", "plan", "train", "verify", "eval", "generate",
                        "export"):
            done = self.sluice(command, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn(f"Example: sluice {command}", done.stdout)

    def test_print_config_reads_back_to_itself(self):
        first = self.sluice("train", "run.toml", "--print-config")
        self.assertEqual(first.returncode, 0, first.stderr)
        (self.path / "again.toml").write_text(first.stdout)
        second = self.sluice("train", "again.toml", "--print-config")
        strip = lambda text: [l.split("#")[0].strip() for l in text.splitlines()]
        self.assertEqual(strip(first.stdout), strip(second.stdout))

    def test_doctor_says_which_limit_binds(self):
        done = self.sluice("doctor", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("memory", {row["what"] for row in json.loads(done.stdout)})


class Clean(Folder):
    def left_by_a_killed_run(self):
        """The swap file of a run that was killed while it held it."""
        words = ["train", "run.toml", "--place.optimizer", "storage", "--train.steps", "1000000"]
        with subprocess.Popen([BINARY, *words], cwd=self.path, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            swap = self.path / "runs" / "run" / "sluice-rank0.swap"
            deadline = time.monotonic() + 60
            while not (self.path / "runs/run/metrics.jsonl").exists() \
                    and time.monotonic() < deadline:
                time.sleep(0.01)
            used = self.sluice("clean")
            process.kill()
        self.assertIn(f"in use by running process {process.pid}", used.stdout)
        self.assertIn("0 files removed", used.stdout)
        self.assertTrue(swap.exists())
        return swap

    def test_what_a_killed_run_left_is_named_and_removed(self):
        swap = self.left_by_a_killed_run()
        rows = json.loads(self.sluice("doctor", "--json").stdout)
        found = [row for row in rows if row["what"] == "swap file"]
        self.assertEqual(len(found), 1, rows)
        self.assertIn(str(swap), found[0]["value"])
        self.assertEqual(found[0]["mend"], f"sluice clean {swap}")
        dry = self.sluice("clean", "--dry-run")
        self.assertIn(f"would remove {swap}", dry.stdout)
        self.assertTrue(swap.exists())
        done = self.sluice("clean", "runs")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("1 file removed", done.stdout)
        self.assertFalse(swap.exists())

    def test_what_sluice_did_not_write_stays(self):
        self.write("sluice-rank0.swap", "precious")
        done = self.sluice("clean")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("not a swap file of sluice", done.stdout)
        self.assertTrue((self.path / "sluice-rank0.swap").exists())
        self.refused(self.sluice("clean", "nowhere"), 6, "nowhere")
        self.refused(self.sluice("train", "run.toml", "--place.optimizer", "storage",
                                 "--limits.storage_path", "."), 2, "not written by sluice")


@unittest.skipIf(BINARY.parent.name in ("dev", "tsan"), "40 placements at a sanitizer's speed")
class Verify(Folder):
    def test_all_digests_are_equal(self):
        done = self.sluice("verify", "run.toml", "--steps", 2, "--model.layers", 2)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        last = done.stdout.strip().splitlines()[-1]
        self.assertRegex(last, r"^verify: \d+ placements, all digests equal$")
        self.assertGreaterEqual(int(last.split()[1]), 40)
        self.assertIn(f"{last.split()[1]} placements of 2 steps each", done.stderr)

    def test_a_dropped_edge_is_found_and_named(self):
        done = self.sluice("verify", "run.toml", "--steps", 3, "--model.layers", 2, "--drop-edge")
        self.assertEqual(done.returncode, 1, done.stderr + done.stdout)
        self.assertRegex(done.stdout.strip().splitlines()[-1],
                         r"^verify: (weights?|master|first moment|second moment) of \S+ differs in "
                         r"weights host .* overlap \dt \w+$")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    unittest.main()
