#!/usr/bin/python3
"""Writes a dense DiT (S/2, ...; random weights) as ONNX for onnxruntime_forward.mjs.

Beside OUT.onnx it writes OUT.io, the oracle's inputs and output to compare with. Two graphs:
  plain   what torch.onnx.export makes of tests/oracle/dit_moe.py
  fused   the same with ONNX Runtime's own MultiHeadAttention and FastGelu in place of their parts,
          and products on [tokens, width], which become Gemm with a bias
"""

import argparse
import contextlib
import io
import json
import math
import pathlib
import sys
import warnings

import peer_common
import pytorch_forward

OPSET = 17  # the first with LayerNormalization, the last of PyTorch 1.13


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", help="S/2, B/2, ...: a dense DiT with a GELU MLP")
    parser.add_argument("--batch", type=int, default=8, help="fixed in the graph (%(default)s)")
    parser.add_argument("--graph", choices=("plain", "fused"), default="fused")
    parser.add_argument("--out", help="default: build/peers/onnx/PRESET-bBATCH-GRAPH.onnx")
    arguments = parser.parse_args()
    if arguments.batch < 1:
        peer_common.die("--batch starts at 1")
    if "E" in arguments.preset:
        peer_common.die(f"{arguments.preset} is a MoE: only dense presets such as S/2 are exported")
    if not arguments.out:
        stem = arguments.preset.replace("/", "_")
        arguments.out = peer_common.BUILD / "onnx" / (
            f"{stem}-b{arguments.batch}-{arguments.graph}.onnx")
    return arguments


def give_scales(torch, network):
    """LayerNormalization of ONNX must have a scale: ones where the network has none."""
    for module in network.modules():
        if isinstance(module, torch.nn.LayerNorm) and module.weight is None:
            module.weight = torch.nn.Parameter(torch.ones(module.normalized_shape))
            module.bias = torch.nn.Parameter(torch.zeros(module.normalized_shape))


def fuse(torch, dit_moe, network):
    """Replaces attention and MLP by modules that export as ONNX Runtime's own operations."""

    class MultiHeadAttention(torch.autograd.Function):
        @staticmethod
        def forward(_, q_BTD, k_BTD, v_BTD, heads):
            batch, tokens, width = q_BTD.shape
            q, k, v = (value.view(batch, tokens, heads, width // heads).transpose(1, 2)
                       for value in (q_BTD, k_BTD, v_BTD))
            scores = (q / math.sqrt(width // heads)) @ k.transpose(-2, -1)
            return (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(batch, tokens, width)

        @staticmethod
        def symbolic(graph, q, k, v, heads):
            out = graph.op("com.microsoft::MultiHeadAttention", q, k, v, num_heads_i=heads)
            out.setType(q.type())
            return out

    class FastGelu(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return torch.nn.functional.gelu(x, approximate="tanh")

        @staticmethod
        def symbolic(graph, x):
            out = graph.op("com.microsoft::FastGelu", x)
            out.setType(x.type())
            return out

    class Attention(dit_moe.Attention):
        def forward(self, x_BTD):
            batch, tokens, width = x_BTD.shape
            qkv = self.qkv(x_BTD.reshape(batch * tokens, width)).view(batch, tokens, 3 * width)
            mixed = MultiHeadAttention.apply(*qkv.chunk(3, dim=2), self.heads)
            return self.proj(mixed.reshape(batch * tokens, width)).view(batch, tokens, width)

    class GeluMlp(dit_moe.GeluMlp):
        def forward(self, x_BTD):
            hidden = FastGelu.apply(self.fc1(x_BTD.reshape(-1, x_BTD.shape[2])))
            return self.fc2(hidden).view(x_BTD.shape)

    for block in network.blocks:
        block.attn.__class__ = Attention
        block.mlp.__class__ = GeluMlp


def export(torch, network, inputs, path, fused):
    options = {"custom_opsets": {"com.microsoft": 1}} if fused else {}
    # The exporter warns about what a fixed shape makes constant, which is what is wanted.
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(network, inputs, str(path), opset_version=OPSET,
                          input_names=["x", "t", "y"], output_names=["out"], **options)


def write_io(path, names, tensors):
    """A line of JSON, then the arrays one after another in little-endian bytes."""
    described = [{"name": name, "dtype": str(tensor.dtype).removeprefix("torch."),
                  "shape": list(tensor.shape)} for name, tensor in zip(names, tensors)]
    with open(path, "wb") as file:
        file.write(json.dumps(described).encode() + b"\n")
        for tensor in tensors:
            file.write(tensor.contiguous().numpy().tobytes())


def main():
    arguments = parse_arguments()
    torch, dit_moe = pytorch_forward.import_torch()
    torch.manual_seed(0)
    network = dit_moe.Dit(dit_moe.DitConfig(**peer_common.preset_fields(arguments.preset))).eval()
    config = network.config
    inputs = (torch.randn(arguments.batch, config.channels, config.image_size, config.image_size),
              torch.rand(arguments.batch) * 1000,
              torch.randint(config.num_classes, (arguments.batch,)))
    path = pathlib.Path(arguments.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        expected = network(*inputs)
        give_scales(torch, network)
        if arguments.graph == "fused":
            fuse(torch, dit_moe, network)
            error = (network(*inputs) - expected).abs().max() / expected.abs().max()
            if not error < 1e-5:
                peer_common.die(f"the fused network differs from the oracle by {error:.1e}")
        export(torch, network, inputs, path, arguments.graph == "fused")
    write_io(path.with_suffix(".io"), ("x", "t", "y", "out"), (*inputs, expected))
    print(path)


if __name__ == "__main__":
    main()
