#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
#
# tools/soak.sh [KILLS [CUTS [RUNS]]]
# What is too long for every change: KILLS (200) random kill -9 of a run, every damage of a
# checkpoint and of a swap file in its full number, CUTS (100) power cuts on each file system
# that this machine can make, a million safetensors files read by the reference too (pip
# install safetensors), models that transformers made and reads again (pip install torch
# transformers), RUNS (2,000,000) executions of each fuzzer, and what of the parsers fuzzers
# reach. Prints the seeds that repeat it. Ends with a table; exit 1 if anything failed; what
# cannot run here says so.
set -uo pipefail
cd "$(dirname "$0")/.."

kills=${1:-200} cuts=${2:-100} runs=${3:-2000000} failed=0 table=()
tools/build.sh release --target sluice sluice_engine_tests sluice_engine_fault_tests \
  sluice_devices_fault_tests sluice_devices_threads_tests sluice_safetensors_reader || exit 1
tools/build.sh dev --target sluice_engine_fault_tests || exit 1

# part NAME COMMAND...
part() {
  local name=$1 start=$SECONDS status=0
  shift
  printf '\n== %s ==\n' "$name"
  "$@" || status=$?
  case $status in
    0) outcome=passed ;;
    77) outcome='not here' ;;
    *) outcome=FAILED failed=1 ;;
  esac
  table+=("$(printf '%-8s %6d s  %s' "$outcome" $((SECONDS - start)) "$name")")
}

export SLUICE_SOURCE_DIR=$PWD SLUICE_BINARY_DIR=$PWD/build/release
export SLUICE_TEST_SOAK=1
export SLUICE_TEST_KILLS=$kills
part "$kills kills, and one before every call of a checkpoint" \
  build/release/sluice_engine_fault_tests --gtest_filter='*CheckpointFault*:*EveryPoint*'
part "$kills kills of the command" python3 -B tests/tools/kills_test.py
part "flips, cuts, zeroed blocks, other files in a checkpoint; 1,000 saved and loaded" \
  build/release/sluice_engine_tests --gtest_filter='CheckpointReader.*:CheckpointFolder.*'
part "flips, lost and misdirected writes in a swap file" \
  build/release/sluice_devices_fault_tests --gtest_filter='CheckedStorage.*:SwapFile.*'
part "ten million transfers at every depth" \
  build/release/sluice_devices_threads_tests --gtest_filter='*StorageTest.AFlood*'
part "swap files that 50 killed runs left" \
  build/release/sluice_engine_fault_tests --gtest_filter='StorageFault.What*'
part "memory refused at 5,000 requests, under ASan" \
  build/dev/sluice_engine_fault_tests --gtest_filter='NoMemory.*'
part "limits of memory, and 10,000 steps" python3 -B tests/tools/memory_limits_test.py
for fs in ext4 xfs; do
  part "$cuts power cuts, $fs" python3 -B tools/power_cut.py --cuts "$cuts" --fs "$fs"
done
part "1,000,000 mutated safetensors files, and what the reference reads" \
  python3 -B tests/fuzz/safetensors_differential.py build/release/sluice_safetensors_reader
part "models of transformers, trained and given back" \
  python3 -B tests/golden/transformers_round_trip.py --sluice build/release/sluice
part "$runs executions of each fuzzer" tools/fuzz.sh "${runs}x"
part "region coverage of the parsers" tools/fuzz_coverage.sh

printf '\n'
printf '%s\n' "${table[@]}"
missing=$(printf '%s\n' "${table[@]}" | grep -c '^not here')
[ "$failed" -eq 0 ] && echo "soak passed, $missing parts could not run here"
exit "$failed"
