#!/usr/bin/python3
"""Writes a DiT or DiT-MoE (S/2, S/2-8E2A; random weights) as ONNX for onnxruntime_forward.mjs.

Beside OUT.onnx it writes OUT.io, the oracle's inputs and output to compare with. Two graphs:
  plain   what torch.onnx.export makes of tests/oracle/dit_moe.py; dense presets only, because
          tracing would fix the number of each expert's tokens
  fused   the same with ONNX Runtime's own MultiHeadAttention, FastGelu and MoE in place of their
          parts, and products on [tokens, width], which become Gemm with a bias
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
MAX_BYTES = 2**31 - 2**20  # of a protobuf file, less a little for what is not weights


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", help="S/2, B/2, ... or S/2-8E2A; weights up to 2 GB in f32")
    parser.add_argument("--batch", type=int, default=8, help="fixed in the graph (%(default)s)")
    parser.add_argument("--graph", choices=("plain", "fused"), default="fused")
    parser.add_argument("--out", help="default: build/peers/onnx/PRESET-bBATCH-GRAPH.onnx")
    arguments = parser.parse_args()
    if arguments.batch < 1:
        peer_common.die("--batch starts at 1")
    if "E" in arguments.preset and arguments.graph == "plain":
        peer_common.die(f"{arguments.preset} is a MoE: --graph plain goes with dense presets only")
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


def fused_operations(torch):
    """torch.autograd.Functions that export as operations of ONNX Runtime, by name."""

    def typed_like(out, value):
        out.setType(value.type())
        return out

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
            return typed_like(graph.op("com.microsoft::MultiHeadAttention", q, k, v,
                                       num_heads_i=heads), q)

    class FastGelu(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return torch.nn.functional.gelu(x, approximate="tanh")

        @staticmethod
        def symbolic(graph, x):
            return typed_like(graph.op("com.microsoft::FastGelu", x), x)

    class Moe(torch.autograd.Function):
        """x [N, D], logits [N, E], gate and up rows in turn [E, 2F, D], down [E, D, F]."""

        @staticmethod
        def forward(_, x_ND, logits_NE, gate_up_EGD, down_EDF, top_k):
            weight_NK, index_NK = logits_NE.softmax(dim=-1).topk(top_k, dim=-1)
            out = torch.zeros_like(x_ND)
            for expert in range(logits_NE.shape[1]):
                token, slot = (index_NK == expert).nonzero(as_tuple=True)
                both = x_ND[token] @ gate_up_EGD[expert].t()
                hidden = torch.nn.functional.silu(both[:, 0::2]) * both[:, 1::2]
                out.index_add_(0, token,
                               hidden @ down_EDF[expert].t() * weight_NK[token, slot].unsqueeze(1))
            return out

        @staticmethod
        def symbolic(graph, x, logits, gate_up, down, top_k):
            no_bias = graph.op("prim::Constant")
            no_bias.setType(torch._C.OptionalType.ofTensor())
            # silu(gate) * up: sigmoid of 1 * gate, up + 0, and a limit that clamps nothing.
            return typed_like(
                graph.op("com.microsoft::MoE", x, logits, gate_up, no_bias, down, k_i=top_k,
                         activation_type_s="swiglu", swiglu_fusion_i=1, activation_alpha_f=1.0,
                         activation_beta_f=0.0, swiglu_limit_f=1e30,
                         normalize_routing_weights_i=0), x)

    return MultiHeadAttention, FastGelu, Moe


def fuse(torch, dit_moe, network):
    """Replaces attention, MLP and MoE by modules that export as ONNX Runtime's own operations."""
    attention_op, gelu_op, moe_op = fused_operations(torch)

    class Attention(dit_moe.Attention):
        def forward(self, x_BTD):
            batch, tokens, width = x_BTD.shape
            qkv = self.qkv(x_BTD.reshape(batch * tokens, width)).view(batch, tokens, 3 * width)
            mixed = attention_op.apply(*qkv.chunk(3, dim=2), self.heads)
            return self.proj(mixed.reshape(batch * tokens, width)).view(batch, tokens, width)

    class GeluMlp(dit_moe.GeluMlp):
        def forward(self, x_BTD):
            hidden = gelu_op.apply(self.fc1(x_BTD.reshape(-1, x_BTD.shape[2])))
            return self.fc2(hidden).view(x_BTD.shape)

    class Moe(torch.nn.Module):
        def __init__(self, moe):
            super().__init__()
            self.top_k, self.router = moe.top_k, moe.gate.weight
            self.shared_experts = moe.shared_experts
            self.gate_up_EGD = torch.nn.Parameter(torch.stack([
                torch.stack([expert.gate_proj.weight, expert.up_proj.weight], dim=1).flatten(0, 1)
                for expert in moe.experts]))
            self.down_EDF = torch.nn.Parameter(
                torch.stack([expert.down_proj.weight for expert in moe.experts]))

        def forward(self, x_BTD):
            x_ND = x_BTD.reshape(-1, x_BTD.shape[2])
            logits_NE = torch.nn.functional.linear(x_ND, self.router)
            routed_ND = moe_op.apply(x_ND, logits_NE, self.gate_up_EGD, self.down_EDF, self.top_k)
            # Always routed_ND. Without a later use of x_ND, ONNX Runtime 1.30 may place the output
            # of MoE over it, and the result is wrong.
            routed_ND = torch.where(torch.ones(1, dtype=torch.bool), routed_ND, x_ND)
            return (routed_ND + self.shared_experts(x_ND)).view(x_BTD.shape)

    for block in network.blocks:
        block.attn.__class__ = Attention
        if hasattr(block, "moe"):
            block.moe = Moe(block.moe)
        else:
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
    size = sum(value.numel() * value.element_size() for value in network.parameters())
    if size > MAX_BYTES:
        peer_common.die(f"{arguments.preset} has {size / 1e9:.1f} GB of weights: an ONNX file "
                        "of one piece holds 2 GB")
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
