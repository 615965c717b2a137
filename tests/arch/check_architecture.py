"""Checks the rules of docs/architecture.md that the compiler does not: which folder may include
which, where torch may appear, and the shape of files.

usage: check_architecture.py ROOT      prints one line per violation; exit 1 if there is any
"""

import pathlib
import re
import sys

# Left to right: a folder may include itself and what stands left of it, never its equals.
LAYERS = [
    {"base"},
    {"formats", "kernels"},
    {"diffusion", "data"},
    {"networks"},
    {"metrics", "routing"},
    {"pipeline"},
    {"autograd"},
    {"training"},
    {"apps"},
]
RANK = {folder: rank for rank, folders in enumerate(LAYERS) for folder in folders}
TORCH_FOLDERS = {"ditmoe/autograd", "ditmoe/training", "apps/ditmoe-train"}
TORCH_INCLUDE = re.compile(r"(torch|ATen|c10|caffe2)/")
MAX_LINES = 600

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
NAMESPACE = re.compile(r"^namespace\s+([\w:]+)\s*\{", re.MULTILINE)
USING_NAMESPACE = re.compile(r"^using\s+namespace\b", re.MULTILINE)


def folder_of(path):
    """base for ditmoe/base/error.h, training for ditmoe/training/distributed/x.h, apps for apps/."""
    return "apps" if path.parts[0] == "apps" else path.parts[1]


def include_faults(path, code):
    folder = folder_of(path)
    behind_firewall = any(path.is_relative_to(allowed) for allowed in TORCH_FOLDERS)
    for include in INCLUDE.findall(code):
        if TORCH_INCLUDE.match(include) and not behind_firewall:
            yield f"includes <{include}>: torch belongs to {', '.join(sorted(TORCH_FOLDERS))}"
        if not include.startswith("ditmoe/"):
            continue
        target = pathlib.PurePath(include).parts[1]
        if target not in RANK:
            yield f"includes {include}: {target} is not among the layers"
        elif target != folder and RANK[target] >= RANK[folder]:
            yield f"includes {include}: {target} does not stand left of {folder}"
        elif f"ditmoe/{target}" in TORCH_FOLDERS and not behind_firewall:
            yield f"includes {include}: {target} is behind the torch firewall"


def namespace_faults(path, code):
    """A file opens its folder's namespace (or one nested in it) and no other of ditmoe's."""
    if path.parts[0] == "apps":
        return
    expected = "::".join(path.parent.parts)
    own, foreign = [], []
    for name in NAMESPACE.findall(code):
        if f"{name}::".startswith(f"{expected}::"):
            own.append(name)
        elif name.startswith("ditmoe"):
            foreign.append(name)
    if foreign or not own:
        yield f"expected namespace {expected}, found {', '.join(foreign) or 'none'}"


def header_faults(text, code):
    if "#pragma once" not in text:
        yield "header without #pragma once"
    if USING_NAMESPACE.search(code):
        yield "header with 'using namespace' at file scope"


def faults_in(path, text):
    """Violations in one file; path is relative to the project's root."""
    if folder_of(path) not in RANK:
        yield f"folder {path.parent} is not among the layers"
        return
    num_lines = text.count("\n")
    if num_lines > MAX_LINES:
        yield f"{num_lines} lines, at most {MAX_LINES} are allowed"
    code = COMMENT.sub("", text)
    yield from include_faults(path, code)
    yield from namespace_faults(path, code)
    if path.suffix == ".h":
        yield from header_faults(text, code)


def check(root):
    """All violations below root, as "path: what" lines, and the number of files read."""
    lines = []
    files = [
        file
        for top in ("ditmoe", "apps")
        for file in sorted((root / top).rglob("*"))
        if file.suffix in (".h", ".cpp")
    ]
    for file in files:
        path = file.relative_to(root)
        lines += [f"{path}: {fault}" for fault in faults_in(path, file.read_text())]
    return lines, len(files)


def main():
    lines, num_files = check(pathlib.Path(sys.argv[1]))
    for line in lines:
        print(line)
    print(f"{num_files} files, {len(lines)} violations")
    return 1 if lines or num_files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
