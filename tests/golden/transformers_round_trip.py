#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""Models made by transformers, through `sluice` and back to transformers.

    python transformers_round_trip.py [--sluice build/release/sluice] [--only WORD]
    python transformers_round_trip.py --fixtures tests/data/hf

Needs torch, transformers and safetensors. For each family, tied and untied, in one file
and in shards, in fp32, bf16 and fp16, and GPT-2 also with the hub's names, a small model with
random weights (biases and norms too) is saved by transformers, and then

    eval      its loss and logits are those of transformers
    copy      `sluice export` gives back every tensor, bit for bit (not of hub names)
    train     ten steps from its weights (fp16: in bf16); run/model loads in transformers without a
              missing or an unexpected tensor, with sluice's loss and logits
    export    the same of `sluice export RUN`

in fp32 within 1e-5 relative (loss) and of the largest (logits). Prints a line for each and
exits 1 where one fails. --fixtures writes the smallest models with the loss that
transformers computes in float64, which model_folder_golden_test.cpp holds sluice to.
"""

import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
except ImportError as missing:
    print(f"not here: {missing}; pip install torch==2.13.0 transformers safetensors numpy")
    sys.exit(77)

TOLERANCE = 1e-5
LENGTH = 24
DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
SCALING = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 128}


def config_of(family, tied, small):
    width, heads, ffn, vocab = (8, 2, 16, 32) if small else (32, 4, 72, 301)
    if family == "gpt2":
        return transformers.GPT2Config(
            n_layer=2, n_embd=width, n_head=heads, n_inner=ffn, n_positions=64, vocab_size=vocab,
            tie_word_embeddings=tied, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            bos_token_id=1, eos_token_id=2)
    common = dict(num_hidden_layers=2, hidden_size=width, num_attention_heads=heads,
                  num_key_value_heads=heads // 2, intermediate_size=ffn, vocab_size=vocab,
                  max_position_embeddings=512, tie_word_embeddings=tied, bos_token_id=1,
                  eos_token_id=2)
    if family == "llama":
        return transformers.LlamaConfig(**common, head_dim=2 * width // heads)
    if family == "llama3":
        return transformers.LlamaConfig(**common, head_dim=8,
                                        rope_parameters=dict(SCALING, rope_theta=1e4))
    if family == "qwen2":
        return transformers.Qwen2Config(**common)
    return transformers.MistralConfig(**common, sliding_window=64)


def random_model(config, dtype, seed, spread=0.15):
    """Every parameter moved: transformers begins with biases of 0 and norms of 1."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    return model.to(dtype).eval()


def tokens_of(vocab, count, seed):
    draw = np.random.default_rng(seed).integers(0, vocab, (2, count))
    return np.minimum(draw[0], draw[1]).astype(np.uint16)


def write_shard(path, tokens):
    header = struct.pack("<256i", 20240520, 1, len(tokens), *([0] * 253))
    path.write_bytes(header + tokens.tobytes())


def reference_loss(model, tokens):
    """Mean over consecutive windows of LENGTH tokens, the last one shorter."""
    total, count = 0.0, 0
    ids = torch.from_numpy(tokens.astype(np.int64))
    for begin in range(0, len(ids) - 1, LENGTH):
        window = ids[begin:begin + LENGTH + 1]
        logits = model(window[None, :-1]).logits[0]
        loss = torch.nn.functional.cross_entropy(logits.double(), window[1:], reduction="sum")
        total, count = total + loss.item(), count + len(window) - 1
    return total / count


