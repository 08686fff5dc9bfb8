#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
#
# tools/gpu_check.sh [BUILD_FOLDER] [NAME...]
# Everything that can only be seen on a GPU: see tools/gpu_check.py. Takes a build folder, or what
# tools/pack.sh made of one elsewhere, or builds the preset `cuda`; needs a driver and CUDA, no network. Under
# 8 minutes on one H200. NAME runs only checks that begin so. Exit 1 on any miss, 2 without GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/cuda
if [ $# -gt 0 ] && [ -x "$1/sluice" ]; then
  build=$1
  shift
elif [ ! -e /proc/driver/nvidia/version ]; then
  echo "gpu_check: there is no NVIDIA driver on this machine; nothing was built or checked" >&2
  exit 2
else
  tools/build.sh cuda --target sluice sluice_kernels_tests sluice_devices_tests
fi
exec python3 -B tools/gpu_check.py "$build" "$@"
