#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
#
# tools/test.sh [--all]
# Everything that must hold before a change lands. Stages: structure (format, arrows of
# the includes, headers alone), release with all tests, AddressSanitizer and
# UndefinedBehaviorSanitizer on the labels unit and fault, ThreadSanitizer on the label
# threads, libFuzzer for 30 s on each reader of strangers' files, one iteration of all but
# the largest benchmarks. Where there is a CUDA toolkit, release compiles the CUDA code for
# one architecture. --all adds clang-tidy, runs every label under every sanitizer, and
# compiles CUDA for all architectures. Ends
# with the names of what failed and one line `N passed, N failed`; exit 1 if any failed.
set -uo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  "") all=false ;;
  --all) all=true ;;
  *) echo "usage: tools/test.sh [--all]" >&2; exit 2 ;;
esac

passed=0 failed=0 skipped=0 timings=() failures=()
structure='^(structure/|headers$)'
jobs=$(nproc)

# stage NAME COMMAND...: runs it under a headline and notes how long it took.
stage() {
  local name=$1 start=$SECONDS
  shift
  printf '\n== %s ==\n' "$name"
  "$@"
  timings+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
}

# fail NAME: one more.
fail() {
  failed=$((failed + 1))
  failures+=("$1")
}

# one COMMAND...: counts as one test.
one() {
  if "$@"; then passed=$((passed + 1)); else fail "$*"; fi
}

# tests PRESET CTEST-ARGUMENT...: counts what CTest ran, by its own report.
tests() {
  local preset=$1 report=$PWD/build/$1/ctest.xml status=0 run bad out
  shift
  rm -f "$report"
  ctest --preset "$preset" -j "$jobs" --output-junit "$report" "$@" || status=$?
  count() { sed -n "s/.*[[:space:]]$1=\"\([0-9]*\)\".*/\1/p;/<testcase/q" "$report" | head -1; }
  if [ ! -s "$report" ] || [ -z "$(count tests)" ]; then
    fail "ctest --preset $preset: no report"
    return
  fi
  run=$(count tests) bad=$(count failures) out=$(($(count skipped) + $(count disabled)))
  # CTest may fail for a reason that is no test's: that is a failure too.
  if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then fail "ctest --preset $preset"; fi
  mapfile -t -O ${#failures[@]} failures < \
    <(sed -n "s/.*<testcase name=\"\([^\"]*\)\".*status=\"fail\".*/$preset: \1/p" "$report")
  passed=$((passed + run - bad - out)) failed=$((failed + bad)) skipped=$((skipped + out))
}

# build_and_test PRESET TARGETS CTEST-ARGUMENT...
build_and_test() {
  local preset=$1 targets=$2
  shift 2
  # shellcheck disable=SC2086  # a list of words
  if tools/build.sh "$preset" ${targets:+--target $targets}; then
    tests "$preset" "$@"
  else
    fail "the build of preset $preset"
  fi
}

# The largest sizes take as long as all others together and run the same code.
bench_once() {
  local rows=build/release/bench_once.txt
  one build/release/sluice_bench --benchmark_min_time=0 \
    '--benchmark_filter=-(2\^2[0-9]|/2048x|/4096x|50257)' >"$rows" 2>&1
  tail -n 20 "$rows"
}

tidy() {
  command -v clang-tidy >/dev/null || { echo "needs clang-tidy: apt-get install clang-tidy"; return 1; }
  find devices kernels offload engine tools tests -name '*.cpp' -print0 |
    xargs -0 -n 4 -P "$jobs" clang-tidy --quiet -p build/release
}

has_toolkit() { command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; }

# Code for GPUs is compiled where there is a toolkit, whether there is a GPU or not.
release_tests() {
  if has_toolkit; then one cmake --preset release -D SLUICE_CUDA=ON; fi
  build_and_test release "" -E "$structure"
}

cuda_architectures() {
  if has_toolkit; then one tools/build.sh cuda-all --target sluice sluice_kernels_tests; fi
}

stage "release: structure" build_and_test release rebuild_cache -R "$structure"
stage "release: all tests" release_tests
if $all; then
  stage "clang-tidy" one tidy
  stage "dev: all tests" build_and_test dev "" -E "$structure"
  stage "tsan: all tests" build_and_test tsan "" -E "$structure"
  stage "CUDA: sm_80, sm_90a, sm_100" cuda_architectures
else
  stage "dev: unit, fault" build_and_test dev "sluice_tests_unit sluice_tests_fault" \
    -L '^(unit|fault)$' -E "$structure|^tools/faults$"
  stage "tsan: threads" build_and_test tsan sluice_tests_threads -L '^threads$'
fi
stage "fuzzers: 30 s each" one tools/fuzz.sh 30
stage "benchmarks: one iteration" bench_once

printf '\n'
printf '%s\n' "${timings[@]}"
for name in ${failures[@]+"${failures[@]}"}; do echo "failed: $name"; done
[ "$skipped" -eq 0 ] || echo "$skipped skipped (each says why above)"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