class Trip:
    def __init__(self, sluice, folder):
        self.binary, self.folder, self.failed = sluice, folder, 0

    def sluice(self, *words):
        done = subprocess.run([self.binary, *map(str, words)], capture_output=True, text=True,
                              cwd=self.folder, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"sluice {' '.join(map(str, words))}: {done.stderr.strip()}")
        return done.stdout

    def report(self, name, stage, loss, logits):
        good = loss <= TOLERANCE and logits <= TOLERANCE
        self.failed += not good
        print(f"{name:34} {stage:7} loss {loss:.1e} logits {logits:.1e} {'ok' if good else 'FAILED'}",
              flush=True)

    def compare(self, name, stage, path, model_path, tokens):
        """sluice on `path` against transformers on `model_path`, both in fp32."""
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            model_path, dtype=torch.float32, output_loading_info=True)
        left = {key: names for key, names in info.items()
                if any("attn.masked_bias" not in name for name in names)}  # hub_names()
        if left:
            raise RuntimeError(f"{model_path}: loaded with {left}")
        model.eval()
        with torch.no_grad():
            wanted = reference_loss(model, tokens)
            got = json.loads(self.sluice("eval", path, "--data", "eval.bin", "--data.seq_len", LENGTH,
                                         "--train.dtype", "fp32", "--json", "-"))
            assert got["tokens"] == len(tokens) - 1, got
            prompt = [int(t) for t in tokens[:5]]
            drawn = self.sluice("generate", path, "--prompt-tokens", ",".join(map(str, prompt)),
                                "--tokens", 12, "--temperature", 0, "--logits", "logits.bin")
            ids = prompt + [int(word) for word in drawn.split()]
            rows = np.fromfile(self.folder / "logits.bin", np.float32).reshape(12, -1)
            reference = model(torch.tensor([ids[:-1]])).logits[0, len(prompt) - 1:].numpy()
        self.report(name, stage, abs(got["loss"] - wanted) / wanted,
                    np.abs(rows - reference).max() / np.abs(reference).max())

    def run(self, family, tied, sharded, dtype, seed, hub_like=False):
        name = (f"{family} {'tied' if tied else 'untied'} {'shards' if sharded else 'one file'} "
                f"{DTYPES[dtype]}{' hub names' if hub_like else ''}")
        config = config_of(family, tied, small=False)
        model = random_model(config, dtype, seed)
        tokens = tokens_of(config.vocab_size, 10 * LENGTH + 7, seed)
        write_shard(self.folder / "eval.bin", tokens)
        write_shard(self.folder / "train.bin", tokens_of(config.vocab_size, 2000, seed + 1))
        for old in ("hub", "copy", "run", "out"):
            subprocess.run(["rm", "-rf", self.folder / old], check=True)
        hub = self.folder / "hub"
        model.save_pretrained(hub, max_shard_size="20KB" if sharded else "1GB")
        (hub / "tokenizer.json").write_text('{"version": "1.0"}')
        if hub_like:
            hub_names(hub / "model.safetensors")
        assert sharded == (hub / "model.safetensors.index.json").exists()

        self.compare(name, "eval", hub, hub, tokens)
        shards = ["--max-shard-size", "20kB"] if sharded else []
        self.sluice("export", hub, "--out", "copy", *shards)
        if not hub_like:
            self.same_tensors(hub, self.folder / "copy")
        self.sluice("train", "--model.path", hub, "--data.train", '["train.bin"]', "--data.seq_len",
                    LENGTH, "--train.steps", 10, "--train.global_batch", 4, "--data.val_fraction", 0,
                    "--optimizer.lr", "1e-3", "--train.dtype",
                    "fp32" if dtype == torch.float32 else "bf16", "--run-dir", "run", "--quiet")
        trained = self.folder / "run" / "model"
        self.compare(name, "train", "run", trained, tokens)
        if not hub_like and all(torch.equal(a, b) for a, b in zip(tensors_in(hub).values(),
                                                                  tensors_in(trained).values())):
            raise RuntimeError("training changed nothing")
        self.sluice("export", "run", "--out", "out", *shards)
        self.same_tensors(trained, self.folder / "out")
        self.compare(name, "export", "out", self.folder / "out", tokens)
        for folder in (trained, self.folder / "out"):
            assert (folder / "tokenizer.json").exists() and \
                json.loads((folder / "config.json").read_text())["eos_token_id"] == 2, folder

    def same_tensors(self, one, other):
        a, b = tensors_in(one), tensors_in(other)
        assert a.keys() == b.keys(), (a.keys() ^ b.keys())
        for key in a:
            assert a[key].dtype == b[key].dtype and torch.equal(a[key], b[key]), key


def tensors_in(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    return dict(sorted(tensors.items()))


def hub_names(path):
    """GPT-2 as the hub has it: no prefix, masks stored beside the weights."""
    tensors = {key.removeprefix("transformer."): value for key, value in load_file(path).items()}
    for layer in range(2):
        tensors[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 4, 4).tril().to(torch.uint8)
        tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, path, {"format": "pt"})


def write_fixtures(folder):
    tokens = tokens_of(32, 3 * LENGTH + 5, 9)
    folder.mkdir(parents=True, exist_ok=True)
    write_shard(folder / "tokens.bin", tokens)
    losses = {}
    for seed, (family, tied, sharded, dtype) in enumerate([
            ("gpt2", True, False, torch.float32), ("gpt2", False, True, torch.float16),
            ("llama", False, True, torch.float32), ("llama3", True, False, torch.float32),
            ("qwen2", True, False, torch.bfloat16), ("mistral", False, False, torch.bfloat16)]):
        name = f"{family}_{'tied' if tied else 'untied'}"
        model = random_model(config_of(family, tied, small=True), dtype, seed, spread=0.5)
        model.save_pretrained(folder / name, max_shard_size="3KB" if sharded else "1GB")
        (folder / name / "generation_config.json").unlink(missing_ok=True)
        # Loaded again: frequencies of rotation were rounded with the weights.
        model = transformers.AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float64)
        with torch.no_grad():
            losses[name] = reference_loss(model.eval(), tokens)
    hub_names(folder / "gpt2_tied" / "model.safetensors")
    (folder / "losses.json").write_text(json.dumps(losses, indent=2) + "\n")


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser()
    parser.add_argument("--sluice", type=pathlib.Path, default=root / "build/release/sluice")
    parser.add_argument("--only", default="", help="cases whose name holds this word")
    parser.add_argument("--fixtures", type=pathlib.Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if options.fixtures:
        return write_fixtures(options.fixtures)
    with tempfile.TemporaryDirectory(dir=options.sluice.resolve().parent) as folder:
        trip = Trip(options.sluice.resolve(), pathlib.Path(folder))
        seed = 0
        for family in ("gpt2", "llama", "llama3", "qwen2", "mistral"):
            for tied in (True, False):
                for sharded in (False, True):
                    for dtype in DTYPES:
                        seed += 1
                        if options.only in f"{family} {'tied' if tied else 'untied'}":
                            trip.run(family, tied, sharded, dtype, seed)
        if options.only in "gpt2 tied hub names":
            trip.run("gpt2", True, False, torch.float32, seed + 1, hub_like=True)
    print("all equal" if trip.failed == 0 else f"{trip.failed} FAILED")
    return trip.failed > 0


if __name__ == "__main__":
    sys.exit(main())
