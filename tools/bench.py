# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""Measures and prints one tab-separated line per figure:

    name  value  unit  ratio  reference  target

`ratio` is value / reference, the reference a figure of the same run (or a quoted one); "-"
stands where there is none. The same goes as one JSON object per line into
tests/bench/results/<date>.jsonl, with commit and processor.

Rows come from two sources: every benchmark of build/release/sluice_bench (tests/bench/README.md
says how one names its unit, reference and target), and the functions in TRAINING below, which
run `sluice train` and read its metrics.
"""

import datetime
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "release"
# Where checkpoints and swap files are put; a tmpfs is refused.
DISK = pathlib.Path(os.environ.get("SLUICE_BENCH_DISK", BUILD))
HOST = ("--limits.accelerator", "host")  # figures of GPUs: tools/gpu_check.sh


def row(name, value, unit, reference=None, target=None):
    ratio = value / reference if reference else None
    return {"name": name, "value": value, "unit": unit, "ratio": ratio,
            "reference": reference, "target": target}


# --- Rows of sluice_bench. ---

RATES = {"items_per_second": (1e-9, "Gitems/s"), "bytes_per_second": (1e-9, "GB/s"),
         "flops_per_second": (1e-9, "GFLOP/s")}


def row_of_benchmark(entry):
    """The row of one benchmark's median: its rate, else its time."""
    counter = next((c for c in RATES if c in entry), None)
    scale, unit = RATES.get(counter, (1, "s"))
    seconds = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}[entry["time_unit"]]
    value = entry[counter] if counter else seconds * entry["real_time"]
    reference = entry.get("reference")
    return row(entry["run_name"].removesuffix("/real_time"), value * scale,
               entry.get("label") or unit, reference and reference * scale, entry.get("target"))


def kernel_rows(names):
    pattern = "^(" + "|".join(map(re.escape, names)) + ")" if names else "."
    command = [BUILD / "sluice_bench", f"--benchmark_filter={pattern}", "--benchmark_format=json",
               "--benchmark_repetitions=5", "--benchmark_report_aggregates_only=true",
               "--benchmark_enable_random_interleaving=true"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # With no match, Google Benchmark prints no JSON at all.
    entries = json.loads(output)["benchmarks"] if output.lstrip().startswith("{") else []
    for entry in entries:
        if entry.get("aggregate_name") == "median":
            yield row_of_benchmark(entry)


# --- Rows of real training runs. ---

def train(folder, name, *flags, config="tests/bench/overlap.toml"):
    """The step lines of metrics.jsonl of one run."""
    run = pathlib.Path(folder, name)
    command = [BUILD / "sluice", "train", ROOT / config, "--quiet",
               "--run-dir", run, "--overwrite", *HOST, *flags]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "step_seconds" in line][2:]  # the first two warm up


def median_step(steps):
    return statistics.median(step["step_seconds"] for step in steps)


def paced_machine(source, target, rate):
    """The machine file `source` with both links paced to `rate` bytes per second."""
    out, section = [], ""
    for line in source.read_text().splitlines():
        key = line.split("=")[0].strip()
        section = key if key.startswith("[") else section
        if section == "[links]" and key in ("host_to_device", "device_to_host"):
            line = f"{key} = {rate:.0f}"
        if section == "[links]" and key == "paced":
            line = "paced = true"
        if section == "[links]" and key == "duplex_factor":
            line = "duplex_factor = 1.0"  # each direction has its own pace
        out.append(line)
    target.write_text("\n".join(out) + "\n")


def overlap_rows():
    """Real training whose transfers take 0.8 of its compute time: overlapped and serial.

    The links' pace follows from a resident run of the same round (its step is the compute time:
    shared machines change theirs from minute to minute) and from the bytes that the streamed run
    moves. Rounds are interleaved, medians taken."""
    resident = ["--place.weights", "device", "--place.gradients", "device"]
    with tempfile.TemporaryDirectory() as folder:
        machine = pathlib.Path(folder, "machine.toml")
        paced = pathlib.Path(folder, "paced.toml")
        subprocess.run([BUILD / "sluice", "probe", "--quick", "--quiet", "--out", machine, *HOST],
                       check=True, stdout=subprocess.DEVNULL)
        # Not of the last step, which saves a checkpoint.
        lanes = train(folder, "streamed", "--machine", machine, "--train.steps", "4")[0]["lanes"]
        moved = sum(lanes[lane]["bytes"] for lane in ("host_to_device", "device_to_host"))
        links = tomllib.loads(machine.read_text())["links"]
        copy = min(links["host_to_device"], links["device_to_host"])
        ratios, paces = {"overlap": [], "overlap_serial": []}, []
        for _ in range(5):
            compute = median_step(train(folder, "resident", "--machine", machine, *resident))
            paces.append(moved / (0.8 * compute))
            paced_machine(machine, paced, paces[-1])
            for name, flags in (("overlap", []), ("overlap_serial", ["--serial"])):
                steps = train(folder, name, "--machine", paced, *flags)
                ratios[name].append(median_step(steps) / compute)
    yield row("overlap", statistics.median(ratios["overlap"]), "step/compute", 1.0, 1.15)
    yield row("overlap_serial", statistics.median(ratios["overlap_serial"]), "step/compute", 1.0, 1.6)
    yield row("overlap_pace", statistics.median(paces) / 1e9, "GB/s", copy / 1e9, 0.1)


