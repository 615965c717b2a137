"""Reads and writes safetensors files: u64 header length, JSON header, tensor data."""

import json
import pathlib
import struct

import numpy as np

_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64,
           "I32": np.int32, "U8": np.uint8}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_ALIGNMENT = 64  # data starts at a multiple of this many bytes


def write_safetensors(path, arrays):
    """Writes {name: numpy array} in the dictionary's order."""
    header, offset, chunks = {}, 0, []
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
        chunks.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    pathlib.Path(path).write_bytes(b"".join([struct.pack("<Q", len(text)), text, *chunks]))


def read_safetensors(path):
    """Returns ({name: numpy array}, metadata). BF16 tensors come back as float32."""
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8:8 + length])
    metadata = header.pop("__metadata__", {})
    data = memoryview(content)[8 + length:]
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        if entry["dtype"] == "BF16":
            bits = np.frombuffer(data[begin:end], np.uint16).astype(np.uint32) << 16
            array = bits.view(np.float32)
        else:
            array = np.frombuffer(data[begin:end], _DTYPES[entry["dtype"]]).copy()
        arrays[name] = array.reshape(entry["shape"])
    return arrays, metadata
