#!/usr/bin/python3
"""Trains a model file for a few steps on given inputs and writes each step's loss.

README.md beside this file says what the arrays are. Exits 77 where PyTorch or NumPy is missing.
"""

import argparse
import pathlib
import sys

try:
    import numpy as np
    import torch
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

import diffusion
import dit_moe


def train(model, io, learning_rate):
    """One AdamW step per entry of the arrays; returns the losses before each step."""
    schedule = diffusion.Schedule.linear()
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0)
    losses = []
    for x_start, t, y, noise in zip(io["x_start"], io["t"], io["y"], io["noise"]):
        if model.config.objective == "rf":
            per_image = diffusion.flow_losses(model, x_start, t.float(), y, noise)
        else:
            per_image = sum(diffusion.ddpm_losses(model, schedule, x_start, t.long(), y, noise))
        loss = per_image.mean() + sum(model.balance_losses())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="safetensors file")
    parser.add_argument("--config", type=pathlib.Path,
                        help="config.json of tests/data; default: the file's ditmoe.config")
    parser.add_argument("--in", dest="input", type=pathlib.Path, required=True, help="npz")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="npz to write")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--objective", choices=["ddpm", "rf"], help="default: the model's")
    parser.add_argument("--balance-factor", type=float, help="default: the model's")
    parser.add_argument("--balance-pool", choices=["sequence", "batch"],
                        help="default: the model's; batch for tests/data")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    config = dit_moe.config_from_description(arguments.config) if arguments.config else None
    overrides = {name: getattr(arguments, name)
                 for name in ("objective", "balance_factor", "balance_pool")
                 if getattr(arguments, name) is not None}
    model = dit_moe.load_model(arguments.model, config, **overrides)
    with np.load(arguments.input) as archive:
        io = {name: torch.from_numpy(archive[name]) for name in ("x_start", "t", "y", "noise")}
    io["y"] = io["y"].long()
    np.savez(arguments.out, losses=np.array(train(model, io, arguments.lr), np.float32))
    return 0


if __name__ == "__main__":
    sys.exit(main())
