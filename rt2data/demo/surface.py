"""Make table tops and walls of the demo world, as images from a seed.

Noise comes from the raw bits of PCG64, whose stream NumPy guarantees, and is smoothed by Pillow's integer arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

_WALLS = ((206, 208, 212), (222, 212, 196), (186, 198, 206), (198, 204, 188), (148, 158, 174), (214, 198, 190))
_FURNITURE = ((92, 74, 60), (236, 236, 232), (74, 88, 104), (132, 96, 74), (106, 128, 104), (60, 62, 70))
TABLES = ("oak", "walnut", "birch", "slate", "linen", "mat")


def make_noise(seed: int, width: int, height: int, cells: tuple[int, int]) -> Image.Image:
    """Make a grey image of smooth noise with `cells` random values across and down."""
    across, down = cells
    raw = np.random.PCG64(seed).random_raw((across * down + 7) // 8).view(np.uint8)[: across * down]
    small = Image.fromarray(raw.reshape(down, across))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def mix_images(images: Sequence[tuple[Image.Image, float]]) -> Image.Image:
    """Return the weighted mean of grey images."""
    (mean, total), *rest = images
    for image, weight in rest:
        total += weight
        mean = Image.blend(mean, image, weight / total)
    return mean


def colour_image(grey: Image.Image, dark: Sequence[int], light: Sequence[int], contrast: float = 1.0) -> Image.Image:
    """Map grey 0..255 to colours from dark to light."""
    bands = []
    for a, b in zip(dark, light, strict=True):
        table = [int(a + (b - a) * max(0.0, min(1.0, 0.5 + (v - 127.5) / 255 * contrast)) + 0.5) for v in range(256)]
        bands.append(grey.point(table))
    return Image.merge("RGB", bands)


def _planks(seed: int, size: int, dark: Sequence[int], light: Sequence[int], width: int) -> Image.Image:
    """Make boards side by side, their grain along x."""
    rng = Random(seed)
    grain = mix_images(
        [
            (make_noise(seed + 1, size, size, (5, 180)), 1.0),
            (make_noise(seed + 2, size, size, (12, 400)), 0.7),
            (make_noise(seed + 3, size, size, (50, 500)), 0.3),
            (make_noise(seed + 4, size, size, (3, 40)), 1.0),
        ]
    )
    tone = Image.new("L", (size, size), 255)
    shade = ImageDraw.Draw(tone)
    seams: list[tuple[int, int, int, int]] = []
    for y in range(0, size, width):
        x = -rng.randrange(size // 2)
        while x < size:
            length = rng.randrange(size // 3, size // 2 + size // 5)
            shade.rectangle((x, y, x + length - 1, y + width - 1), fill=rng.randrange(214, 256))
            seams.append((x, y, x, y + width))
            x += length
        seams.append((0, y, size, y))
    table = ImageChops.multiply(colour_image(grain, dark, light, 1.7), Image.merge("RGB", (tone, tone, tone)))
    draw = ImageDraw.Draw(table)
    line = tuple(int(c * 0.62) for c in dark)
    for seam in seams:
        draw.line(seam, fill=line, width=2)
    return table


def make_table_top(style: str, seed: int, size: int) -> Image.Image:
    """Make a square texture, (size, size) RGB, of the named style."""
    if style == "oak":
        return _planks(seed, size, (150, 104, 62), (214, 168, 116), size // 9)
    if style == "walnut":
        return _planks(seed, size, (78, 52, 38), (132, 94, 70), size // 8)
    if style == "birch":
        return _planks(seed, size, (196, 172, 138), (236, 216, 184), size // 5)
    fine = make_noise(seed, size, size, (size, size))
    cloud = make_noise(seed + 1, size, size, (9, 9))
    if style == "slate":
        stone = mix_images([(cloud, 1.0), (make_noise(seed + 2, size, size, (90, 90)), 0.6), (fine, 0.2)])
        return colour_image(stone, (66, 74, 84), (108, 116, 124), 1.6)
    if style == "linen":
        warp, weft = (size // 4, 90), (90, size // 4)
        threads = [
            (make_noise(seed + 2, size, size, warp), 1.0),
            (make_noise(seed + 3, size, size, weft), 1.0),
            (cloud, 1.0),
        ]
        return colour_image(mix_images(threads), (196, 193, 186), (226, 223, 215), 1.6)
    mat = colour_image(mix_images([(cloud, 1.0), (fine, 0.25)]), (30, 92, 88), (50, 122, 114), 1.2)
    draw = ImageDraw.Draw(mat)
    step = size // 24
    for i in range(0, size, step):
        tone, width = ((104, 164, 152), 2) if i // step % 4 == 0 else ((64, 132, 122), 1)
        draw.line((i, 0, i, size), fill=tone, width=width)
        draw.line((0, i, size, i), fill=tone, width=width)
    return mat


def make_wall(rng: Random, width: int, height: int) -> Image.Image:
    """Make what is behind the table, out of focus: a wall and furniture. It is made small and enlarged, for speed."""
    w, h = width // 4, height // 4
    top = rng.choice(_WALLS)
    low = tuple(int(c * rng.uniform(0.72, 0.86)) for c in top)
    mask = Image.linear_gradient("L").resize((w, h))
    image = Image.composite(Image.new("RGB", (w, h), low), Image.new("RGB", (w, h), top), mask)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randrange(3, 7)):
        x, across = rng.uniform(-0.1, 1.0) * w, rng.uniform(0.06, 0.28) * w
        y, down = rng.uniform(-0.2, 0.1) * h, rng.uniform(0.1, 0.5) * h
        draw.rectangle((x, y, x + across, y + down), fill=rng.choice(_FURNITURE))
    return image.filter(ImageFilter.GaussianBlur(3)).resize((width, height), Image.Resampling.BILINEAR)
