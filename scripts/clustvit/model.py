"""ClustViT (arXiv 2510.01948): a pre-norm ViT whose later blocks see clusters of tokens, with a Segmenter head.

After `inject` blocks a small MLP gives every patch token an id: 0 keeps the token, 1..K put it into a cluster. The remaining
blocks see [CLS | kept tokens | K cluster means]; the regenerator then restores one token per patch.
"""

import json

import torch
import torch.nn.functional as F
from torch import nn

EPS, HEAD_EPS = 1e-6, 1e-5


class Block(nn.Module):
    """Pre-norm transformer block; rows of `masked` are not attended to."""

    def __init__(self, width, heads, eps):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, visible=None):
        """x [B, T, D]; visible [B, T] bool or None, True for the rows that serve as keys."""
        batch, rows, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, rows, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mask = None if visible is None else visible[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, rows, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def merge(x, ids, clusters):
    """Merged sequences [CLS | kept, ascending, padded to the longest | cluster means] of x [B, 1+N, D], ids [B, N].

    Returns (rows [B, 1+U+K, D], visible [B, 1+U+K], row_of_token [B, N]). An image whose ids are all equal is left as it
    is: all its tokens are kept, and its cluster means are not attended to. An empty cluster of any other image is a zero
    row that is attended to like the others.
    """
    tokens, gate = x[:, 1:], (ids != ids[:, :1]).any(1)
    ids = ids * gate[:, None]
    keep = ids == 0
    kept = keep.sum(1)
    longest = int(kept.max())
    order = torch.argsort((~keep).to(torch.uint8), dim=1, stable=True)[:, :longest]
    real = torch.arange(longest)[None] < kept[:, None]
    rows = torch.gather(tokens, 1, order[..., None].expand(-1, -1, x.shape[2])) * real[..., None]
    member = F.one_hot(ids, clusters + 1)[..., 1:].to(x.dtype)  # [B, N, K]
    means = member.transpose(1, 2) @ tokens / member.sum(1).clamp(min=1)[..., None]
    visible = torch.cat([torch.ones_like(gate)[:, None], real, gate[:, None].expand(-1, clusters)], 1)
    row_of_token = torch.where(keep, keep.cumsum(1), longest + ids)
    return torch.cat([x[:, :1], rows, means], 1), visible, row_of_token


class ClustViT(nn.Module):
    """Encoder and Segmenter head; `forward` gives class scores per patch and the cluster logits."""

    def __init__(self, image, patch, width, depth, heads, inject, clusters, hidden, classes, head_depth):
        super().__init__()
        self.patch, self.inject, self.clusters, self.side = patch, inject, clusters, image // patch
        self.embed = nn.Linear(3 * patch * patch, width, bias=False)
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        self.pos = nn.Parameter(torch.randn(1 + self.side**2, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, EPS) for _ in range(depth))
        self.cluster1, self.cluster2 = nn.Linear(width, hidden), nn.Linear(hidden, clusters + 1)
        self.regen1, self.regen2 = nn.Linear(2 * width, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, EPS)
        self.decode = nn.Linear(width, width)
        self.class_tokens = nn.Parameter(torch.randn(classes, width) * 0.02)
        self.head_blocks = nn.ModuleList(Block(width, heads, HEAD_EPS) for _ in range(head_depth))
        self.head_norm = nn.LayerNorm(width, HEAD_EPS)
        self.patch_proj, self.class_proj = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.mask_norm = nn.LayerNorm(classes, HEAD_EPS)
        nn.init.constant_(self.mask_norm.weight, 4.0)

    def forward(self, image, merging=True, corner=(0, 0)):
        """image [B, 3, H, W] normalised -> (scores [B, classes, h, w], cluster logits [B, N, K+1], kept [B]).

        An image smaller than the model's is a crop, whose upper left patch is `corner` (row, column). `kept` is the number
        of rows the later blocks see over the number of all rows, 1+N.
        """
        batch, _, height, width = image.shape
        h, w, p = height // self.patch, width // self.patch, self.patch
        patches = image.view(batch, 3, h, p, w, p).permute(0, 2, 4, 1, 3, 5).reshape(batch, h * w, -1)
        grid = self.pos[1:].view(self.side, self.side, -1)
        grid = grid[corner[0] : corner[0] + h, corner[1] : corner[1] + w].reshape(h * w, -1)
        x = self.embed(patches) + grid
        x = torch.cat([(self.cls + self.pos[0]).expand(batch, 1, -1), x], 1)
        for block in self.blocks[: self.inject]:
            x = block(x)

        logits = self.cluster2(F.relu(self.cluster1(x[:, 1:])))
        kept = torch.ones(batch)
        if merging:
            ids = logits.detach().argmax(-1)
            x, kept = self.merged_blocks(x, ids)
        else:
            for block in self.blocks[self.inject :]:
                x = block(x)
        features = self.norm(x)[:, 1:]
        return self.segment(features).transpose(1, 2).reshape(batch, -1, h, w), logits, kept

    def merged_blocks(self, x, ids):
        """The remaining blocks on the merged sequences, and the regenerator."""
        original = x[:, 1:]
        rows, visible, row_of_token = merge(x, ids, self.clusters)
        for block in self.blocks[self.inject :]:
            rows = block(rows, visible)
        own = torch.gather(rows, 1, row_of_token[..., None].expand_as(original))
        restored = self.regen2(F.gelu(self.regen1(torch.cat([original, own], -1))))
        merged = (row_of_token > rows.shape[1] - 1 - self.clusters)[..., None]
        tokens = torch.where(merged, restored, own)
        return torch.cat([rows[:, :1], tokens], 1), visible.sum(1) / x.shape[1]

    def segment(self, features):
        """Segmenter head: features [B, N, D] -> class scores [B, N, classes]."""
        batch, patches, _ = features.shape
        x = torch.cat([self.decode(features), self.class_tokens.expand(batch, -1, -1)], 1)
        for block in self.head_blocks:
            x = block(x)
        x = self.head_norm(x)
        tokens = F.normalize(self.patch_proj(x[:, :patches]), dim=-1)
        classes = F.normalize(self.class_proj(x[:, patches:]), dim=-1)
        return self.mask_norm(tokens @ classes.transpose(1, 2))


# ------------------------------------------------------------------------------- weights file

BLOCK_NAMES = {
    "ln1_g": "norm1.weight", "ln1_b": "norm1.bias", "wqkv": "qkv.weight", "bqkv": "qkv.bias",
    "wo": "out.weight", "bo": "out.bias", "ln2_g": "norm2.weight", "ln2_b": "norm2.bias",
    "w1": "up.weight", "b1": "up.bias", "w2": "down.weight", "b2": "down.bias",
}  # fmt: skip
MODEL_NAMES = {
    "pe_w": "embed.weight", "cls": "cls", "pos": "pos", "norm_g": "norm.weight", "norm_b": "norm.bias",
    "clusterer.w1": "cluster1.weight", "clusterer.b1": "cluster1.bias",
    "clusterer.w2": "cluster2.weight", "clusterer.b2": "cluster2.bias",
    "regen.w1": "regen1.weight", "regen.b1": "regen1.bias", "regen.w2": "regen2.weight", "regen.b2": "regen2.bias",
}  # fmt: skip
HEAD_NAMES = {
    "dec_w": "decode.weight", "dec_b": "decode.bias", "cls": "class_tokens", "norm_g": "head_norm.weight",
    "norm_b": "head_norm.bias", "patch_w": "patch_proj.weight", "class_w": "class_proj.weight",
    "mask_g": "mask_norm.weight", "mask_b": "mask_norm.bias",
}  # fmt: skip


def file_names(depth, head_depth):
    """Name in the weights file -> name of the parameter here."""
    names = {f"model.{a}": b for a, b in MODEL_NAMES.items()} | {f"head.{a}": b for a, b in HEAD_NAMES.items()}
    for prefix, ours, count in (("model", "blocks", depth), ("head", "head_blocks", head_depth)):
        for i in range(count):
            names |= {f"{prefix}.blocks.{i}.{a}": f"{ours}.{i}.{b}" for a, b in BLOCK_NAMES.items()}
    return names


def save(model, path, config, dtype=torch.float16):
    """Write the weights with `config` as JSON in the metadata."""
    from safetensors.torch import save_file

    state = model.state_dict()
    names = file_names(len(model.blocks), len(model.head_blocks))
    assert sorted(names.values()) == sorted(state), "every parameter is written once"
    tensors = {name: state[ours].to(dtype).contiguous() for name, ours in names.items()}
    width = state["cls"].shape[0]
    tensors["model.pe_w"] = tensors["model.pe_w"].view(width, 3, model.patch, model.patch)
    save_file(tensors, path, {"kernel": "clustvit", "config": json.dumps(config)})


def load(path):
    """Read a weights file: (model in f32, config)."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}
    depth = len({name.split(".")[2] for name in tensors if name.startswith("model.blocks.")})
    head_depth = len({name.split(".")[2] for name in tensors if name.startswith("head.blocks.")})
    hidden, width = tensors["model.clusterer.w1"].shape
    model = ClustViT(
        config["image"], config["patch"], width, depth, config["heads"], config["ip"], config["K"], hidden,
        len(config["classes"]), head_depth,
    )  # fmt: skip
    tensors["model.pe_w"] = tensors["model.pe_w"].flatten(1)
    names = file_names(depth, head_depth)
    model.load_state_dict({ours: tensors[name] for name, ours in names.items()})
    return model.eval(), config
