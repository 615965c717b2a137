#!/usr/bin/python3
"""The autoencoder of latent diffusion (AutoencoderKL) in PyTorch, from CompVis' tensor names.

As a program: times it on Stable Diffusion's shape with random weights, a peer for `ditmoe bench vae`.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

GROUPS = 32


def tensor_shapes(ch, ch_mult, num_res_blocks, z, latent, image_channels=3, quant=True,
                  middle_attention=True, level_attention=()):
    """{name: shape} of every tensor."""
    shapes = {}

    def conv(name, inputs, outputs, kernel):
        shapes[name + ".weight"] = (outputs, inputs, kernel, kernel)
        shapes[name + ".bias"] = (outputs,)

    def norm(name, channels):
        shapes[name + ".weight"] = (channels,)
        shapes[name + ".bias"] = (channels,)

    def block(name, inputs, outputs):
        norm(name + ".norm1", inputs)
        conv(name + ".conv1", inputs, outputs, 3)
        norm(name + ".norm2", outputs)
        conv(name + ".conv2", outputs, outputs, 3)
        if inputs != outputs:
            conv(name + ".nin_shortcut", inputs, outputs, 1)

    def attention(name, channels):
        norm(name + ".norm", channels)
        for part in ("q", "k", "v", "proj_out"):
            conv(f"{name}.{part}", channels, channels, 1)

    def middle(name, channels):
        block(name + ".block_1", channels, channels)
        if middle_attention:
            attention(name + ".attn_1", channels)
        block(name + ".block_2", channels, channels)

    widths = [ch * mult for mult in ch_mult]
    conv("encoder.conv_in", image_channels, ch, 3)
    channels = ch
    for level, width in enumerate(widths):
        for i in range(num_res_blocks):
            block(f"encoder.down.{level}.block.{i}", channels, width)
            channels = width
            if level in level_attention:
                attention(f"encoder.down.{level}.attn.{i}", width)
        if level < len(widths) - 1:
            conv(f"encoder.down.{level}.downsample.conv", width, width, 3)
    middle("encoder.mid", channels)
    norm("encoder.norm_out", channels)
    conv("encoder.conv_out", channels, 2 * z, 3)
    if quant:
        conv("quant_conv", 2 * z, 2 * latent, 1)
        conv("post_quant_conv", latent, z, 1)
    conv("decoder.conv_in", z, channels, 3)
    middle("decoder.mid", channels)
    for level in reversed(range(len(widths))):
        for i in range(num_res_blocks + 1):
            block(f"decoder.up.{level}.block.{i}", channels, widths[level])
            channels = widths[level]
            if level in level_attention:
                attention(f"decoder.up.{level}.attn.{i}", channels)
        if level > 0:
            conv(f"decoder.up.{level}.upsample.conv", channels, channels, 3)
    norm("decoder.norm_out", channels)
    conv("decoder.conv_out", channels, image_channels, 3)
    return shapes


def random_weights(shapes, seed):
    """Matrices that keep the size of maps, norms near 1, vectors near 0."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            values /= values[0].numel() ** 0.5
        elif name.endswith("weight"):
            values = 1 + 0.1 * values
        else:
            values *= 0.1
        weights[name] = values
    return weights


class Autoencoder:
    def __init__(self, weights):
        self.weights = weights
        self.levels = sum(f"encoder.down.{i}.block.0.conv1.weight" in weights for i in range(16))

    def has(self, name):
        return name + ".weight" in self.weights

    def conv(self, name, x, stride=1, padding=None):
        weight = self.weights[name + ".weight"]
        padding = weight.shape[2] // 2 if padding is None else padding
        return F.conv2d(x, weight, self.weights[name + ".bias"], stride, padding)

    def norm(self, name, x):
        return F.group_norm(x, GROUPS, self.weights[name + ".weight"],
                            self.weights[name + ".bias"], eps=1e-6)

    def block(self, name, x):
        h = self.conv(name + ".conv1", F.silu(self.norm(name + ".norm1", x)))
        h = self.conv(name + ".conv2", F.silu(self.norm(name + ".norm2", h)))
        return (self.conv(name + ".nin_shortcut", x) if self.has(name + ".nin_shortcut") else x) + h

    def attention(self, name, x):
        if not self.has(name + ".norm"):
            return x
        normed = self.norm(name + ".norm", x)
        q, k, v = (self.conv(f"{name}.{part}", normed).flatten(2) for part in "qkv")
        weights = torch.softmax(q.transpose(1, 2) @ k * x.shape[1] ** -0.5, dim=-1)
        attended = (v @ weights.transpose(1, 2)).reshape(x.shape)
        return x + self.conv(name + ".proj_out", attended)

    def level(self, name, x):
        i = 0
        while self.has(f"{name}.block.{i}.conv1"):
            x = self.block(f"{name}.block.{i}", x)
            x = self.attention(f"{name}.attn.{i}", x)
            i += 1
        return x

    def middle(self, name, x):
        x = self.block(name + ".block_1", x)
        x = self.attention(name + ".attn_1", x)
        return self.block(name + ".block_2", x)

    def encode(self, x):
        """Mean and clamped logarithm of the variance."""
        x = self.conv("encoder.conv_in", x)
        for i in range(self.levels):
            x = self.level(f"encoder.down.{i}", x)
            if i < self.levels - 1:
                x = F.pad(x, (0, 1, 0, 1))
                x = self.conv(f"encoder.down.{i}.downsample.conv", x, stride=2, padding=0)
        x = self.middle("encoder.mid", x)
        x = self.conv("encoder.conv_out", F.silu(self.norm("encoder.norm_out", x)))
        if self.has("quant_conv"):
            x = self.conv("quant_conv", x)
        mean, logvar = x.chunk(2, dim=1)
        return mean, logvar.clamp(-30, 20)

    def decode(self, z):
        if self.has("post_quant_conv"):
            z = self.conv("post_quant_conv", z)
        x = self.middle("decoder.mid", self.conv("decoder.conv_in", z))
        for i in reversed(range(self.levels)):
            x = self.level(f"decoder.up.{i}", x)
            if i > 0:
                x = self.conv(f"decoder.up.{i}.upsample.conv", F.interpolate(x, scale_factor=2.0))
        return self.conv("decoder.conv_out", F.silu(self.norm("decoder.norm_out", x)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="height and width of the image")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--encode", action="store_true")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    dtype = torch.float32 if arguments.dtype == "f32" else torch.bfloat16
    layout = torch.channels_last if arguments.channels_last else torch.contiguous_format
    shapes = tensor_shapes(128, (1, 2, 4, 4), 2, 4, 4)
    weights = {name: value.to(dtype).contiguous(memory_format=layout) if value.dim() == 4
               else value.to(dtype) for name, value in random_weights(shapes, 0).items()}
    vae = Autoencoder(weights)
    side = arguments.size // 8
    shape = (1, 3, arguments.size, arguments.size) if arguments.encode else (1, 4, side, side)
    x = torch.randn(shape).to(dtype).contiguous(memory_format=layout)
    run = vae.encode if arguments.encode else vae.decode
    times = []
    with torch.no_grad():
        run(x)
        for _ in range(arguments.repetitions):
            start = time.perf_counter()
            run(x)
            times.append(1e3 * (time.perf_counter() - start))
    print(f"median {statistics.median(times):.0f} ms, fastest {min(times):.0f} ms")


if __name__ == "__main__":
    main()
