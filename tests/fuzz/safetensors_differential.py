# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""safetensors_differential.py READER [FILES [SEED]]

Holds our reader of safetensors files (READER: build/release/sluice_safetensors_reader) against
the reference, the Python package `safetensors`, on FILES (1,000,000) mutated ones: both refuse, or
both read the same tensors to the last byte, or ours is stricter in one of the ways listed in
STRICTER. Exit 1 otherwise, with the file's bytes; 77 where the package is missing.
"""

import json
import math
import random
import re
import struct
import subprocess
import sys

try:
    from safetensors import deserialize
except ImportError:
    print("needs the Python package safetensors: pip install safetensors")
    sys.exit(77)

# What only we refuse: why it must be, by our message.
STRICTER = {
    "a name that stands twice could be either": "stands twice in one object",
    "the format wants a { as the header's first byte": "the header is no JSON object",
}

WIDTHS = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8, "U8": 1, "BOOL": 1}
BATCH = 2000


def whole_file(rng):
    """A good file of a few small tensors."""
    header, data = {}, b""
    for index in range(rng.randint(0, 4)):
        dtype = rng.choice(list(WIDTHS))
        shape = [rng.randint(0, 4) for _ in range(rng.randint(0, 3))]
        begin = len(data)
        data += rng.randbytes(WIDTHS[dtype] * math.prod(shape))
        name = rng.choice(["w", "model.layers.0.mlp.weight", "\u00e9", ""]) + str(index)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, len(data)]}
    if rng.random() < 0.3:
        header["__metadata__"] = {"format": "pt"}
    text = json.dumps(header, ensure_ascii=rng.random() < 0.5).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def replaced(data, start, end, by):
    return data[:start] + by + data[end:]


def in_header(rng, data):
    """Another number, word or sign in the header, its length set right again or not."""
    length, = struct.unpack("<Q", data[:8])
    header = data[8:8 + length]
    found = list(re.finditer(rb'[0-9]+|"[^"]*"|[\[\]{},:]', header))
    if not found:
        return data
    at = rng.choice(found)
    by = rng.choice([b"0", b"1", b"4", b"-1", b"1e2", b"2.0", b"18446744073709551616", b'"F32"',
                     b'"BF16"', b'"I64"', b'"shape"', b'"__metadata__"', b"null", b"[]", b"{}", b"",
                     at.group(), at.group() + b" ", str(rng.randrange(64)).encode()])
    header = replaced(header, at.start(), at.end(), by)
    if rng.random() < 0.9:
        length = len(header)
    return struct.pack("<Q", length) + header + data[8 + struct.unpack("<Q", data[:8])[0]:]


def in_bytes(rng, data):
    at = rng.randrange(len(data))
    kind = rng.randrange(4)
    if kind == 0:
        return replaced(data, at, at + 1, bytes([data[at] ^ (1 << rng.randrange(8))]))
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data + rng.randbytes(rng.randint(1, 8))
    return replaced(data, at, min(len(data), at + rng.randint(1, 8)), b"")


def mutated(rng):
    data = whole_file(rng)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        if len(data) > 8 and rng.random() < 0.7:
            data = in_header(rng, data) if len(data) >= 8 else data
        elif data:
            data = in_bytes(rng, data)
    return data


def reference(data):
    """The tensors by name as our reader prints them; nothing where they are refused."""
    try:
        return {name: [tensor["dtype"], list(tensor["shape"]), bytes(tensor["data"]).hex()]
                for name, tensor in deserialize(data)}
    except Exception:  # its own exceptions, and those of Unicode and of sizes
        return None


def main():
    reader = sys.argv[1]
    files = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    rng = random.Random(seed)
    both, neither, stricter = 0, 0, {}
    for start in range(0, files, BATCH):
        batch = [mutated(rng) for _ in range(min(BATCH, files - start))]
        framed = b"".join(struct.pack("<Q", len(data)) + data for data in batch)
        lines = subprocess.run([reader], input=framed, stdout=subprocess.PIPE,
                               check=True).stdout.decode(errors="replace").splitlines()
        assert len(lines) == len(batch), f"{len(lines)} answers to {len(batch)} files, seed {seed}"
        for data, line in zip(batch, lines):
            theirs = reference(data)
            ours = json.loads(line[1:]) if line[0] == "+" else None
            if ours == theirs:
                both, neither = both + (ours is not None), neither + (ours is None)
                continue
            why = next((why for why, said in STRICTER.items() if re.search(said, line)), None)
            if ours is not None or why is None:
                sys.exit(f"seed {seed}: {data!r}\nours: {line}\nreference: {theirs}")
            stricter[why] = stricter.get(why, 0) + 1
    print(f"{files} files, seed {seed}: {both} read alike, {neither} refused by both, stricter: "
          f"{json.dumps(stricter)}")


if __name__ == "__main__":
    main()
