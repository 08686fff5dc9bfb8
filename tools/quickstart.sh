#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
#
# tools/quickstart.sh
# From a bare Debian 12 machine to a trained model: install, build, probe, plan, train
# configs/quickstart.toml, on a GPU if there is one, then the forecast beside what was
# measured, a sample of what the model writes, and where the trace is. Under 8 minutes on
# 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."
start=$SECONDS
run=runs/quickstart

step() { printf '\n== %s (%d s so far) ==\n' "$1" $((SECONDS - start)); }

step "install and build"
tools/build.sh release --target sluice
sluice=build/release/sluice

# On a GPU the same config, and 32 MiB more of its memory: the scratch of its libraries.
limits=()
device=$($sluice doctor | sed -n 's/^computes on  *//p')
printf 'Computing on %s.\n' "$device"
if [ "$device" != "the host device" ]; then limits=(--limits.device 52MiB); fi

step "probe: how fast is this machine?"
$sluice probe --quick

step "plan: where every byte will live, and how long a step will take"
$sluice plan configs/quickstart.toml "${limits[@]}"

step "train"
$sluice train configs/quickstart.toml --run-dir $run --overwrite "${limits[@]}"

step "forecast beside measured"
python3 -B tools/forecast.py $run

step "what the model writes"
$sluice generate $run --prompt '#include "' --tokens 200 --seed 1

printf '\nTimeline, forecast and measured: %s (open it in a trace viewer)\n' "$run/trace.json"
printf 'Model, as a Hugging Face folder: %s\n' "$run/model"
printf 'All in %d s.\n' $((SECONDS - start))
