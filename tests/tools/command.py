# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""The `sluice` command in a folder of its own, with a small model to train."""

import json
import math
import os
import pathlib
import struct
import subprocess
import tempfile
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


def sanitized():
    """Then a process starts ten times as slowly, and reserves terabytes of address space."""
    cache = BINARY.parent / "CMakeCache.txt"
    return "SLUICE_SANITIZE:STRING=\n" not in cache.read_text()


class Folder(unittest.TestCase):
    program = BINARY

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
        return subprocess.run([self.program, *map(str, words)], cwd=self.path,
                              env=self.environment(),
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
