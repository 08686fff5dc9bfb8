#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
#
# tools/pack.sh [--cuda] [BUILD [OUT]]
# Copies what tools/gpu_check.sh runs of a build folder (build/cuda) to OUT (BUILD/packed), and to
# OUT/lib the shared libraries it needs, but for those of libc, of the compiler and of the driver.
# Programs find them there: OUT runs on a machine that has none of them. --cuda: also the libraries
# that a running program opens (cuBLASLt; cuDNN, NVRTC and the runtime that its front end asks).
set -euo pipefail

with_cuda=false
if [ "${1:-}" = --cuda ]; then
  with_cuda=true
  shift
fi
root=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$root/build/cuda}
out=${2:-$build/packed}
programs=(sluice sluice_kernels_tests sluice_devices_tests)

for program in "${programs[@]}"; do
  [ -x "$build/$program" ] || {
    echo "pack.sh: $build/$program is not there: tools/build.sh cuda --target ${programs[*]}" >&2
    exit 2
  }
done
if [ -e "$out/lib" ] && [ ! -e "$out/sluice" ]; then
  echo "pack.sh: $out/lib is there, and of no pack: name another folder" >&2
  exit 2
fi
rm -rf "${out:?}/lib"
mkdir -p "$out/lib"
cp "${programs[@]/#/$build/}" "$out/"

if $with_cuda; then
  # The folder of the toolkit that the programs were linked for.
  toolkit=$(readelf -d "$build/sluice" | sed -n 's/.*R\(UN\)\?PATH.*\[\(.*\)\]/\2/p' | tr : '\n' |
    while read -r folder; do
      if compgen -G "$folder/libcublasLt.so.*" >/dev/null; then echo "$folder"; fi
    done | head -1)
  [ -n "$toolkit" ] || { echo "pack.sh: there is no cuBLASLt where $build/sluice looks for it" >&2; exit 2; }
  for pattern in 'libcublasLt.so.[0-9]*' 'libcudnn*.so.9' 'libnvrtc*.so.[0-9]*' \
    'libcudart.so.[0-9]*'; do
    # shellcheck disable=SC2086  # a pattern
    cp -L "$toolkit"/$pattern "$out/lib/"
  done
fi

# What every machine with a driver has; a second libc beside its loader would not start.
everywhere='^(linux-vdso|ld-linux-x86-64|lib(c|m|dl|rt|pthread|resolv|stdc\+\+|gcc_s|asan|ubsan|tsan|cuda|nvidia-.*))\.so'
# ldd lists the whole closure: `name => path (address)`.
{ printf '%s\0' "${programs[@]/#/$build/}"; find "$out/lib" -type f -print0; } | xargs -0 ldd |
  sed -n 's/^\t\(.*\) => \(.*\) (0x.*/\1 \2/p; s/^\t\(.*\) => not found/\1 -/p' |
  sort -u | while read -r name path; do
  if [[ $name =~ $everywhere || -e $out/lib/$name ]]; then continue; fi
  [ "$path" != - ] || { echo "pack.sh: $name is not found on this machine" >&2; exit 2; }
  cp -L "$path" "$out/lib/$name"
done
echo "pack.sh: $out: $(du -shL "$out" | cut -f1), $(find "$out/lib" -type f | wc -l) libraries" >&2
