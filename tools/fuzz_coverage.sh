#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
#
# tools/fuzz_coverage.sh [RUNS]
# What of each reader of strangers' files the fuzzers reach: the regions of its source that ran
# in RUNS (20,000) executions with a fixed seed, from the committed corpus. Builds with Clang
# in build/coverage, without sanitizers. Exit 1 where less than 90 % of one of the sources that
# read safetensors was reached, or where there was a finding; 77 without Clang and llvm-cov.
# `llvm-cov show build/coverage/sluice_fuzz -instr-profile=build/coverage/all.profdata
# -show-regions FILE` shows which did not.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${1:-20000} least=90 out=$PWD/build/coverage
case $runs in
  *[!0-9]*)
    echo "usage: tools/fuzz_coverage.sh [RUNS]" >&2
    exit 2
    ;;
esac
safetensors=(engine/files/safetensors_{header,reader}.cpp devices/base/strict_json.cpp)
readers=("${safetensors[@]}" engine/files/{shard_index,model_json}.cpp engine/data/token_source.cpp
  engine/checkpoint/manifest.cpp offload/replay.cpp engine/config/{load_config,codec,value}.cpp
  devices/base/toml_guard.cpp devices/machine_{file,section,points}.cpp)

# Those of the compiler's own version, which read what it writes.
cov=$(clang++ -print-prog-name=llvm-cov 2>/dev/null) || cov=clang++
profdata=$(clang++ -print-prog-name=llvm-profdata 2>/dev/null) || profdata=clang++
for tool in "$cov" "$profdata"; do
  command -v "$tool" >/dev/null || {
    echo "needs ${tool##*/}: apt-get install clang libclang-rt-14-dev llvm"
    exit 77
  }
done

# Readers alone: Clang 14 fails on some other source. A list by another name is another flag,
# which builds anew.
mkdir -p "$out/profiles"
instrumented=$out/readers-$(printf '%s\n' "${readers[@]}" | cksum | cut -d ' ' -f 1)
printf 'src:*/%s\n' "${readers[@]}" >"$instrumented"
cmake --preset dev -B "$out" -D SLUICE_SANITIZE= -D SLUICE_HAVE_FUZZER=ON -D CMAKE_CXX_FLAGS="\
-fsanitize=fuzzer-no-link -fprofile-instr-generate -fcoverage-mapping -fprofile-list=$instrumented" \
  >"$out/configure.log" || { cat "$out/configure.log" && exit 1; }
cmake --build "$out" --target sluice_fuzz >&2

rm -rf "$out/profiles" "$out/corpus"
mkdir "$out/profiles"
export runs out

# one TARGET
# shellcheck disable=SC2317  # xargs calls it
one() {
  local target=$1 log=$out/profiles/$1.log longest
  longest=$(find "tests/fuzz/corpus/$target" -type f -printf '%s\n' | sort -n | tail -n 1)
  mkdir -p "$out/corpus/$target"
  LLVM_PROFILE_FILE=$out/profiles/$target.profraw SLUICE_FUZZ_TARGET=$target "$out/sluice_fuzz" \
    -runs="$runs" -seed=1 -timeout=5 -max_len=$((longest + 8192)) \
    -artifact_prefix="$out/profiles/$target-" \
    "$out/corpus/$target" "tests/fuzz/corpus/$target" >"$log" 2>&1 ||
    {
      printf 'coverage: %s FAILED: %s\n%s\n' "$target" "$log" "$(tail -n 40 "$log")"
      return 1
    }
}
export -f one
find tests/fuzz/corpus -mindepth 1 -maxdepth 1 -printf '%f\n' | sort |
  xargs -P "$(nproc)" -I '{}' bash -c 'one {}' || exit 1
"$profdata" merge -o "$out/all.profdata" "$out"/profiles/*.profraw

status=0
for file in "${readers[@]}"; do
  read -r regions missed < <("$cov" report "$out/sluice_fuzz" \
    -instr-profile="$out/all.profdata" "$file" | awk '$1 == "TOTAL" { print $2, $3 }')
  percent=$((100 * (regions - missed) / regions)) verdict=
  if [[ " ${safetensors[*]} " == *" $file "* ]]; then
    verdict="at least $least %"
    [ "$percent" -ge "$least" ] || verdict="FAILED: less than $least %" status=1
  fi
  printf 'coverage: %3d %% of %3d regions  %-37s %s\n' "$percent" "$regions" "$file" "$verdict"
done
exit "$status"
