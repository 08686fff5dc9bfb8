#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
#
# tools/build.sh [PRESET] [CMake build arguments...]
# Installs what is missing (tools/packages.txt; as root, or with sudo), configures and
# builds a preset: release (the default), dev, tsan or cuda. Quick when nothing is to do,
# and without network when everything is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=${1:-release}
shift || true

say() { printf 'build.sh: %s\n' "$*" >&2; }

# install_missing PACKAGE...: exactly the ones that dpkg does not know as installed.
install_missing() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
      say "missing packages, and neither root nor sudo to install them: run as root: apt-get install ${missing[*]}"
      exit 2
    }
    as_root=(sudo)
  fi
  say "installing with apt-get: ${missing[*]}"
  "${as_root[@]}" apt-get update -q >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
}

if command -v dpkg-query >/dev/null; then
  mapfile -t packages < <(grep -v '^#' tools/packages.txt)
  [ "$preset" != dev ] || packages+=(clang libclang-rt-14-dev llvm)
  install_missing "${packages[@]}"
else
  say "not a Debian system: tools/packages.txt names what is needed"
fi

configured=build/$preset/build.ninja
if [ ! -e "$configured" ]; then
  cmake --preset "$preset" >&2
fi
cmake --build --preset "$preset" "$@" >&2
