#!/usr/bin/python3
"""Times one forward of the project's own PyTorch network (tests/oracle/dit_moe.py).

Random weights and inputs; tokens sorted by expert, one product per expert. The environment decides
how OpenBLAS and OpenMP behave: compare_pytorch.py sets it. Prints one JSON object.
"""

import argparse
import ctypes
import sys
import time

import peer_common


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", help="S/2-8E2A and the like; S/2 for a dense DiT")
    parser.add_argument("--batch", type=int, default=8, help="images in a forward (%(default)s)")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--threads", type=int, default=0,
                        help="torch.set_num_threads; 0 leaves PyTorch's default")
    parser.add_argument("--linear", choices=("default", "onednn"), default="default",
                        help="onednn: torch.utils.mkldnn.to_mkldnn of every nn.Linear (f32 only; "
                        "PyTorch then multiplies with oneDNN, not with OpenBLAS)")
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--out", help="write the JSON here, not to standard output")
    arguments = parser.parse_args()
    if min(arguments.batch, arguments.repetitions) < 1 or arguments.threads < 0:
        peer_common.die("--batch and --repetitions start at 1, --threads at 0")
    if arguments.linear == "onednn" and arguments.dtype != "f32":
        peer_common.die("--linear onednn goes with --dtype f32: bf16 products are oneDNN's anyway")
    return arguments


def import_torch():
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(peer_common.ORACLE))
    try:
        import numpy  # noqa: F401  pylint: disable=unused-import
        import torch
    except ImportError as error:
        peer_common.die(f"{error}: install the Debian packages python3-torch and python3-numpy "
                        "(libopenblas0-pthread too), and start this with /usr/bin/python3")
    import dit_moe
    return torch, dit_moe


def openblas_core():
    """The name of the kernels that OpenBLAS chose, or None where it cannot be asked."""
    try:
        library = ctypes.CDLL("libopenblas.so.0")
        library.openblas_get_corename.restype = ctypes.c_char_p
        return library.openblas_get_corename().decode()
    except (OSError, AttributeError):
        return None


def product_error(torch, dtype, width):
    """Relative error of a product of the network's size: old OpenBLAS fails on some new CPUs."""
    a = torch.randn(96, width).to(dtype)
    b = torch.randn(4 * width, width).to(dtype)
    actual = torch.nn.functional.linear(a, b)[:8].double()
    # Element by element: a reference through dgemm could be wrong in the same way.
    expected = (a[:8].double().unsqueeze(1) * b.double()).sum(dim=2)
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def build_network(torch, dit_moe, arguments):
    torch.manual_seed(0)
    network = dit_moe.Dit(dit_moe.DitConfig(**peer_common.preset_fields(arguments.preset))).eval()
    if arguments.dtype == "bf16":
        network = network.bfloat16()
        # The embedding of time is computed in f32 and has to meet the weights' type.
        network.t_embedder.mlp.register_forward_pre_hook(
            lambda _, inputs: tuple(value.bfloat16() for value in inputs))
    if arguments.linear == "onednn":
        from torch.utils import mkldnn
        network = mkldnn.to_mkldnn(network)
        # to_mkldnn also converts the convolution, whose input would have to be converted too.
        network.x_embedder = dit_moe.PatchEmbedder(network.config).eval()
    return network


def largest_share(network):
    """The largest expert's part of all choices, mean over layers; 1/E is perfect balance."""
    shares = [layer.route_index.flatten().bincount().max().item() / layer.route_index.numel()
              for layer in network.moe_layers()]
    return round(sum(shares) / len(shares), 4) if shares else None


def measure(network, inputs, arguments):
    seconds = []
    for index in range(arguments.warmup + arguments.repetitions):
        begin = time.perf_counter()
        out = network(*inputs)
        if index >= arguments.warmup:
            seconds.append(time.perf_counter() - begin)
    return seconds, out


def main():
    arguments = parse_arguments()
    torch, dit_moe = import_torch()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    dtype = torch.bfloat16 if arguments.dtype == "bf16" else torch.float32
    with torch.inference_mode():
        network = build_network(torch, dit_moe, arguments)
        config = network.config
        error = product_error(torch, dtype, config.width)
        if not error < (2e-2 if arguments.dtype == "bf16" else 1e-4):
            peer_common.die(f"products are wrong here (relative error {error:.1e}): OpenBLAS's "
                            f"kernels '{openblas_core()}' do not work on this CPU")
        x = torch.randn(arguments.batch, config.channels, config.image_size, config.image_size)
        t = torch.rand(arguments.batch) * 1000
        y = torch.randint(config.num_classes, (arguments.batch,))
        seconds, out = measure(network, (x.to(dtype), t, y), arguments)
        if not torch.isfinite(out.float()).all():
            peer_common.die("the output is not finite")
    peer_common.write_result({
        "implementation": "pytorch", "preset": arguments.preset, "batch": arguments.batch,
        "dtype": arguments.dtype, "threads": torch.get_num_threads(), "linear": arguments.linear,
        "repetitions": arguments.repetitions, **peer_common.summary_ms(seconds),
        "largest_expert_share": largest_share(network), "product_error": error,
        "versions": {"torch": torch.__version__, "openblas_core": openblas_core(),
                     "python": sys.version.split()[0]},
    }, arguments.out)


if __name__ == "__main__":
    main()
