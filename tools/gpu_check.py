# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""Checks of a GPU build on a GPU: kernels against the host's, under compute-sanitizer,
placements against each other, training against the host device, the public reference, and how
fast the first workloads run. Ends with one table and one flat JSON file under
tests/bench/results/ (`{"device", "driver", "date", "commit", NAME: {...}, ...}`).

    python3 -B tools/gpu_check.py BUILD_FOLDER [NAME...] [--results FOLDER]

A check returns its figures; each figure that has a limit is a pair (value, limit) and misses
where the value is above it, below it or another, by what the check says of it."""

import argparse
import datetime
import json
import math
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
LONGEST_SECONDS = 480
HUNG_SECONDS = 300  # of one command

# Dense bf16 peaks by NVIDIA's data sheets, FLOP/s.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}


class Miss(Exception):
    """One line: what does not hold."""


def at_least(value, limit):
    return {"value": value, "limit": limit, "holds": value >= limit}


def at_most(value, limit):
    return {"value": value, "limit": limit, "holds": value <= limit}


def exactly(value, limit):
    return {"value": value, "limit": limit, "holds": value == limit}


def run(*command, env=None):
    """Standard output; a Miss with the last line that it said where it fails."""
    try:
        done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True,
                              text=True, env={**os.environ, **(env or {})}, check=False,
                              timeout=HUNG_SECONDS)
    except subprocess.TimeoutExpired:
        raise Miss(f"{pathlib.Path(command[0]).name} did not end in {HUNG_SECONDS} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "said nothing").splitlines()[-1]
        raise Miss(f"{pathlib.Path(command[0]).name} ended with {done.returncode}: {said}")
    return done.stdout


class Checks:
    def __init__(self, build, folder, device):
        self.build, self.folder, self.device = build, pathlib.Path(folder), device

    def sluice(self, *words):
        return run(self.build / "sluice", *words)

    def tests(self, program, pattern, *before):
        """How many tests ran; none may be skipped for want of a GPU."""
        said = run(*before, self.build / program, f"--gtest_filter={pattern}",
                   env={"SLUICE_REQUIRE": "gpu"})
        return int(found(r"\[  PASSED  \] (\d+) test", said))

    def train(self, config, name, *flags):
        """Step lines, evaluation lines and events of a run."""
        folder = self.folder / name
        self.sluice("train", ROOT / config, "--quiet", "--overwrite", "--run-dir", folder, *flags)
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return tuple([line for line in lines if key in line]
                     for key in ("step_seconds", "val_loss", "event"))

    # --- The checks, in order. ---

    def libraries(self):
        """What would be slower than it has to be is not what users are to have."""
        notes = [f["value"] for f in json.loads(self.sluice("doctor", "--json"))
                 if f["what"] == "kernels"]
        if not notes or not notes[0].startswith("attention: cuDNN"):
            raise Miss("attention is not cuDNN's: " + ("; ".join(notes) or "doctor says nothing"))
        return {"cudnn": notes[0].removeprefix("attention: ")}

    def parity(self):
        return {"kernel_tests": at_least(
                    self.tests("sluice_kernels_tests", "Cuda*-CudaScratch.*"), 21),
                "device_tests": at_least(self.tests("sluice_devices_tests", "Gpu.*"), 6)}

    def sanitizer(self):
        tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
        if not pathlib.Path(tool).exists():
            raise Miss("compute-sanitizer is not installed: it is part of the CUDA toolkit")
        small = "CudaElementwise.*:CudaTokens.*:CudaReductions.*:CudaAdamW.*:CudaNorm.*"
        small += ":CudaSmall.*"  # of attention and products, whose training sizes take minutes there
        return {which: at_least(self.tests("sluice_kernels_tests", small, tool, "--tool", which,
                                           "--error-exitcode", "9"), 18)
                for which in ("memcheck", "racecheck")}

    def verify(self):
        figures = {}
        for dtype in ("fp32", "bf16"):  # bf16 is cuDNN's attention
            said = self.sluice("verify", ROOT / "configs/quickstart.toml", "--steps", "2",
                               "--train.dtype", dtype, "--limits.accelerator", "cuda",
                               "--limits.storage_path", self.folder)
            figures[f"{dtype}_placements"] = at_least(
                int(found(r"verify: (\d+) placements", said)), 41)
        return figures

    def host(self):
        """Losses of 50 steps, the largest relative difference from the host device's."""
        figures = {}
        for dtype, limit in (("bf16", 2e-3), ("fp32", 1e-5)):
            losses = []
            for device in ("cuda", "host"):
                steps, _, _ = self.train("configs/quickstart.toml", f"{dtype}-{device}",
                                      "--train.steps", "50", "--train.dtype", dtype,
                                      "--train.micro_batch", "2", "--limits.accelerator", device,
                                      "--limits.device", "256MiB", "--eval.sequences", "1")
                losses.append([step["loss"] for step in steps])
            differences = [abs(a - b) / abs(b) for a, b in zip(*losses, strict=True)]
            if len(differences) != 50 or not all(map(math.isfinite, differences)):
                raise Miss(f"{dtype}: {len(differences)} losses of 50, or not all finite")
            figures[dtype] = at_most(max(differences), limit)
        return figures

    def shakespeare(self):
        steps, evaluations, _ = self.train("configs/shakespeare.toml", "shakespeare",
                                        "--limits.accelerator", "cuda")
        return {"val_loss": at_most(evaluations[-1]["val_loss"], 1.92),
                "step_ms": 1e3 * statistics.median(step["step_seconds"] for step in steps[2:])}

    def G1(self):  # pylint: disable=invalid-name  # the name that the result file has for it
        """GPT-2 124M, 16 x 1,024 tokens a step, bf16, everything resident."""
        home = [word for role in ("weights", "gradients", "optimizer", "activations")
                for word in (f"--place.{role}", "device")]
        steps, _, events = self.train("configs/shapes/gpt2-124m.toml", "gpt2", "--limits.accelerator",
                              "cuda", "--data.train",
                              json.dumps([str(ROOT / "tests/data/tinyshakespeare.txt")]),
                              "--data.tokens", "bytes", "--train.global_batch", "16",
                              "--train.dtype", "bf16", "--train.steps", "40",
                              "--eval.sequences", "1", *home)
        seconds = statistics.median(step["step_seconds"] for step in steps[10:])
        per_second = 16 * 1024 / seconds
        # 6 FLOP for each parameter of a product, and causal attention, of 12 layers.
        flops = 6 * (12 * 12 * 768**2 + 768 * 50257) + 6 * 12 * 768 * 1024
        memory = next((event for event in events if event["event"] == "memory"), None)
        if memory is None:
            raise Miss("the run wrote no event `memory` into metrics.jsonl")
        figures = {"tokens_per_second": per_second, "step_ms": 1e3 * seconds,
                   # The arena's peak is what the plan said.
                   "device_bytes": exactly(memory["device_bytes"],
                                           memory["device_planned_bytes"])}
        peak = next((peak for name, peak in PEAKS.items() if name in self.device), None)
        if peak:
            figures["mfu"] = at_least(per_second * flops / peak, 0.25)
        return figures

    def probe(self):
        """The rates that plans rest on; a machine file beside the result."""
        self.sluice("probe", "--quick", "--limits.storage_path", self.folder, "--out",
                    self.folder / "machine.toml")
        keys = ("host_to_device", "device_to_host", "duplex_factor", "elementwise",
                "launch_seconds", "attention_bf16_flops_per_second", "beside_copies")
        lines = (self.folder / "machine.toml").read_text().splitlines()
        values = {}
        for line in lines:
            key, _, value = line.partition(" = ")
            if key in keys:
                values.setdefault(key, float(value))  # before the lists by size and shape
        missing = [key for key in keys if key not in values]
        if missing:
            raise Miss("the machine file lacks " + ", ".join(missing))
        return values


