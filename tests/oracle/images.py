"""What Pillow makes of images: the oracle for tests of formats/image and data/centre_crop.

usage: images.py FOLDER COUNT

Writes COUNT PNG and JPEG files of all kinds and random sizes into FOLDER. For each of them, and for
every other .png and .jpg that stands there already, FOLDER/expected.npz gets
  rgb/NAME    [H, W, 3] u8: convert("RGB"), but 16-bit grey by its upper 8 bits
  size/NAME   [1]: a side
  crop/NAME   [side, side, 3] u8: guided diffusion's centre crop of rgb to that side
Exit 77: Pillow or NumPy is missing.
"""

import io
import pathlib
import struct
import sys
import warnings
import zlib

try:
    import numpy as np
    from PIL import Image
except ImportError:
    sys.exit(77)

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def centre_crop(image, size):
    """As guided diffusion and DiT define it, in their order of operations."""
    while min(*image.size) >= 2 * size:
        image = image.resize(tuple(side // 2 for side in image.size), resample=Image.BOX)
    scale = size / min(*image.size)
    image = image.resize(tuple(round(side * scale) for side in image.size), resample=Image.BICUBIC)
    pixels = np.array(image)
    top = (pixels.shape[0] - size) // 2
    left = (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed_rows(samples, depth):
    """Unfiltered rows of samples [H, W, C]."""
    rows = b""
    for row in samples.reshape(samples.shape[0], -1):
        if depth == 16:
            packed = row.astype(">u2").tobytes()
        else:
            bits = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
            packed = np.packbits(bits.reshape(-1)).tobytes()
        rows += b"\0" + packed
    return rows


def png_bytes(random, samples, depth, color, interlaced):
    """A PNG of any kind that the format has; Pillow writes only some."""
    height, width, _ = samples.shape
    extra = b""
    if color == PALETTE:
        extra += chunk(b"PLTE", random.integers(0, 256, 3 << depth, dtype=np.uint8).tobytes())
    if color in (GREY, RGB, PALETTE) and random.integers(2):
        if color == PALETTE:
            data = random.integers(0, 256, 1 << depth, dtype=np.uint8).tobytes()
        else:
            data = samples[0, 0].astype(">u2").tobytes()
        extra += chunk(b"tRNS", data)
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = b""
    for x, y, step_x, step_y in passes:
        part = samples[y::step_y, x::step_x]
        if part.size:
            rows += packed_rows(part, depth)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )  # fmt: skip


def picture(random, height, width, channels, most):
    """Smooth and rough parts over the whole range of values."""
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack(
        [np.sin(x * random.uniform(0, 0.5) + y * random.uniform(0, 0.5)) for _ in range(channels)], axis=-1
    )
    noise = random.uniform(-1, 1, (height, width, channels)) * ((x // 7 + y // 5) % 2)[..., None]
    return np.clip((0.5 + 0.5 * waves + 0.4 * noise) * (most + 1), 0, most).astype(np.int64)


def random_side(random):
    """Mostly small, at times hundreds."""
    return int(random.integers(1, 600 if random.integers(6) == 0 else 90))


def write_png(random, path):
    color = int(random.choice(list(DEPTHS)))
    depth = int(random.choice(DEPTHS[color]))
    samples = picture(random, random_side(random), random_side(random), CHANNELS[color], (1 << depth) - 1)
    path.write_bytes(png_bytes(random, samples, depth, color, bool(random.integers(2))))
    return samples[:, :, 0] >> 8 if color == GREY and depth == 16 else None


def write_jpeg(random, path):
    mode = str(random.choice(["L", "RGB", "RGB", "RGB", "CMYK"]))
    channels = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    samples = picture(random, random_side(random), random_side(random), channels, 255).astype(np.uint8)
    image = Image.fromarray(samples[:, :, 0] if mode == "L" else samples, mode)
    options = {
        "quality": int(random.integers(5, 100)),
        "subsampling": int(random.integers(3)),
        "progressive": bool(random.integers(2)),
        "optimize": bool(random.integers(2)),
    }
    if random.integers(2):
        exif = Image.Exif()
        exif[0x0112] = int(random.integers(1, 9))  # orientation
        options["exif"] = exif
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    path.write_bytes(buffer.getvalue())


def main():
    folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    warnings.simplefilter("ignore")  # of palettes with transparency
    random = np.random.default_rng(1)
    own_rgb = {}
    for i in range(count):
        if random.integers(2):
            path = folder / f"{i:04}.png"
            grey = write_png(random, path)
            if grey is not None:
                own_rgb[path.name] = np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)
        else:
            write_jpeg(random, folder / f"{i:04}.jpg")
    arrays = {}
    for path in sorted(folder.iterdir()):
        if path.name in own_rgb:
            image = Image.fromarray(own_rgb[path.name])
        else:
            image = Image.open(path).convert("RGB")
        size = int(random.integers(1, 130))
        arrays["rgb/" + path.name] = np.array(image)
        arrays["size/" + path.name] = np.array([size], dtype=np.int64)
        arrays["crop/" + path.name] = centre_crop(image, size)
    np.savez(folder / "expected.npz", **arrays)


if __name__ == "__main__":
    main()
