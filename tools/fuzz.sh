#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
#
# tools/fuzz.sh [SECONDS|RUNSx [TARGET...]]
# Builds the fuzzers of tests/fuzz (preset dev) and runs each for SECONDS (30), or RUNS times
# ("2000000x"), as many at a time as there are cores, from the committed corpus and from what
# earlier runs found (build/fuzz/corpus). What makes a reader crash, leak, take a second or
# 512 MiB is kept in build/fuzz/findings, and the exit code is 1. What took a second must take
# it again by itself, since the machine may stand still for one; else the target starts anew.
# `SLUICE_FUZZ_TARGET=NAME build/dev/sluice_fuzz FILE` runs one again.
set -euo pipefail
cd "$(dirname "$0")/.."

length=${1:-30}
case $length in
  *[!0-9x]* | 0* | x* | *x?*)
    echo "usage: tools/fuzz.sh [SECONDS|RUNSx [TARGET...]]" >&2
    exit 2
    ;;
  *x) limit=-runs=${length%x} ;;
  *) limit=-max_total_time=$length ;;
esac
shift || true
tools/build.sh dev --target sluice_fuzz
targets=("$@")
if [ $# -eq 0 ]; then
  for file in tests/fuzz/*_target.cpp; do
    name=${file##*/}
    targets+=("${name%_target.cpp}")
  done
fi

findings=$PWD/build/fuzz/findings
mkdir -p "$findings"
export findings limit

# one TARGET
one() {
  local target=$1 grown=build/fuzz/corpus/$1 log=$findings/$1.log
  mkdir -p "$grown"
  local slow longest # what is longer than -max_len is cut: no file of the corpus is
  longest=$(find "tests/fuzz/corpus/$target" -type f -printf '%s\n' | sort -n | tail -n 1)
  if SLUICE_FUZZ_TARGET=$target build/dev/sluice_fuzz "$limit" -timeout=1 -rss_limit_mb=512 \
    -max_len=$((longest + 8192)) -print_final_stats=1 -artifact_prefix="$findings/$target-" \
    "$grown" "tests/fuzz/corpus/$target" >"$log" 2>&1; then
    printf 'fuzz: %-14s %9s runs, no finding\n' "$target" \
      "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
  elif slow=$(sed -n "s|^artifact_prefix=.*Test unit written to \(.*-timeout-.*\)|\1|p" "$log") &&
    [ -n "$slow" ] && SLUICE_FUZZ_TARGET=$target build/dev/sluice_fuzz -timeout=1 "$slow" \
    >>"$log" 2>&1; then
    rm "$slow"
    printf 'fuzz: %-14s once more: %s took a second, and then did not\n' "$target" "${slow##*/}"
    one "$target"
  else
    printf 'fuzz: %-14s FAILED: %s\n%s\n' "$target" "$log" "$(tail -n 40 "$log")"
    return 1
  fi
}
export -f one

printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I '{}' bash -c 'one {}' || exit 1