CHECKS = ("libraries", "parity", "sanitizer", "verify", "host", "shakespeare", "G1", "probe")


def gpu_of(build):
    """The GPU that a run would use, or the reason why there is none (exit 2)."""
    found = json.loads(run(build / "sluice", "doctor", "--json"))
    device = next(f["value"] for f in found if f["what"] == "computes on")
    if device == "the host device":
        why = "; ".join(f["value"] for f in found if f["what"] == "GPU")
        print(f"gpu_check: no GPU to check: {why}", file=sys.stderr)
        sys.exit(2)
    return device


def provenance(device):
    def first_line(*command):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return (done.stdout.strip().splitlines() or ["unknown"])[0]

    version = pathlib.Path("/proc/driver/nvidia/version")
    driver = re.search(r"\d+\.\d+(\.\d+)?", version.read_text()) if version.exists() else None
    return {"device": device, "driver": driver.group() if driver else "unknown",
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "commit": first_line("git", "describe", "--always", "--dirty", "--exclude", "*")}


def found(pattern, said):
    match = re.search(pattern, said)
    if match is None:
        raise Miss(f"no `{pattern}` in what it said: {said.strip().splitlines()[-1:]}")
    return match.group(1)


def text(value):
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return f"{value['value']:.4g} (limit {value['limit']:g})"
    return f"{value:.4g}"


def main(build, names, results):
    device = gpu_of(build)
    print(f"gpu_check: {device}", flush=True)
    result, table, misses = provenance(device), [], 0
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=build) as folder:
        checks = Checks(build, folder, device)
        for name in CHECKS:
            if names and not any(name.startswith(n) for n in names):
                continue
            began = time.monotonic()
            try:
                figures = getattr(checks, name)()
            except Miss as miss:
                figures = {"miss": str(miss)}
            except Exception as unforeseen:  # pylint: disable=broad-except  # the others shall run
                figures = {"miss": f"{type(unforeseen).__name__}: {unforeseen}"}
            holds = "miss" not in figures and all(
                figure["holds"] for figure in figures.values() if isinstance(figure, dict))
            misses += not holds
            shown = figures.get("miss") or ", ".join(f"{k} {text(v)}" for k, v in figures.items())
            table.append(f"{'pass' if holds else 'MISS'}\t{name}\t"
                         f"{time.monotonic() - began:.0f} s\t{shown}")
            print(table[-1], flush=True)
            result[name] = {k: v["value"] if isinstance(v, dict) else v for k, v in figures.items()}
            result[name]["holds"] = holds
    seconds = time.monotonic() - start
    if not names and seconds > LONGEST_SECONDS:
        misses += 1
        table.append(f"MISS\ttime\t{seconds:.0f} s\tlimit {LONGEST_SECONDS} s")
    result["seconds"] = round(seconds)
    model = re.sub(r"[^a-z0-9]+", "-", device.split(",")[0].lower()).strip("-")
    part = "".join(f"-{name}" for name in names)  # is no result of all
    file = results / f"{result['date'][:10]}-{model}{part}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n")
    print("\n" + "\n".join(table))
    print(f"gpu_check: {len(table)} checks, {misses} missed, {seconds:.0f} s, {file}")
    return 1 if misses else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "tests/bench/results")
    arguments = parser.parse_args()
    sys.exit(main(arguments.build.resolve(), arguments.names, arguments.results))
