# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""power_cut.py [--cuts N] [--fs ext4] [--seed S]

Imitates power cuts: trains on a file system of its own (a loop device), shuts that down at a
random moment without writing its journal, mounts it again, and resumes. Every checkpoint that
was announced, but for those that newer ones replaced, must be there and whole to its last byte;
and the run that goes on must end with the digests of one that was never cut.

Needs root, losetup and the mkfs of the file system; says so, with exit 77, where it lacks one.
"""

import argparse
import fcntl
import json
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SLUICE = ROOT / "build" / "release" / "sluice"
SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), the same number for ext4 and XFS
NO_LOG_FLUSH = 2  # what is in the journal's buffer is lost, as in a power cut

EVERY = 5
CONFIG = f"""
model = {{ family = "gpt2", layers = 2, width = 64, heads = 4, context = 32 }}
data = {{ train = ["text.txt"], seq_len = 32 }}
train = {{ steps = 60, global_batch = 4, dtype = "fp32" }}
limits = {{ device = "64MiB", host = "64MiB", threads = 1 }}
eval = {{ sequences = 1 }}
log = {{ digest = true, trace = "none" }}
checkpoint = {{ every = {EVERY} }}
"""


class Disk:
    """A file system in a file, mounted while the object is open."""

    def __init__(self, folder, kind):
        self.image, self.mount_point = folder / "image", folder / "mnt"
        self.mount_point.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(512 << 20)
        run(f"mkfs.{kind}", "-q", self.image)

    def mount(self):
        run("mount", "-o", "loop", self.image, self.mount_point)

    def unmount(self):
        run("umount", self.mount_point)

    def cut(self):
        folder = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(folder)


def run(*words):
    subprocess.run([str(w) for w in words], check=True, capture_output=True)


def train(work, run_dir, *flags):
    return subprocess.Popen([SLUICE, "train", work / "run.toml", "--run-dir", run_dir, *flags],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def announced(talk):
    return [int(step) for step in re.findall(r"^checkpoint of step (\d+):", talk, re.M)]


def digests(run_dir):
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [(line["step"], line["digest"]) for line in map(json.loads, lines) if "digest" in line]


def check_checkpoint(work, run_dir, step):
    """That of `step` is there, and a run goes on from it where it is the only one."""
    alone = work / "alone"
    shutil.copytree(run_dir, alone, ignore=lambda folder, names: [
        name for name in names if name.startswith("step-") and name != f"step-{step}"])
    try:
        dry = train(work, alone, "--resume", "--dry-run")
        _, talk = dry.communicate()
        assert dry.returncode == 0 and f"resumed at step {step}" in talk, talk
    finally:
        shutil.rmtree(alone)


def check_those_there(run_dir, told):
    """Where a checkpoint is, the one before it is too, and so is each that was announced, unless
    two newer ones replaced it, announced or not. Returns the steps."""
    there = sorted(int(path.name[5:]) for path in run_dir.glob("checkpoints/step-*")
                   if path.name[5:].isdigit())
    if there:
        assert there == list(range(there[0], there[-1] + 1, EVERY)), there
    for step in told:
        newer = sum(other > step for other in there)
        assert step in there or newer >= 2, f"announced {told}, there are {there}"
    return there


def one_cut(disk, work, length, chance, expected):
    """Cuts once, mostly behind the first checkpoint; returns how many had been announced."""
    run_dir = disk.mount_point / "run"
    disk.mount()
    process = train(work, run_dir)
    talk = ""
    waits = chance.random() < 0.9
    while waits and process.poll() is None and "\ncheckpoint of step" not in talk:
        talk += process.stderr.readline()
    time.sleep(chance.uniform(0, 1) * length)
    disk.cut()
    talk += process.communicate()[1]
    disk.unmount()
    disk.mount()
    try:
        there = check_those_there(run_dir, announced(talk))
        for step in there:
            check_checkpoint(work, run_dir, step)
        resumed = train(work, run_dir, "--resume")
        _, again = resumed.communicate()
        assert resumed.returncode == 0, again
        match = re.search(r"^resumed at step (\d+)", again, re.M)
        step = int(match[1]) if match else 0
        assert step == max(there, default=0), f"there are {there}, resumed at {step}: {again}"
        assert digests(run_dir) == expected, "other digests"
        return len(announced(talk))
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)
        disk.unmount()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[2])
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--fs", default="ext4")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    missing = [tool for tool in ("losetup", f"mkfs.{options.fs}") if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        print(f"power_cut: needs root and {missing or 'a loop device'}", file=sys.stderr)
        return 77
    print(f"seed {options.seed}")
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        work = pathlib.Path(folder)
        (work / "run.toml").write_text(CONFIG)
        (work / "text.txt").write_text("Now is the winter of our discontent. " * 200)
        start = time.monotonic()
        whole = train(work, work / "whole")
        whole.communicate()
        assert whole.returncode == 0
        length = time.monotonic() - start
        expected = digests(work / "whole")
        disk = Disk(work, options.fs)
        told = [one_cut(disk, work, length, chance, expected) for _ in range(options.cuts)]
    print(f"{options.fs}: {options.cuts} cuts, {sum(n > 0 for n in told)} after a checkpoint was "
          f"announced, {sum(told)} announced in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
