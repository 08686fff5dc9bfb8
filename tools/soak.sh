#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
#
# tools/soak.sh [KILLS [CUTS]]
# Checks of checkpoints at the length that is too long for every change: KILLS (200) random
# kill -9, and CUTS (100) power cuts on each file system that this machine can make. Prints
# the seeds that repeat it. Exit 1 if anything failed; what cannot run here says so.
set -uo pipefail
cd "$(dirname "$0")/.."

kills=${1:-200} cuts=${2:-100} failed=0
tools/build.sh release --target sluice sluice_engine_fault_tests || exit 1

SLUICE_TEST_KILLS=$kills build/release/sluice_engine_fault_tests \
  --gtest_filter='CheckpointFault*' || failed=1
for fs in ext4 xfs; do
  python3 -B tools/power_cut.py --cuts "$cuts" --fs "$fs"
  case $? in
    0) ;;
    77) echo "power cuts on $fs: not here" ;;
    *) failed=1 ;;
  esac
done
[ "$failed" -eq 0 ] && echo "soak passed"
exit "$failed"
