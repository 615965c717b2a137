"""Compares a model that was written with the PyTorch checkpoint it was made from.

usage: check_converted.py CHECKPOINT.pt WRITTEN

WRITTEN is a safetensors file, or a folder with one or with shards, in our names, in those of
DiT-MoE's larger models or in those of diffusers' DiTTransformer2DModel. Prints what differs; exits
with 1 then, and with 77 where PyTorch is missing.
"""

import json
import pathlib
import struct
import sys

try:
    import torch
except ImportError:
    sys.exit(77)

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def read_file(path):
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    assert length % 8 == 0, "the data are not aligned"
    header = json.loads(content[8:8 + length])
    header.pop("__metadata__", None)
    data = bytearray(content[8 + length:])
    tensors, end = {}, 0
    for name, entry in header.items():
        begin, last = entry["data_offsets"]
        assert begin == end, f"{name} does not follow the tensor before"
        end = last
        raw = torch.frombuffer(data[begin:last], dtype=DTYPES[entry["dtype"]])
        tensors[name] = raw.reshape(entry["shape"])
    assert end == len(data), "bytes after the last tensor"
    return tensors


def read(path):
    if path.is_file():
        return read_file(path)
    indices = list(path.glob("*.safetensors.index.json"))
    if not indices:
        (file,) = path.glob("*.safetensors")
        return read_file(file)
    files = json.loads(indices[0].read_text())["weight_map"]
    shards = {file: read_file(path / file) for file in set(files.values())}
    assert sum(len(shard) for shard in shards.values()) == len(files)
    return {name: shards[file][name] for name, file in files.items()}


def diffusers_names(state, config):
    """The state of the original as facebookresearch's weights are given to diffusers."""
    new = {f"pos_embed.proj.{part}": state[f"x_embedder.proj.{part}"] for part in ("weight", "bias")}
    for part in ("weight", "bias"):
        new[f"proj_out_1.{part}"] = state[f"final_layer.adaLN_modulation.1.{part}"]
        new[f"proj_out_2.{part}"] = state[f"final_layer.linear.{part}"]
    for i in range(config["num_layers"]):
        block, old = f"transformer_blocks.{i}.", f"blocks.{i}."
        for part in ("weight", "bias"):
            for number, layer in ((1, 0), (2, 2)):
                new[f"{block}norm1.emb.timestep_embedder.linear_{number}.{part}"] = \
                    state[f"t_embedder.mlp.{layer}.{part}"]
            query, key, value = torch.chunk(state[f"{old}attn.qkv.{part}"], 3, dim=0)
            new.update({f"{block}attn1.to_q.{part}": query, f"{block}attn1.to_k.{part}": key,
                        f"{block}attn1.to_v.{part}": value})
            for to, of in (("norm1.linear", "adaLN_modulation.1"), ("attn1.to_out.0", "attn.proj"),
                           ("ff.net.0.proj", "mlp.fc1"), ("ff.net.2", "mlp.fc2")):
                new[f"{block}{to}.{part}"] = state[f"{old}{of}.{part}"]
        new[f"{block}norm1.emb.class_embedder.embedding_table.weight"] = \
            state["y_embedder.embedding_table.weight"]
    width, channels = state["x_embedder.proj.weight"].shape[:2]
    assert config["num_attention_heads"] * config["attention_head_dim"] == width
    assert config["in_channels"] == channels
    assert config["num_embeds_ada_norm"] + 1 == len(state["y_embedder.embedding_table.weight"])
    assert config["_class_name"] == "DiTTransformer2DModel"
    return new


def main():
    state = torch.load(sys.argv[1], map_location="cpu")
    state = state.get("ema", state)
    path = pathlib.Path(sys.argv[2])
    found = read(path)
    if (path / "config.json").exists():
        state = diffusers_names(state, json.loads((path / "config.json").read_text()))
    else:
        for wide, plain in ((".attn.Wqkv.", ".attn.qkv."), (".attn.out_proj.", ".attn.proj.")):
            state = {name.replace(wide, plain): tensor for name, tensor in state.items()}
            found = {name.replace(wide, plain): tensor for name, tensor in found.items()}
    faults = [f"{name}: only on one side" for name in state.keys() ^ found.keys()]
    for name in state.keys() & found.keys():
        expected, tensor = state[name].detach().contiguous(), found[name]
        if expected.dtype != tensor.dtype or not torch.equal(expected, tensor):
            faults.append(f"{name}: other values")
    print("\n".join(faults))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
