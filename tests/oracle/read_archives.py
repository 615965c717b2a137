"""Reads the files that tests/formats/differential_test.cpp wrote.

usage: read_archives.py FOLDER

FOLDER/manifest.txt has a line "file <tab> name as hex <tab> dtype <tab> shape <tab> SHA-256" for
every tensor. Prints what differs; exits with 1 then, and with 77 where NumPy is missing.
"""

import hashlib
import json
import pathlib
import struct
import sys
import zipfile

try:
    import numpy as np
except ImportError:
    sys.exit(77)

NPY_DTYPES = {"<f8": "F64", "<f4": "F32", "<f2": "F16", "<i8": "I64", "<i4": "I32", "<i2": "I16",
              "|i1": "I8", "|u1": "U8", "|b1": "BOOL"}
DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
               "U8": 1, "BOOL": 1}


def digest(data):
    return hashlib.sha256(data).hexdigest()


def read_npz(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None, "zipfile finds a damaged entry"
    with np.load(path, allow_pickle=False) as arrays:
        return {name: (NPY_DTYPES[array.dtype.str], array.shape, digest(array.tobytes()))
                for name, array in arrays.items()}


def distinct(pairs):
    assert len(dict(pairs)) == len(pairs), "a key occurs twice"
    return dict(pairs)


def read_safetensors(path):
    """By the rules of the format's reference implementation."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    assert content[8:9] == b"{" and 8 + length <= len(content)
    header = json.loads(content[8:8 + length].decode(), object_pairs_hook=distinct)
    for value in header.pop("__metadata__", {}).values():
        assert isinstance(value, str)
    data = content[8 + length:]
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = entry["data_offsets"]
        assert first == end, "a hole or an overlap"
        end = last
        count = int(np.prod(entry["shape"], dtype=np.int64)) if entry["shape"] else 1
        assert last - first == count * DTYPE_BYTES[entry["dtype"]], "size and shape differ"
        assert (8 + length + first) % DTYPE_BYTES[entry["dtype"]] == 0, "not aligned"
        tensors[name] = (entry["dtype"], tuple(entry["shape"]), digest(data[first:last]))
    assert end == len(data), "bytes behind the last tensor"
    return tensors


def main():
    folder = pathlib.Path(sys.argv[1])
    expected = {path.name: {} for path in folder.iterdir() if path.name != "manifest.txt"}
    for line in (folder / "manifest.txt").read_text().splitlines():
        file, name, dtype, dims, sha = line.split("\t")
        shape = tuple(int(dim) for dim in dims.split(",") if dim)
        expected[file][bytes.fromhex(name).decode()] = (dtype, shape, sha)
    faults = 0
    for file, tensors in expected.items():
        read = read_npz if file.endswith(".npz") else read_safetensors
        try:
            found = read(folder / file)
        except Exception as error:  # whatever it is, the file is at fault
            found = error
        if found != tensors:
            print(f"{file}: expected {tensors}, found {found!r}")
            faults += 1
    print(f"{len(expected)} files, {faults} differ")
    return 1 if faults or not expected else 0


sys.exit(main())
