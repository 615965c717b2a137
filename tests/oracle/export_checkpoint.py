#!/usr/bin/python3
"""Writes the weights of a PyTorch checkpoint to safetensors: original names, f32, no metadata.

Takes the state dict under "ema", "model" or "state_dict" where there is one, else the checkpoint
itself.
"""

import argparse
import pathlib

import torch

from safetensors_io import write_safetensors


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=pathlib.Path, help="a .pt file of a trusted source")
    parser.add_argument("output", type=pathlib.Path)
    arguments = parser.parse_args()
    checkpoint = torch.load(arguments.checkpoint, map_location="cpu")
    names = [name for name in ("ema", "model", "state_dict") if name in checkpoint]
    weights = checkpoint[names[0]] if names else checkpoint
    write_safetensors(arguments.output,
                      {name: value.float().numpy() for name, value in weights.items()})


if __name__ == "__main__":
    main()