def planning_rows():
    """Seconds and peak memory of planning the largest shapes, process start included."""
    for shape, target in (("175b", 2.0), ("1t", 5.0)):
        seconds, peak = [], 0
        for _ in range(3):
            command = [BUILD / "sluice", "plan", ROOT / f"configs/shapes/{shape}.toml",
                       "--machine", ROOT / "configs/machines/h200.toml", "--quiet"]
            start = time.perf_counter()
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                raise subprocess.CalledProcessError(process.returncode, command)
            seconds.append(time.perf_counter() - start)
            peak = max(peak, usage.ru_maxrss / 1024)
        yield row(f"plan_{shape}", statistics.median(seconds), "s", 1.0, target)
        yield row(f"plan_{shape}_memory", peak, "MiB", 1024.0, 1.0)


def shakespeare_rows():
    """Milliseconds per iteration of configs/shakespeare.toml, where the planner puts it. The
    target is what PyTorch needs on 2 cores with AVX-512; its time on the same machine:
    tests/bench/torch_shakespeare.py."""
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("fp32", "bf16"):
            steps = train(folder, dtype, "--train.steps", "150", "--train.dtype", dtype,
                          "--eval.every", "0", "--eval.sequences", "1",
                          config="configs/shakespeare.toml")
            yield row(f"shakespeare_{dtype}", 1e3 * median_step(steps), "ms", 31.0, 1.0)


def checksum_rows():
    """What checksums of the swap file cost: a step of the quick start with and without them."""
    ratios, seconds = [], []
    with tempfile.TemporaryDirectory(dir=DISK) as folder:
        for _ in range(7):
            step = {}
            for checked in ("true", "false"):
                steps = train(folder, checked, "--train.steps", "30", "--eval.sequences", "1",
                              "--limits.storage_checksum", checked,
                              config="configs/quickstart.toml")
                step[checked] = median_step(steps)
            ratios.append(step["true"] / step["false"])
            seconds.append(step["true"])
    yield row("swap_checksum", statistics.median(ratios), "step/unchecked", 1.0, 1.03)
    yield row("swap_checksum_step", 1e3 * statistics.median(seconds), "ms")


def write_rate(folder, mebibytes=256):
    """Bytes per second of one file, written and synced."""
    block = os.urandom(1 << 20)
    path = pathlib.Path(folder, "written")
    start = time.monotonic()
    with open(path, "wb", buffering=0) as file:
        for _ in range(mebibytes):
            file.write(block)
        os.fsync(file.fileno())
    seconds = time.monotonic() - start
    path.unlink()
    return (mebibytes << 20) / seconds


def checkpoint_rows():
    """Tokens per second of the quick start with a checkpoint every 10 steps, over those of the
    same run without; what the disk writes, of which the target asks 1 GB/s; and from when to
    when a checkpoint is written."""
    with tempfile.TemporaryDirectory(dir=DISK) as folder:
        flags = ["--train.steps", "120", "--eval.sequences", "1"]
        if DISK != BUILD:
            flags += ["--limits.storage_path", folder]
        rates, written, disk = {"with": [], "without": []}, [], []
        for turn in range(3):
            disk.append(write_rate(folder))
            for name, every in (("without", "1000000"), ("with", "10")):
                run = f"{name}{turn}"
                steps = train(folder, run, *flags, "--checkpoint.every", every,
                              config="configs/quickstart.toml")
                # Neither the first steps nor the last, beside which only one of the two saves.
                steps = [s for s in steps if 10 < s["step"] <= 110]
                rates[name].append(len(steps) / sum(s["step_seconds"] for s in steps))
                for line in (pathlib.Path(folder) / run / "metrics.jsonl").read_text().splitlines():
                    event = json.loads(line)
                    if event.get("event") == "checkpoint":
                        written.append(event["bytes"] / event["write_seconds"])
        yield row("checkpoint", statistics.median(rates["with"]), "steps/s",
                  statistics.median(rates["without"]), 0.97)
        yield row("checkpoint_disk", statistics.median(disk) / 1e9, "GB/s")
        yield row("checkpoint_write", statistics.median(written) / 1e9, "GB/s")


TRAINING = {"overlap": overlap_rows, "plan": planning_rows, "shakespeare": shakespeare_rows,
            "swap_checksum": checksum_rows, "checkpoint": checkpoint_rows}


# --- Output. ---

def text(value):
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.4g}"


def provenance():
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=False,
                            capture_output=True, text=True).stdout.strip()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = next((l.split(":")[1].strip() for l in file if l.startswith("model name")), "")
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "commit": commit, "cpu": cpu, "threads": len(os.sched_getaffinity(0))}


def rows(names):
    yield from kernel_rows(names)
    for name, measure in TRAINING.items():
        if not names or any(name.startswith(n) or n.startswith(name) for n in names):
            yield from measure()


def main():
    about = provenance()
    results = ROOT / "tests/bench/results" / f"{about['date'][:10]}.jsonl"
    results.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with results.open("a", encoding="utf-8") as file:
        for figure in rows(sys.argv[1:]):
            columns = ("name", "value", "unit", "ratio", "reference", "target")
            print("\t".join(text(figure[column]) for column in columns), flush=True)
            file.write(json.dumps({**figure, **about}) + "\n")
            count += 1
    if count == 0:
        sys.exit(f"bench: no row begins with {' or '.join(sys.argv[1:])}: "
                 "build/release/sluice_bench --benchmark_list_tests")


if __name__ == "__main__":
    main()
