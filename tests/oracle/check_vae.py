#!/usr/bin/python3
"""Compares `ditmoe probe vae` with the autoencoder in PyTorch, on shapes that differ in every way, from
every kind of file.

usage: check_vae.py DITMOE      exit code 77 where there is no PyTorch
"""

import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
except ImportError:
    sys.exit(77)

from safetensors_io import write_safetensors
from vae import Autoencoder, random_weights, tensor_shapes

TOLERANCE = 2e-5  # of the largest magnitude

# What the network is, then height and width of the latents. A norm over groups of two values, as
# 64 channels of one pixel would be, passes on their difference only: rounding may grow to anything.
CASES = [
    (dict(ch=32, ch_mult=(1, 2), num_res_blocks=1, z=4, latent=4), 5, 3),
    (dict(ch=64, ch_mult=(1, 3, 2), num_res_blocks=2, z=3, latent=6), 1, 1),
    (dict(ch=64, ch_mult=(1,), num_res_blocks=1, z=2, latent=2, image_channels=1), 13, 30),
    (dict(ch=32, ch_mult=(2, 1, 1, 2), num_res_blocks=1, z=16, latent=16, quant=False), 3, 4),
    (dict(ch=32, ch_mult=(1, 2, 2), num_res_blocks=2, z=4, latent=3, level_attention=(1, 2)), 4, 7),
    (dict(ch=96, ch_mult=(1, 1), num_res_blocks=3, z=4, latent=4, middle_attention=False), 9, 2),
    (dict(ch=32, ch_mult=(1, 1), num_res_blocks=1, z=4, latent=4), 24, 31),
]


def write_checkpoint(folder, weights, index):
    """In turn: safetensors, a diffusion model's checkpoint by PyTorch Lightning, a bare state dict."""
    if index % 3 == 0:
        write_safetensors(folder / "vae.safetensors", {k: v.numpy() for k, v in weights.items()})
        return folder / "vae.safetensors"
    if index % 3 == 1:
        whole = {f"first_stage_model.{name}": value for name, value in weights.items()}
        whole["model.diffusion_model.out.0.weight"] = torch.zeros(3)
        torch.save({"epoch": 3, "global_step": 7, "state_dict": whole}, folder / "model.ckpt")
        return folder / "model.ckpt"
    torch.save(weights, folder / "vae.pt")
    return folder / "vae.pt"


def run_case(program, folder, index, shape, height, width):
    weights = random_weights(tensor_shapes(**shape), index)
    file = write_checkpoint(folder, weights, index)
    generator = torch.Generator().manual_seed(100 + index)
    factor = 2 ** (len(shape["ch_mult"]) - 1)
    image = torch.randn((2, shape.get("image_channels", 3), height * factor, width * factor),
                        generator=generator)
    latent = torch.randn((3, shape["latent"], height, width), generator=generator)
    # In f64: expected values in f32 would be off by as much as what is compared, and that by CPU.
    vae = Autoencoder({name: value.double() for name, value in weights.items()})
    with torch.no_grad():
        mean, logvar = vae.encode(image.double())
        expected = {"mean": mean, "logvar_clamped": logvar, "decoded": vae.decode(latent.double())}
    np.savez(folder / "io.npz", image=image.numpy(), latent=latent.numpy())
    subprocess.run([program, "probe", "vae", file, "--in", folder / "io.npz",
                    "--out", folder / "o.npz", "--threads", "2"], check=True)
    faults = []
    with np.load(folder / "o.npz") as found:
        for name, values in expected.items():
            values = values.numpy()
            if found[name].shape != values.shape:
                faults.append(f"{shape}: {name} is {found[name].shape}, expected {values.shape}")
                continue
            error = np.abs(found[name] - values).max() / np.abs(values).max()
            if not error <= TOLERANCE:
                faults.append(f"{shape}, {height}x{width}: {name} differs by {error:.2e}")
    return faults


def main():
    torch.set_num_threads(1)
    program = sys.argv[1]
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        for index, (shape, height, width) in enumerate(CASES):
            faults += run_case(program, pathlib.Path(folder), index, shape, height, width)
    print("\n".join(faults) or f"{len(CASES)} autoencoders agree")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
