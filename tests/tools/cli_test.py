# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""The `sluice` command as a user meets it: runs, files, numbers, help."""

import json
import os
import pty
import re
import resource
import signal
import subprocess
import time
import unittest

from command import BINARY, Folder


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
        with open("/dev/full", "w") as full:
            lost = subprocess.run([BINARY, "generate", "runs/run"], cwd=self.path, stdout=full,
                                  stderr=subprocess.PIPE, text=True, check=False,
                                  env=self.environment())
        self.refused(lost, 6, "standard output", "No space left")

    def test_eval_reads_text_from_a_pipe(self):
        self.assertEqual(self.sluice("train", "run.toml", "--train.steps", 1).returncode, 0)
        named = self.sluice("eval", "runs/run", "--data", "text.txt")
        with subprocess.Popen(["cat", "text.txt"], cwd=self.path, stdout=subprocess.PIPE) as cat:
            piped = subprocess.run([BINARY, "eval", "runs/run", "--data", "-"], cwd=self.path,
                                   stdin=cat.stdout, capture_output=True, text=True, check=False,
                                   env=self.environment())
        self.assertEqual(piped.returncode, 0, piped.stderr)
        self.assertEqual(piped.stdout, named.stdout)

    def test_data_from_a_pipe_that_is_refused_is_called_standard_input(self):
        self.assertEqual(self.sluice("train", "run.toml", "--train.steps", 1).returncode, 0)
        for text, code, word in (("", 4, "is empty"), ("a", 4, "1 token is no sequence")):
            done = subprocess.run([BINARY, "eval", "runs/run", "--data", "-"], cwd=self.path,
                                  input=text, capture_output=True, text=True, check=False,
                                  env=self.environment())
            self.refused(done, code, f"standard input: {word}")
        done = subprocess.run([BINARY, "eval", "runs/run", "--data", "-", "--data.tokens", "bin"],
                              cwd=self.path, input="a" * 2000, capture_output=True, text=True,
                              check=False, env=self.environment())
        self.refused(done, 4, "standard input: not an llm.c shard")

    def test_signals_finish_the_step_and_save(self):
        # As a scheduler that preempts sends them: the second at once, and 90 s of grace.
        for name, signals in {"int": [signal.SIGINT], "term": [signal.SIGTERM] * 2,
                              "usr": [signal.SIGUSR1]}.items():
            with subprocess.Popen([BINARY, "train", "run.toml", "--train.steps", "100000",
                                   "--run-dir", name], cwd=self.path, env=self.environment(),
                                  stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                  text=True) as process:
                for line in process.stderr:
                    if line.startswith("step 3"):
                        break
                start = time.monotonic()
                for one in signals:
                    process.send_signal(one)
                rest = process.stderr.read()
                self.assertEqual(process.wait(60), 75, rest)
                self.assertLess(time.monotonic() - start, 90)
            self.assertTrue((self.path / name / "model/config.json").exists())
            stop = self.metrics(name)[-1]
            self.assertEqual(stop["reason"], "signal")
            saved = self.path / name / f"checkpoints/step-{stop['step']}/manifest.json"
            self.assertTrue(saved.exists(), saved)

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
        self.assertIn(events, (["start", "checkpoint", "save", "memory", "stop"],
                               ["start", "checkpoint", "save", "memory", "checkpoint", "stop"]))

    def test_a_terminal_gets_a_bar_and_the_log_its_lines(self):
        terminal, end = pty.openpty()
        with subprocess.Popen([BINARY, "train", "run.toml"], cwd=self.path, stderr=end,
                              env=self.environment(), stdout=subprocess.DEVNULL) as process:
            os.close(end)
            shown = b""
            try:
                while part := os.read(terminal, 4096):
                    shown += part
            except OSError:  # how Linux says that the other end is closed
                pass
            self.assertEqual(process.wait(60), 0)
        os.close(terminal)
        self.assertIn(b"\r\x1b[K[====================] step 6/6", shown)
        log = (self.path / "runs/run/log.txt").read_text()
        for step in range(1, 7):
            self.assertIn(f"\nstep {step}/6 ", log)
        self.assertNotIn("\x1b", log)

    def test_the_memory_of_the_plan_is_what_is_used(self):
        done = self.sluice("train", "run.toml", "--place.optimizer", "storage", "--place.weights",
                           "host", "--eval.sequences", 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        told, = [m for m in self.metrics("runs/run") if m.get("event") == "memory"]
        for tier in ("device", "host", "storage"):
            self.assertGreater(told[f"{tier}_bytes"], 0)
            self.assertEqual(told[f"{tier}_bytes"], told[f"{tier}_planned_bytes"])

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
        said = re.findall(r"^(\d+) placements of 2 steps each", done.stderr, re.M)
        self.assertEqual(len(said), 2, done.stderr)  # with clipping and without
        self.assertEqual(sum(map(int, said)), int(last.split()[1]))

    def test_a_dropped_edge_is_found_and_named(self):
        done = self.sluice("verify", "run.toml", "--steps", 3, "--model.layers", 2, "--drop-edge")
        self.assertEqual(done.returncode, 1, done.stderr + done.stdout)
        self.assertRegex(done.stdout.strip().splitlines()[-1],
                         r"^verify: (weights?|master|first moment|second moment) of \S+ differs in "
                         r"weights \w+ .* overlap \dt [\w-]+( no clip)?( mixed by layer)?$")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    unittest.main()
