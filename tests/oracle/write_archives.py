"""Writes valid files of random content for tests/formats/differential_test.cpp to read.

usage: write_archives.py FOLDER COUNT

Writes COUNT npz, safetensors and gzip'd IDX files each, and FOLDER/manifest.txt: for every tensor a
line "file <tab> name as hex <tab> dtype <tab> shape <tab> SHA-256 of its data". A file that is
valid to Python but has to be refused has one line "file <tab> refused".
Exits with 77 where NumPy is missing.
"""

import gzip
import hashlib
import io
import json
import pathlib
import random
import struct
import sys
import zipfile

try:
    import numpy as np
except ImportError:
    sys.exit(77)

NPY_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
              "I8": "|i1", "U8": "|u1", "BOOL": "|b1"}
DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
               "U8": 1, "BOOL": 1}
REFUSED_DTYPES = [">f4", ">i8", "<u2", "<u4", "<c8", "<U3", "|S2", "<M8[s]", "|V3"]
LETTERS = "abcxyzABC019._-/ \u00e9\u5c65\U0001f45f"


def random_name(rng):
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 20)))


def random_shape(rng):
    rank = rng.choice([0, 1, 1, 2, 2, 3, 4, 8])
    return [rng.choice([0, 1, 1, 2, 3, 5]) for _ in range(rank)]


def random_data(rng, dtype, shape):
    count = int(np.prod(shape, dtype=np.int64)) if shape else 1
    if dtype == "BOOL":
        return bytes(rng.randint(0, 1) for _ in range(count))
    if rng.random() < 0.3:  # compresses well
        return bytes([rng.randint(0, 255)]) * (count * DTYPE_BYTES[dtype])
    return rng.randbytes(count * DTYPE_BYTES[dtype])


class Unseekable(io.RawIOBase):
    """Makes zipfile write data descriptors."""

    def __init__(self, file):
        self.file = file

    def writable(self):
        return True

    def write(self, data):
        return self.file.write(data)


def npy_bytes(rng, array):
    stream = io.BytesIO()
    version = rng.choice([None, (1, 0), (2, 0), (3, 0)])
    np.lib.format.write_array(stream, array, version=version, allow_pickle=False)
    return stream.getvalue()


def write_by_zipfile(rng, path, arrays):
    """Every way to write an archive that zipfile has, short of comments."""
    with open(path, "wb") as raw:
        target = raw if rng.random() < 0.7 else Unseekable(raw)
        with zipfile.ZipFile(target, "w") as archive:
            for name, array in arrays.items():
                info = zipfile.ZipInfo(name + ".npy", (1980 + rng.randint(0, 100), 1, 2, 3, 4, 6))
                info.compress_type = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
                info.external_attr = rng.choice([0, 0o644 << 16, 0o120777 << 16])
                info.comment = rng.choice([b"", b"a comment of the entry"])
                info.extra = rng.choice([b"", struct.pack("<HH4s", 0x4246, 4, b"ZZZZ")])
                content = npy_bytes(rng, array)
                with archive.open(info, "w", force_zip64=rng.random() < 0.3) as entry:
                    entry.write(content)


def write_npz(rng, path):
    """One archive; returns {name: (dtype, shape, data)}."""
    tensors, arrays = {}, {}
    for _ in range(rng.randint(0, 4)):
        dtype, shape = rng.choice(list(NPY_DTYPES)), random_shape(rng)
        data = random_data(rng, dtype, shape)
        name = random_name(rng)
        tensors[name] = (dtype, shape, data)
        arrays[name] = np.frombuffer(data, NPY_DTYPES[dtype]).reshape(shape)
    way = rng.random()
    if way < 0.25:
        np.savez(path, **{"file" + name: array for name, array in arrays.items()})
        tensors = {"file" + name: tensor for name, tensor in tensors.items()}
    elif way < 0.5:
        np.savez_compressed(path, **{"f" + name: array for name, array in arrays.items()})
        tensors = {"f" + name: tensor for name, tensor in tensors.items()}
    else:
        write_by_zipfile(rng, path, arrays)
    return tensors


def write_refused_npz(rng, path):
    """What NumPy reads and we refuse, as npz.h says."""
    good = np.zeros((2, 3), np.float32)
    kind = rng.randint(0, 3)
    if kind == 0:
        np.savez(path, a=good, b=np.zeros((2, 2), rng.choice(REFUSED_DTYPES)))
    elif kind == 1:
        np.savez(path, a=np.asfortranarray(good))
    elif kind == 2:
        np.savez(path, a=good)
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = b"c" * rng.randint(1, 100)
    else:
        with zipfile.ZipFile(path, "w", rng.choice([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])) as archive:
            archive.writestr("a.npy", npy_bytes(rng, good))


def write_safetensors(rng, path):
    tensors = {}
    for _ in range(rng.randint(0, 6)):
        dtype, shape = rng.choice(list(DTYPE_BYTES)), random_shape(rng)
        tensors[random_name(rng)] = (dtype, shape, random_data(rng, dtype, shape))
    order = list(tensors)
    rng.shuffle(order)  # of the data; the header keeps the dictionary's
    offsets, offset = {}, 0
    for name in order:
        size = len(tensors[name][2])
        offsets[name] = [offset, offset + size]
        offset += size
    header = {}
    for name, (dtype, shape, _) in tensors.items():
        entry = {"dtype": dtype, "shape": shape, "data_offsets": offsets[name]}
        header[name] = dict(rng.sample(list(entry.items()), 3))
    if rng.random() < 0.3:
        header["__metadata__"] = {random_name(rng): random_name(rng) for _ in range(3)}
    text = json.dumps(header, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1]))
    text = text.encode() + b" " * rng.randint(0, 9)
    data = b"".join(tensors[name][2] for name in order)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)
    return tensors


def write_idx(rng, path):
    shape = [rng.randint(0, 6) for _ in range(rng.randint(1, 4))]
    data = random_data(rng, "U8", shape)
    content = struct.pack(f">I{len(shape)}I", 0x800 | len(shape), *shape) + data
    if rng.random() < 0.5:
        content = gzip.compress(content, rng.randint(0, 9))
    pathlib.Path(path).write_bytes(content)
    return {"": ("U8", shape, data)}


def main():
    folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(1)
    lines = []
    writers = {"npz": write_npz, "safetensors": write_safetensors, "idx": write_idx}
    for i in range(count):
        for extension, write in writers.items():
            name = f"{i}.{extension}"
            for key, (dtype, shape, data) in write(rng, folder / name).items():
                dims = ",".join(map(str, shape))
                digest = hashlib.sha256(data).hexdigest()
                lines.append(f"{name}\t{key.encode().hex()}\t{dtype}\t{dims}\t{digest}")
            lines.append(f"{name}\tend")
        if i % 10 == 0:
            write_refused_npz(rng, folder / f"{i}.refused.npz")
            lines.append(f"{i}.refused.npz\trefused")
    (folder / "manifest.txt").write_text("\n".join(lines) + "\n")


main()
