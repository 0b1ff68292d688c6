"""Train the reduced ATD-light with Pure-Pass, write its weights, and measure them on held-out photos.

    python train.py                 train, write the weights, measure
    python train.py --check         only measure the weights that are there
    python train.py --steps 500     a short try (writes nothing)

Everything is seeded; on one machine, with one number of threads, two runs give the same weights.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from model import Atd, load, mirror, pure_mask, save
from photos import HELD_OUT, TRAINING, cubic, pair, photo, psnr_y, resize

WEIGHTS = Path(__file__).resolve().parents[2] / "cli" / "assets" / "atd-x2.safetensors"
SCALE = 2
CONFIG = {
    "scale": SCALE, "window": 8, "group": 64, "heads": 2, "pure_pass": {"colors": 16, "window": 8, "comp": "v"},
}  # fmt: skip
WIDTH, LAYERS, TOKENS, REDUCED, DEPTHWISE = 32, (2, 2), 32, 6, 5
STEPS, RATE, PATCH, BATCH = 9000, 2e-3, 32, 4
PLAIN = 0.25  # share of the steps without Pure-Pass, so that the comparison with and without is fair
EVERY = 500  # steps between checkpoints


def new_model():
    torch.manual_seed(0)
    model = Atd(CONFIG, WIDTH, LAYERS, TOKENS, REDUCED, DEPTHWISE)
    start_bicubic(model)
    return model


@torch.no_grad()
def start_bicubic(model):
    """Let the first and the last convolution together be bicubic upscaling, which the network then improves on.

    A phase of bicubic x2 has four taps: a cubic polynomial, which is a quadratic times a linear one, that is a convolution
    of 3 taps after one of 2. One channel for each colour and phase.
    """
    taps = cubic(np.array([1.75, 0.75, 0.25, 1.25]))  # at -2, -1, 0, 1 from the pixel, for the first phase
    roots = np.roots(taps[::-1])
    root = roots[np.abs(roots.imag).argmin()].real
    linear = np.array([-root, 1.0]) / (1 - root)
    quadratic, rest = np.polydiv(taps[::-1], linear[::-1])
    assert np.abs(rest).max() < 1e-12
    first, last = quadratic[::-1], np.append(linear, 0.0)
    phases = [(first, last), (first[::-1], last[::-1])]
    model.up_w *= 0.1
    for color in range(3):
        for dy, (first_y, last_y) in enumerate(phases):
            for dx, (first_x, last_x) in enumerate(phases):
                channel = (color * 2 + dy) * 2 + dx
                model.first_w[channel], model.up_w[channel, :12], model.up_w[channel, 12:] = 0, 0, 0
                model.first_w[channel, color] = torch.from_numpy(np.outer(first_y, first_x))
                model.up_w[channel, channel] = torch.from_numpy(np.outer(last_y, last_x))


def training_pairs():
    """[(low, high, detail)] of every training photo and size; detail is the squared error of bicubic."""
    pairs = []
    for path, sizes in TRAINING.items():
        for size in sizes:
            image = photo(path) if size == 1 else resize(photo(path), size)
            low, high = pair(image, SCALE)
            error = (resize(low, SCALE).astype(np.float32) - high) ** 2
            pairs.append((low, high, error.mean(2)))
    return pairs


def crop(rng, pairs, chances):
    """One patch: of two places of a random photo the one with more detail; turned, mirrored, colours in any order."""
    low, high, detail = pairs[rng.choice(len(pairs), p=chances)]
    tops, lefts = (rng.integers(0, side - PATCH + 1, 2) for side in low.shape[:2])
    places = [(slice(t, t + PATCH), slice(l, l + PATCH)) for t, l in zip(tops, lefts)]
    larger = [(slice(t * SCALE, (t + PATCH) * SCALE), slice(l * SCALE, (l + PATCH) * SCALE)) for t, l in zip(tops, lefts)]
    best = int(np.argmax([detail[place].mean() for place in larger]))
    turn, mirror, order = rng.integers(4), rng.integers(2), rng.permutation(3)
    patches = []
    for image, place in ((low, places[best]), (high, larger[best])):
        patch = np.rot90(image[place], turn)[..., order]
        patches.append(np.ascontiguousarray(patch[:, ::-1] if mirror else patch))
    return patches


def to_tensor(images):
    """uint8 [H, W, 3] each -> f32 [B, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def train(model, steps, keep):
    """Minimise the mean absolute error. With `keep` the weights are written every EVERY steps."""
    rng = np.random.default_rng(0)
    pairs = training_pairs()
    chances = np.sqrt([low.shape[0] * low.shape[1] for low, _, _ in pairs])
    chances /= chances.sum()
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE, betas=(0.9, 0.99))
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(pairs)} pictures", flush=True)
    start, total = time.time(), 0.0
    for step in range(steps):
        rate = RATE * min(1.0, (step + 1) / 100) * (0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        low, high = zip(*(crop(rng, pairs, chances) for _ in range(BATCH)))
        loss = F.l1_loss(model(to_tensor(low), rng.random() >= PLAIN), to_tensor(high))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimiser.step()
        total += loss.item()
        if (step + 1) % 250 == 0:
            print(f"step {step + 1:5}  loss {total / 250 * 255:.4f}  {time.time() - start:.0f} s", flush=True)
            total = 0.0
        if keep and (step + 1) % EVERY == 0:
            save(model, WEIGHTS, {"steps": step + 1, "of": steps})
    return model.eval()


@torch.no_grad()
def upscale(model, low, pure_pass):
    """uint8 [h, w, 3] -> uint8 [2h, 2w, 3]."""
    out = model(to_tensor([low]), pure_pass)[0].permute(1, 2, 0)
    return (out.clamp(0, 1) * 255 + 0.5).floor().to(torch.uint8).numpy()


def report(model):
    """PSNR of the held-out photos, printed and returned."""
    pure = model.config["pure_pass"]
    rows = []
    print("photo          bicubic    ATD with Pure-Pass    without    pure pixels")
    for name, path in HELD_OUT.items():
        low, high = pair(photo(path), SCALE)
        results = [resize(low, SCALE), upscale(model, low, True), upscale(model, low, False)]
        mask = pure_mask(mirror(to_tensor([low]), model.config["window"]), pure["colors"], pure["window"])
        rows.append([psnr_y(result, high, SCALE) for result in results] + [100 * mask.float().mean().item()])
        print("{:12} {:9.2f} {:21.2f} {:10.2f} {:12.1f} %".format(name, *rows[-1]), flush=True)
    mean = np.mean(rows, 0)
    print("{:12} {:9.2f} {:21.2f} {:10.2f} {:12.1f} %".format("mean", *mean), flush=True)
    keys = ("bicubic", "pure_pass", "plain", "pure_percent")
    named = dict(zip([*HELD_OUT, "mean"], [*rows, mean]))
    return {name: dict(zip(keys, (round(float(v), 2) for v in row))) for name, row in named.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.check:
        report(load(WEIGHTS)[0])
    elif args.steps:
        report(train(new_model(), args.steps, keep=False))
    else:
        save(train(new_model(), STEPS, keep=True), WEIGHTS, {})
        rounded, _ = load(WEIGHTS)  # the figures are those of the f16 weights
        figures = report(rounded)
        save(rounded, WEIGHTS, {"steps": STEPS, "psnr_y": figures})


if __name__ == "__main__":
    main()
