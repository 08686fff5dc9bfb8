# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""Milliseconds per iteration of configs/shakespeare.toml in PyTorch, in fp32 on the CPU.

    python3 tests/bench/torch_shakespeare.py [ITERATIONS]

Needs torch; nothing else here does. The model is the one of the config: 4 layers, 4 heads,
width 128, 64 tokens, batch 12, tied, without biases, clip 1, AdamW.
"""

import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional

LAYERS, HEADS, WIDTH, LENGTH, BATCH, VOCABULARY = 4, 4, 128, 64, 12, 256


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH, bias=False)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.norm2 = nn.LayerNorm(WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v = (part.view(batch, length, HEADS, -1).transpose(1, 2)
                   for part in self.qkv(self.norm1(x)).split(WIDTH, dim=2))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, WIDTH)
        self.position = nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH, bias=False)

    def forward(self, ids, targets):
        x = self.token(ids) + self.position(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = functional.linear(self.norm(x), self.token.weight)
        return functional.cross_entropy(logits.view(-1, VOCABULARY), targets.view(-1))


def main():
    iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    torch.manual_seed(1)
    model = Gpt()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    data = torch.randint(VOCABULARY, (100_000,))
    times = []
    for _ in range(iterations):
        start = time.perf_counter()
        at = torch.randint(len(data) - LENGTH - 1, (BATCH,))
        ids = torch.stack([data[i:i + LENGTH] for i in at])
        targets = torch.stack([data[i + 1:i + LENGTH + 1] for i in at])
        optimizer.zero_grad(set_to_none=True)
        model(ids, targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(1e3 * (time.perf_counter() - start))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads: "
          f"median {statistics.median(times):.1f} ms, "
          f"{min(times):.1f} to {max(times):.1f} ms an iteration")


if __name__ == "__main__":
    main()
