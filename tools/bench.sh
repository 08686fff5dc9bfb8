#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
#
# tools/bench.sh [NAME...]
# Builds and measures; NAME is the beginning of a row's name (adam, overlap, ...), all
# without one. See tools/bench.py for what it prints and where it keeps it.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/build.sh release
exec python3 -B tools/bench.py "$@"
