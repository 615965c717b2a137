#!/usr/bin/python3
"""Writes many small files with torch.save, and what a reader should find in them.

FOLDER receives 0.pt, 1.pt ...; expected.bin, the elements of all tensors, dense and row-major, one
after another; manifest.json, a list with an entry a file: "file", "weights" ("ema", "model" or "",
the set to ask for) and "tensors", a list of [name, dtype as safetensors has it, shape, offset in
expected.bin, bytes]. The same seed writes the same files. Exit code 77: no PyTorch.
"""

import argparse
import collections
import datetime
import json
import pathlib
import random
import sys

try:
    import numpy
    import torch
except ImportError:
    sys.exit(77)

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class Settings:
    """A class that no reader has."""

    def __init__(self, value):
        self.value = value
        self.itself = self


def random_values(rng, count, dtype):
    """One-dimensional, every bit pattern possible but for truth values."""
    if dtype == torch.bool:
        return torch.tensor([rng.random() < 0.5 for _ in range(count)], dtype=torch.bool)
    width = torch.empty(0, dtype=dtype).element_size()
    data = numpy.frombuffer(rng.randbytes(count * width), dtype=f"<i{width}" if width > 1 else "i1")
    return torch.from_numpy(data.copy()).view(dtype)


def random_tensor(rng, storages):
    """A view of a new storage, or of one of storages, which others view as well."""
    if storages and rng.random() < 0.4:
        flat = rng.choice(storages)
    else:
        flat = random_values(rng, rng.choice([0, 1, 7, 24, 60, 130]), rng.choice(list(DTYPES)))
        storages.append(flat)
    kind = rng.randrange(8)
    count = flat.numel()
    if kind == 0 or count < 24:
        return flat[rng.randrange(count + 1):]
    if kind == 1:
        return flat[:24].view(2, 3, 4).permute(rng.sample(range(3), 3))
    if kind == 2:
        return flat[rng.randrange(5)::rng.randrange(1, 6)]
    if kind == 3:
        return flat[:4].view(1, 4, 1).expand(rng.randrange(1, 4), 4, rng.randrange(1, 4))
    if kind == 4:
        return flat.as_strided((2, 3, 2), (rng.randrange(4), rng.randrange(4), rng.randrange(4)),
                               rng.randrange(5))
    if kind == 5:
        return flat[rng.randrange(count)]  # no dimensions
    if kind == 6:
        return flat[:24].view(1, 4, 1, 6)[:, 1:3, :, ::2]
    return flat[:24].view(2, 3, 2, 2)


def random_name(rng):
    parts = ["blocks", "attn", "qkv", "weight", "bias", "0", "17", "\u00e9\u4e16", "a b", ""]
    return ".".join(rng.choice(parts) for _ in range(rng.randrange(1, 5)))


def random_weights(rng):
    storages = []
    weights = collections.OrderedDict() if rng.random() < 0.7 else {}
    for _ in range(rng.randrange(1, 6)):
        tensor = random_tensor(rng, storages)
        if tensor.is_floating_point() and rng.random() < 0.4:
            tensor = torch.nn.Parameter(tensor, requires_grad=rng.random() < 0.5)
        weights[random_name(rng)] = tensor
        if rng.random() < 0.1:
            weights["tied." + random_name(rng)] = tensor
    if isinstance(weights, collections.OrderedDict) and rng.random() < 0.5:
        weights._metadata = collections.OrderedDict([("", {"version": 1})])
    return weights


def random_object(rng):
    """Something beside the weights."""
    loop = [1]
    loop.append(loop)
    return rng.choice([
        argparse.Namespace(model="DiT-S/2", lr=1e-4, rf=False, none=None, data=pathlib.PurePosixPath("/a")),
        Settings({1: (2, 3)}),
        numpy.arange(5, dtype=numpy.float32),
        numpy.float64(1.5),
        datetime.datetime(2024, 7, 16),
        {"big": 1 << 100, "negative": -(1 << 40), "set": {1, 2}, "frozen": frozenset("ab")},
        loop,
        torch.Size([1, 2]),
        torch.float16,
        complex(1, 2),
        collections.defaultdict(list, a=[1]),
        {"state": {0: {"exp_avg": random_values(rng, 4, torch.float32)}}, "param_groups": [{"lr": 0.1}]},
        torch.complex(torch.ones(2), torch.ones(2)),
        b"bytes" * 100,
        ["text"] * 1500,
    ])


def random_checkpoint(rng):
    """A checkpoint, the weights a reader should take and the set it should ask for."""
    weights = random_weights(rng)
    layout = rng.randrange(7)
    if layout == 0:
        return weights, weights, rng.choice(["", "model"])
    if layout == 1:
        return {"ema": weights}, weights, rng.choice(["", "ema"])
    checkpoint = {"opt": random_object(rng), "args": random_object(rng), "epoch": rng.randrange(99)}
    if layout == 2:
        checkpoint.update(model=random_weights(rng), ema=weights)
        return checkpoint, weights, rng.choice(["", "ema"])
    if layout == 3:
        checkpoint.update(ema=random_weights(rng), model=weights)
        return checkpoint, weights, "model"
    key = {4: "state_dict", 5: "module", 6: "model"}[layout]
    checkpoint[key] = weights
    return checkpoint, weights, rng.choice(["", "model"])


def dense_bytes(tensor):
    tensor = tensor.detach().contiguous().reshape(-1)
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.int16)
    return tensor.numpy().tobytes()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    manifest = []
    offset = 0
    with open(arguments.folder / "expected.bin", "wb") as expected:
        for number in range(arguments.count):
            checkpoint, weights, asked = random_checkpoint(rng)
            name = f"{number}.pt"
            is_zip = rng.random() < 0.8
            torch.save(checkpoint, arguments.folder / name, _use_new_zipfile_serialization=is_zip,
                       pickle_protocol=rng.choice([1, 2, 2, 3, 4, 5] if is_zip else [2, 2, 3, 4, 5]))
            tensors = []
            for key, tensor in weights.items():
                data = dense_bytes(tensor)
                expected.write(data)
                tensors.append([key, DTYPES[tensor.dtype], list(tensor.shape), offset, len(data)])
                offset += len(data)
            manifest.append({"file": name, "weights": asked, "tensors": tensors})
    (arguments.folder / "manifest.json").write_text(json.dumps(manifest))


if __name__ == "__main__":
    main()
