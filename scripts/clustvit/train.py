"""Train the small ClustViT on procedural scenes, write its weights, and measure them on held-out scenes.

    python train.py                   train, write the weights and the held-out scenes, measure
    python train.py --check           only measure the weights that are there (--agree 1: every texture is its class's)
    python train.py --more 5000       go on from the weights that are there, on new scenes, and write them again
    python train.py --steps 300       a short try (writes nothing)

Everything is seeded; on one machine, with one number of threads, two runs should give the same weights.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from model import EPS, HEAD_EPS, ClustViT, load, save
from scenes import AGREE, CLASSES, SIZE, scene

ASSETS = Path(__file__).resolve().parents[2] / "cli" / "assets"
WEIGHTS = ASSETS / "clustvit-scenes.safetensors"
PATCH, WIDTH, DEPTH, HEADS, INJECT, CLUSTERS, HIDDEN, HEAD_DEPTH = 8, 96, 5, 3, 2, 3, 192, 1
HELD_OUT, SHIPPED, MEASURED = 1_000_000, 16, 256  # first seed, scenes shipped, scenes measured
SCENES = 4000  # scenes rendered for training
CROP, CROP_BATCH, FULL_BATCH = 128, 16, 8
PLAIN = 0.25  # share of the steps with merging off, so that the plain model is trained too

CONFIG = {
    "patch": PATCH, "heads": HEADS, "ip": INJECT, "K": CLUSTERS, "eps": EPS, "gate": "image",
    "head": {"heads": HEADS, "eps": HEAD_EPS}, "image": SIZE, "classes": CLASSES,
    "normalise": {"mean": 127.5, "scale": 127.5}, "upsampling": "bilinear, half-pixel centres",
}  # fmt: skip


def render(first, count, agree=AGREE):
    """Scenes of consecutive seeds: (images uint8 [count, H, W, 3], labels uint8 [count, H, W])."""
    images, labels = zip(*(scene(first + i, agree) for i in range(count)))
    return np.stack(images), np.stack(labels)


def normalise(images):
    """uint8 [B, H, W, 3] -> f32 [B, 3, H, W] in [-1, 1]."""
    return (torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() - 127.5) / 127.5


def pseudo_labels(labels):
    """Cluster ids to aim at, [B, N]: the K classes that cover most one-class patches of an image are 1..K, in order."""
    batch, height, width = labels.shape
    cells = labels.reshape(batch, height // PATCH, PATCH, width // PATCH, PATCH).transpose(0, 1, 3, 2, 4)
    cells = cells.reshape(batch, -1, PATCH * PATCH)
    value = np.where(cells.min(-1) == cells.max(-1), cells[..., 0], len(CLASSES))
    target = np.zeros(value.shape, np.int64)
    for b in range(batch):
        cover = np.bincount(value[b], minlength=len(CLASSES) + 1)[: len(CLASSES)]
        for rank, kind in enumerate(np.argsort(-cover, kind="stable")[:CLUSTERS]):
            target[b, value[b] == kind] = rank + 1
    return torch.from_numpy(target)


def batch_of(rng, images, labels, size, count):
    """A random batch, each scene turned or mirrored; all are cropped to `size` pixels at one random patch corner."""
    corner = rng.integers(0, (SIZE - size) // PATCH + 1, 2)
    top, left = corner * PATCH
    picked_images, picked_labels = [], []
    for index in rng.integers(0, len(images), count):
        turn, mirror = rng.integers(4), rng.integers(2)
        image, label = np.rot90(images[index], turn), np.rot90(labels[index], turn)
        if mirror:
            image, label = image[:, ::-1], label[:, ::-1]
        picked_images.append(image[top : top + size, left : left + size])
        picked_labels.append(label[top : top + size, left : left + size])
    return normalise(np.stack(picked_images)), np.stack(picked_labels), tuple(corner)


def full_size(scores):
    """Class scores per patch -> per pixel, bilinear with half-pixel centres."""
    return F.interpolate(scores, scale_factor=PATCH, mode="bilinear", align_corners=False)


def new_model():
    torch.manual_seed(0)
    return ClustViT(SIZE, PATCH, WIDTH, DEPTH, HEADS, INJECT, CLUSTERS, HIDDEN, len(CLASSES), HEAD_DEPTH)


def train(model, steps, crop_steps, warm_steps, rate, scenes, before=0, keep=False):
    """Minimise CE(segmentation) + 0.1 CE(clusters): first on crops, then on whole scenes.

    Merging is off for `warm_steps`. `before` counts the steps of an earlier run and is the first seed of the scenes. With
    `keep` the weights are written every 500 steps, so that a long run can be measured (`--check`) meanwhile.
    """
    rng = np.random.default_rng(before)
    images, labels = render(before, scenes)
    model.train()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {scenes} scenes", flush=True)
    start, sums = time.time(), np.zeros(4)
    for step in range(steps):
        whole = step >= crop_steps
        size, count = (SIZE, FULL_BATCH) if whole else (CROP, CROP_BATCH)
        for group in optimiser.param_groups:
            warm = min(1.0, (step + 1) / 200)
            group["lr"] = rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        image, label, corner = batch_of(rng, images, labels, size, count)
        merging = step >= warm_steps and rng.random() >= PLAIN
        scores, logits, kept = model(image, merging, corner)
        segmentation = F.cross_entropy(full_size(scores), torch.from_numpy(label).long())
        cluster = F.cross_entropy(logits.flatten(0, 1), pseudo_labels(label).flatten())
        optimiser.zero_grad()
        (segmentation + 0.1 * cluster).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        sums += [segmentation.item(), cluster.item(), kept.mean().item() if merging else 0, merging]
        if (step + 1) % 100 == 0:
            merged = sums[2] / max(sums[3], 1)
            print(f"step {step + 1:5} {size}px  segmentation {sums[0] / 100:.4f}  clusters {sums[1] / 100:.4f}"
                  f"  kept {merged:.3f}  {time.time() - start:.0f} s", flush=True)  # fmt: skip
            sums[:] = 0
        if keep and (step + 1) % 500 == 0:
            save(model, WEIGHTS, CONFIG | {"training": {"steps": before + step + 1}})
    return model.eval()


@torch.no_grad()
def measure(model, images, labels):
    """IoU per class over all pixels of the scenes, merged and plain: ({mode: [classes]}, mean kept share of the rows)."""
    result, kept_share = {}, 0.0
    for mode in ("merged", "plain"):
        confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
        for i in range(len(images)):
            scores, _, kept = model(normalise(images[i : i + 1]), mode == "merged")
            found = full_size(scores).argmax(1)[0].numpy()
            pairs = labels[i].astype(np.int64) * len(CLASSES) + found
            confusion += np.bincount(pairs.ravel(), minlength=confusion.size).reshape(confusion.shape)
            kept_share += kept.item() / len(images) if mode == "merged" else 0
        hits = confusion.diagonal()
        result[mode] = hits / (confusion.sum(0) + confusion.sum(1) - hits)
    return result, kept_share


def report(model, count, agree=AGREE):
    """Measure the first `count` held-out scenes, print the figures, and return them for the weights' metadata."""
    iou, kept = measure(model, *render(HELD_OUT, count, agree))
    print(f"{count} held-out scenes, kept rows {100 * kept:.1f} %")
    print("mode    mIoU   " + "  ".join(f"{name:>8}" for name in CLASSES))
    for mode, values in iou.items():
        print(f"{mode:6} {100 * values.mean():6.2f}   " + "  ".join(f"{100 * v:8.2f}" for v in values), flush=True)
    return {"scenes": count, "kept": round(kept, 4)} | {f"miou_{m}": round(float(v.mean()), 4) for m, v in iou.items()}


