# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""Reads the #include lines of the tree and lists every one that runs against the design:

    tools -> engine -> offload -> kernels -> devices -> devices/base

and, inside devices and kernels, back ends that see each other, a back end that anybody
but a registry sees, and heavy headers outside source files. Prints nothing when all is well.

    python3 tests/structure/layering.py [ROOT]
"""

import pathlib
import re
import sys

RANK = {"tools": 5, "engine": 4, "offload": 3, "kernels": 2, "devices": 1, "devices/base": 0}
# Folders of devices/ that are not one back end (those of storage are files, storage_of).
SHARED = {"base", "probe", "storage"}
# Who knows all back ends of a kind: registries make them, probes measure them.
REGISTRIES = re.compile(r"(devices|kernels)/registry\.cpp|devices/storage/storage\.cpp|devices/probe/")
HEAVY = re.compile(r"^(tbb/|oneapi/|dnnl|oneapi/dnnl|hwloc|liburing|hwy/|nlohmann/|toml\+\+/toml|CLI/"
                   r"|cuda|cublas|cudnn|nccl|nvml|mpi\.h|benchmark/)")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')


def part_of(path):
    """The architectural part a path belongs to, or None: 'devices/base', 'kernels', ..."""
    folders = path.split("/")
    if folders[:2] == ["devices", "base"]:
        return "devices/base"
    return folders[0] if folders[0] in RANK else None


def back_end_of(path):
    """'devices/host' for devices/host/queue.h; None for what is no back end."""
    folders = path.split("/")
    if len(folders) < 3 or folders[0] not in ("devices", "kernels") or folders[1] in SHARED:
        return None
    return "/".join(folders[:2])


def storage_of(path):
    """'uring' for devices/storage/uring_storage*: back ends of storage share a folder."""
    match = re.match(r"devices/storage/(\w+?)_storage\w*\.(h|cpp)$", path)
    return match.group(1) if match else None


def complaint(source, included):
    """Why `source` may not include the project's `included`, or None."""
    here, there = part_of(source), part_of(included)
    if here is None or there is None:
        return None
    if RANK[there] > RANK[here]:
        return f"{here} must not know {there}"
    if REGISTRIES.match(source):
        return None
    target = back_end_of(included)
    # kernels/host may use devices/host: one device, two layers of it.
    mine = back_end_of(source)
    same_device = mine and target and mine.split("/")[1] == target.split("/")[1]
    if target and not same_device:
        return f"only a registry may see back end {target}"
    if storage_of(included) and storage_of(source) != storage_of(included):
        return f"only devices/storage/storage.cpp may see back end {storage_of(included)}"
    return None


def complaints_of_file(root, path):
    source = path.relative_to(root).as_posix()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match = INCLUDE.match(line)
        if not match:
            continue
        bracket, included = match.groups()
        where = f"{source}:{number}: {included}"
        if HEAVY.match(included) and path.suffix == ".h" and not path.name.endswith("-inl.h"):
            yield f"{where}: heavy headers belong in source files"
        if bracket == '"':
            if source != included and not (root / included).exists() and "/" not in included:
                yield f"{where}: write project paths from the root"
            why = complaint(source, included)
            if why:
                yield f"{where}: {why}"


def complaints(root):
    root = pathlib.Path(root)
    found = []
    for folder in ("devices", "kernels", "offload", "engine", "tools", "tests"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".h", ".cpp", ".cu", ".cuh"):
                found.extend(complaints_of_file(root, path))
    return found


if __name__ == "__main__":
    here = pathlib.Path(__file__).resolve().parents[2]
    lines = complaints(sys.argv[1] if len(sys.argv) > 1 else here)
    print("\n".join(lines), end="\n" if lines else "")
    sys.exit(1 if lines else 0)
