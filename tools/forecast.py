# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""Prints what a run's plan promised beside what was measured, from its metrics.jsonl.

    python3 tools/forecast.py RUN_DIRECTORY
"""

import json
import math
import pathlib
import statistics
import sys


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: tools/forecast.py RUN_DIRECTORY")
    path = pathlib.Path(sys.argv[1], "metrics.jsonl")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}; give the directory of a run")
    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:  # a run that goes on, or was killed in the middle of a line
            break
    steps = [line for line in lines if "step_seconds" in line]
    if not steps:
        sys.exit(f"{path} has no steps")
    # The first step fills the lanes; the rest are what the forecast is about.
    steady = steps[1:] or steps
    forecast = statistics.median(line["forecast_seconds"] for line in steady)
    measured = statistics.median(line["step_seconds"] for line in steady)
    print(f"{'':24}{'forecast':>12}{'measured':>12}")
    print(f"{'seconds per step':24}{forecast:12.4f}{measured:12.4f}   "
          f"measured / forecast {measured / forecast:.2f}")
    tokens = statistics.median(line["tokens_per_second"] for line in steady)
    print(f"{'tokens per second':24}{tokens * measured / forecast:12.0f}{tokens:12.0f}")
    losses = [line for line in lines if "val_loss" in line]
    if losses:
        loss = losses[-1]["val_loss"]
        print(f"held-out loss after step {losses[-1]['step']}: {loss:.4f} nats per token, "
              f"{loss / math.log(2):.3f} bits per byte")


if __name__ == "__main__":
    main()