def write(model, steps):
    """Write the weights (f16) and the shipped scenes; the figures in the metadata are those of the f16 weights."""
    from PIL import Image

    save(model, WEIGHTS, CONFIG)
    rounded, _ = load(WEIGHTS)
    figures = {"steps": steps, "shipped": report(rounded, SHIPPED), "held_out": report(rounded, MEASURED)}
    save(model, WEIGHTS, CONFIG | {"training": figures})
    folder = ASSETS / "scenes"
    folder.mkdir(exist_ok=True)
    for index, (image, label) in enumerate(zip(*render(HELD_OUT, SHIPPED))):
        Image.fromarray(image).save(folder / f"scene-{index:02}.png", optimize=True)
        Image.fromarray(label).save(folder / f"scene-{index:02}.labels.png", optimize=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--more", type=int)
    parser.add_argument("--agree", type=float, default=AGREE)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.check:
        model, _ = load(WEIGHTS)
        report(model, SHIPPED, args.agree)
        report(model, MEASURED, args.agree)
    elif args.steps:
        report(train(new_model(), args.steps, args.steps, args.steps // 3, 1e-3, 500), SHIPPED)
    elif args.more:
        model, config = load(WEIGHTS)
        before = config["training"]["steps"]
        write(train(model, args.more, 0, 0, 7e-4, SCENES, before, keep=True), before + args.more)
    else:
        steps = 5600
        write(train(new_model(), steps, 4200, 300, 1e-3, SCENES, keep=True), steps)


if __name__ == "__main__":
    main()
