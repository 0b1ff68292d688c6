"""Procedural scenes for segmentation: textured shapes on textured ground, one class per outline.

A scene is fully determined by its seed. Colours, sizes, rotation and lighting are drawn independently of the class. The
material (the texture) agrees with the class in `AGREE` of the shapes and is drawn at random in the others: colour says nothing
about the class, texture most of it, and the outline all of it.

    image, label = scene(seed)      # uint8 [SIZE, SIZE, 3] RGB, uint8 [SIZE, SIZE] class index

Run as a program to write scenes as PNG pairs: `python scenes.py FOLDER FIRST_SEED COUNT`.
"""

import sys
from pathlib import Path

import numpy as np

SIZE = 192
CLASSES = ["ground", "disc", "square", "triangle", "ring", "cross"]
AGREE = 0.85

# Pixel centres, x to the right and y down.
Y, X = np.mgrid[:SIZE, :SIZE].astype(np.float32) + 0.5


def outline(kind, u, v):
    """Mask of a shape in its own frame, about one unit in radius."""
    distance = np.hypot(u, v)
    larger, smaller = np.maximum(abs(u), abs(v)), np.minimum(abs(u), abs(v))
    match kind:
        case "disc":
            return distance < 0.9
        case "square":
            return larger < 0.8
        case "triangle":
            return np.maximum(v, abs(u) * np.sqrt(0.75) - v / 2) < 0.57
        case "ring":
            return (distance < 1.05) & (distance > 0.5)
        case "cross":
            return (smaller < 0.36) & (larger < 1.05)


def mottle(rng, cell):
    """Smooth noise in [0, 1]: random values on a grid of `cell` pixels, blended by smoothstep."""
    count = SIZE // cell + 3
    grid = rng.random((count, count), np.float32)
    shift = rng.random(2) * cell

    def blend(position):
        whole = (position // cell).astype(int)
        part = position / cell - whole
        return whole, part * part * (3 - 2 * part)

    (row, down), (column, right) = blend(np.arange(SIZE) + shift[0]), blend(np.arange(SIZE) + shift[1])
    rows = grid[row] * (1 - down[:, None]) + grid[row + 1] * down[:, None]
    return rows[:, column] * (1 - right) + rows[:, column + 1] * right


def material(kind, rng):
    """A texture over the whole scene: how much of the second colour each pixel takes, in [0, 1]."""
    angle, wave = rng.uniform(0, np.pi), 2 * np.pi / rng.uniform(5, 8)
    a = np.sin(wave * (X * np.cos(angle) + Y * np.sin(angle)) + rng.uniform(0, 6))
    b = np.sin(wave * (Y * np.cos(angle) - X * np.sin(angle)) + rng.uniform(0, 6))
    match kind:
        case "dots":
            return (a + b > 0.8).astype(np.float32)
        case "checks":
            return (a * b > 0).astype(np.float32)
        case "stripes":
            return (a > 0).astype(np.float32)
        case "waves":
            return 0.5 + 0.5 * np.sin(wave / 2.5 * (X * np.cos(angle) + Y * np.sin(angle)))
        case "mottled":
            return mottle(rng, 6)


MATERIAL = {"disc": "dots", "square": "checks", "triangle": "stripes", "ring": "waves", "cross": "mottled"}


def place(rng, placed):
    """Centre and radius of a new shape that overlaps the others little, or None when there is no room."""
    for _ in range(30):
        radius = rng.uniform(24, 46)
        x, y = rng.uniform(0.6 * radius, SIZE - 0.6 * radius, 2)
        if all(np.hypot(x - p, y - q) > 0.95 * (radius + r) for p, q, r in placed):
            return x, y, radius
    return None


def scene(seed, agree=AGREE):
    """The scene of one seed: (image uint8 [SIZE, SIZE, 3], label uint8 [SIZE, SIZE])."""
    rng = np.random.default_rng(seed)
    ground = rng.uniform(0.1, 0.9, 3)
    image = ground + rng.uniform(0, 0.12) * (mottle(rng, int(rng.integers(4, 40))) - 0.5)[..., None]
    label = np.zeros((SIZE, SIZE), np.uint8)
    placed = []
    for _ in range(rng.integers(3, 7)):
        position = place(rng, placed)
        if position is None:
            continue
        placed.append(position)
        x, y, radius = position
        kind = CLASSES[rng.integers(1, len(CLASSES))]
        texture = MATERIAL[kind] if rng.random() < agree else rng.choice(list(MATERIAL.values()))
        colour = rng.uniform(0.05, 0.95, 3)
        while abs(colour - ground).max() < 0.2:
            colour = rng.uniform(0.05, 0.95, 3)
        second = colour + rng.choice([-1, 1]) * rng.uniform(0.15, 0.4, 3)
        angle = rng.uniform(0, 2 * np.pi)
        u = ((X - x) * np.cos(angle) + (Y - y) * np.sin(angle)) / radius
        v = ((Y - y) * np.cos(angle) - (X - x) * np.sin(angle)) / radius
        mask = outline(kind, u, v)
        share = material(texture, rng)[mask][:, None]
        image[mask] = colour * (1 - share) + second * share
        label[mask] = CLASSES.index(kind)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.35)
    light = 1 + strength * ((X / SIZE - 0.5) * np.cos(angle) + (Y / SIZE - 0.5) * np.sin(angle))
    noise = rng.uniform(0.005, 0.04) * rng.standard_normal(image.shape)
    image = np.clip(image * light[..., None] + noise, 0, 1)
    return np.round(image * 255).astype(np.uint8), label


if __name__ == "__main__":
    from PIL import Image

    folder, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image, label = scene(first + index)
        Image.fromarray(image).save(folder / f"scene-{index:02}.png", optimize=True)
        Image.fromarray(label).save(folder / f"scene-{index:02}.labels.png", optimize=True)
