#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
#
# tools/fuzz.sh [SECONDS [TARGET...]]
# Builds the fuzzers of tests/fuzz with Clang and runs each for SECONDS (30), from the
# committed corpus and from what earlier runs found (build/fuzz/corpus). What makes a
# reader crash, leak, take a second or 512 MiB is kept in build/fuzz/findings, and the exit
# code is 1. `SLUICE_FUZZ_TARGET=NAME build/fuzz/sluice_fuzz FILE` runs one again.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-30}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "usage: tools/fuzz.sh [SECONDS [TARGET...]]" >&2; exit 2; }
shift || true
tools/build.sh fuzz --target sluice_fuzz
targets=("$@")
if [ $# -eq 0 ]; then
  for file in tests/fuzz/*_target.cpp; do
    name=${file##*/}
    targets+=("${name%_target.cpp}")
  done
fi

findings=build/fuzz/findings failed=0
mkdir -p "$findings"
for target in "${targets[@]}"; do
  grown=build/fuzz/corpus/$target
  mkdir -p "$grown"
  log=$findings/$target.log
  if SLUICE_FUZZ_TARGET=$target build/fuzz/sluice_fuzz -max_total_time="$seconds" -timeout=1 \
    -rss_limit_mb=512 -max_len=8192 -print_final_stats=1 -artifact_prefix="$findings/$target-" \
    "$grown" "tests/fuzz/corpus/$target" >"$log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf 'fuzz: %-14s %9s runs, no finding\n' "$target" "$runs"
  else
    printf 'fuzz: %-14s FAILED: %s\n' "$target" "$log"
    tail -n 40 "$log"
    failed=1
  fi
done
exit $failed
