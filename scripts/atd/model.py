"""A reduced ATD-light (arXiv 2401.08209) with Pure-Pass (arXiv 2510.01997) in its category attention.

Parameters are named as in the weights file, less the prefix `model.`. n is the number of pixels of the padded picture, C the
width, M the number of dictionary tokens, g the size of a category group.
"""

import colorsys
import json
import math

import torch
import torch.nn.functional as F
from torch import nn

MEAN = (0.4488, 0.4371, 0.4040)
SEPARATE = -100.0  # added to the scores of pixels that only the cyclic shift brought into one window


class Params(nn.Module):
    """Named parameters, and no more."""

    def __init__(self, **tensors):
        super().__init__()
        for name, value in tensors.items():
            setattr(self, name, nn.Parameter(value))


def matrix(rows, columns):
    return torch.randn(rows, columns) / math.sqrt(columns)


def kernel(out, into, size):
    return torch.randn(out, into, size, size) / (size * math.sqrt(into))


# ------------------------------------------------------------------------------- Pure-Pass


def color_labels(image, colors):
    """image [B, 3, H, W] in [0, 1] -> label [B, H, W] of the nearest of `colors` hues, in integers, ties to the smallest."""
    centres = [colorsys.hsv_to_rgb(k / colors, 0.9, 0.9) for k in range(colors)]
    centres = (torch.tensor(centres, dtype=torch.float64) * 255 * 16 + 0.5).floor().int()
    rgb = (image.double().clamp(0, 1) * 255 + 0.5).floor().int() * 16
    distance = torch.stack([(rgb - c[:, None, None]).square().sum(1) for c in centres], 1)
    nearest = distance == distance.amin(1, keepdim=True)
    return torch.where(nearest, torch.arange(colors)[:, None, None], colors).amin(1)


def pure_mask(image, colors, window):
    """True where all pixels of a window have one label, on the plain grid or on the one displaced by half a window."""
    labels = color_labels(image, colors)[:, None].float()
    height, width = labels.shape[-2:]
    fused = torch.zeros_like(labels, dtype=torch.bool)
    for offset in (0, window // 2):
        before = (window - offset) % window
        after_y, after_x = (-(height + before)) % window, (-(width + before)) % window
        around = (before, after_x, before, after_y)
        highest = F.max_pool2d(F.pad(labels, around, value=-1.0), window)
        lowest = -F.max_pool2d(F.pad(-labels, around, value=-float(colors)), window)
        uniform = (highest == lowest).repeat_interleave(window, 2).repeat_interleave(window, 3)
        fused |= uniform[..., before : before + height, before : before + width]
    return fused[:, 0]


# ----------------------------------------------------------------------- the three branches


def windows(x, side):
    """[B, H, W, C] -> [B * windows, side^2, C], windows in raster order."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // side, side, width // side, side, channels)
    return x.transpose(2, 3).reshape(-1, side * side, channels)


def from_windows(x, batch, height, width, side):
    """The inverse of `windows`."""
    x = x.view(batch, height // side, width // side, side, side, -1)
    return x.transpose(2, 3).reshape(batch, height, width, -1)


def relative_index(side):
    """Row of the bias table for each (query, key) of a window, flattened."""
    y, x = torch.arange(side * side) // side, torch.arange(side * side) % side
    dy, dx = y[:, None] - y + side - 1, x[:, None] - x + side - 1
    return (dy * (2 * side - 1) + dx).flatten()


def shift_mask(height, width, side):
    """[windows, side^2, side^2]: SEPARATE between pixels of different regions of the shifted picture."""

    def band(size):
        return (torch.arange(size) >= size - side).int() + (torch.arange(size) >= size - side // 2)

    region = band(height)[:, None] * 3 + band(width)
    region = windows(region[None, ..., None], side)[..., 0]
    return (region[:, None] != region[:, :, None]) * SEPARATE


def split_heads(qkv, heads):
    """[groups, rows, 3C] -> q, k, v, each [groups, heads, rows, C / heads]."""
    groups, rows, width = qkv.shape
    return qkv.view(groups, rows, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4)


def join_heads(x):
    return x.transpose(1, 2).flatten(2)


class Layer(nn.Module):
    """Three parallel branches behind one norm (windows, dictionary, categories), then a convolutional feed-forward."""

    def __init__(self, width, heads, window, tokens, reduced, depthwise, refines):
        super().__init__()
        one, zero = torch.ones, torch.zeros
        self.n1_g, self.n1_b = nn.Parameter(one(width)), nn.Parameter(zero(width))
        self.n2_g, self.n2_b = nn.Parameter(one(width)), nn.Parameter(zero(width))
        self.wqkv, self.bqkv = nn.Parameter(matrix(3 * width, width)), nn.Parameter(zero(3 * width))
        self.win = Params(
            rpb=torch.randn((2 * window - 1) ** 2, heads) * 0.02, wo=matrix(width, width) * 0.3, bo=zero(width)
        )
        self.ca = Params(
            wq=matrix(reduced, width), bq=zero(reduced), wk=matrix(reduced, width), bk=zero(reduced),
            wv=matrix(width, width) * 0.3, bv=zero(width), scale=one(tokens),
        )  # fmt: skip
        # Scores of categories are neither normalised nor divided by sqrt(dim): a scale of 1/sqrt(dim) starts them calm.
        self.aca = Params(
            logit_scale=torch.tensor([-0.5 * math.log(width / heads)]), wo=matrix(width, width) * 0.3, bo=zero(width)
        )
        self.f1_w, self.f1_b = nn.Parameter(matrix(width, width)), nn.Parameter(zero(width))
        self.dw_w, self.dw_b = nn.Parameter(kernel(width, 1, depthwise)), nn.Parameter(zero(width))
        self.f2_w, self.f2_b = nn.Parameter(matrix(width, width) * 0.3), nn.Parameter(zero(width))
        if refines:
            self.n3_g, self.n3_b = nn.Parameter(one(tokens)), nn.Parameter(zero(tokens))
            self.sigma = nn.Parameter(zero(tokens))

    def forward(self, x, td, size, window, group, heads, shift, mask, active, comp):
        """x [B, n, C], td [B, M, C] -> the same two; `size` is (H, W), `active` [B, n] the pixels of the categories."""
        z = F.layer_norm(x, x.shape[-1:], self.n1_g, self.n1_b)
        qkv = F.linear(z, self.wqkv, self.bqkv)
        dictionary, similar = self.dictionary_attention(z, td)
        y = x + self.window_attention(qkv, size, window, heads, shift, mask) + dictionary
        y = y + self.category_attention(qkv, similar.detach(), group, heads, active, comp)
        out = y + self.feed_forward(F.layer_norm(y, y.shape[-1:], self.n2_g, self.n2_b), size)
        if hasattr(self, "sigma"):
            td = self.refine(td, similar, out)
        return out, td

    def window_attention(self, qkv, size, window, heads, shift, mask):
        batch, (height, width) = qkv.shape[0], size
        x = qkv.view(batch, height, width, -1)
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        q, k, v = split_heads(windows(x, window), heads)
        bias = self.win.rpb[relative_index(window)].view(window**2, window**2, heads).permute(2, 0, 1)
        scores = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2) + bias
        if shift:
            scores = scores.unflatten(0, (batch, -1)) + mask[:, None]
            scores = scores.flatten(0, 1)
        mixed = join_heads(scores.softmax(-1) @ v)
        y = from_windows(F.linear(mixed, self.win.wo, self.win.bo), batch, height, width, window)
        if shift:
            y = y.roll((shift, shift), (1, 2))
        return y.flatten(1, 2)

    def dictionary_attention(self, z, td):
        ca = self.ca
        q, k, v = F.linear(z, ca.wq, ca.bq), F.linear(td, ca.wk, ca.bk), F.linear(td, ca.wv, ca.bv)
        cosine = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(1, 2)
        similar = (cosine * (1 + ca.scale.clamp(0, 1) * math.log(td.shape[1]))).softmax(-1)
        return similar @ v, similar

    def category_attention(self, qkv, similar, group, heads, active, comp):
        """Attention within groups of `group` pixels, sorted by category; a pure pixel gets its own value (`comp` "v")."""
        batch, pixels, _ = qkv.shape
        flat, value = qkv.flatten(0, 1), qkv[..., 2 * qkv.shape[2] // 3 :].flatten(0, 1)
        category = similar.argmax(-1)
        scale = self.aca.logit_scale.clamp(max=math.log(100.0)).exp()
        out = value if comp == "v" else torch.zeros_like(value)
        if comp == "proj_v":
            out = F.linear(value, self.aca.wo, self.aca.bo)
        if active is None:
            active = torch.ones(batch, pixels, dtype=torch.bool)
        orders, results = [], []
        for b in range(batch):
            order = active[b].nonzero()[:, 0]
            order = order[category[b, order].argsort(stable=True)] + b * pixels
            count = len(order)
            if count == 0:
                continue
            each = min(count, group)
            missing = -count % each  # the last group borrows the last rows, backwards, as keys
            rows = torch.cat([order, order[count - missing :].flip(0)]).view(-1, each)
            q, k, v = split_heads(flat[rows.flatten()].view(*rows.shape, -1), heads)
            mixed = join_heads((q * scale @ k.transpose(-1, -2)).softmax(-1) @ v).flatten(0, 1)
            orders.append(order)
            results.append(mixed[:count])
        if orders:
            projected = F.linear(torch.cat(results), self.aca.wo, self.aca.bo)
            out = out.index_copy(0, torch.cat(orders), projected)
        return out.view(batch, pixels, -1)

    def feed_forward(self, x, size):
        h = F.gelu(F.linear(x, self.f1_w, self.f1_b))
        side = self.dw_w.shape[-1] // 2
        spread = F.conv2d(to_map(h, size), self.dw_w, self.dw_b, padding=side, groups=h.shape[-1])
        return F.linear(h + F.gelu(to_tokens(spread)), self.f2_w, self.f2_b)

    def refine(self, td, similar, out):
        """Move the dictionary towards the pixels that use it."""
        use = similar.transpose(1, 2)
        spread = (use.var(-1, correction=0, keepdim=True) + 1e-5).rsqrt()
        use = (use - use.mean(-1, keepdim=True)) * spread * self.n3_g[:, None] + self.n3_b[:, None]
        keep = self.sigma.sigmoid()[:, None]
        return keep * td + (1 - keep) * (use.softmax(-1) @ out)


# ------------------------------------------------------------------------------ the network


def to_map(tokens, size):
    return tokens.transpose(1, 2).unflatten(2, size)


def to_tokens(image):
    return image.flatten(2).transpose(1, 2)


class Block(nn.Module):
    def __init__(self, width, layers, tokens, **rest):
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, tokens=tokens, refines=i < layers - 1, **rest) for i in range(layers))
        self.td = nn.Parameter(torch.randn(tokens, width))
        self.conv_w, self.conv_b = nn.Parameter(kernel(width, width, 3)), nn.Parameter(torch.zeros(width))


class Atd(nn.Module):
    """The network; `config` is what the weights file's metadata hold: scale, window, group, heads, pure_pass."""

    def __init__(self, config, width, layers, tokens, reduced, depthwise):
        super().__init__()
        self.config, scale = config, config["scale"]
        self.first_w, self.first_b = nn.Parameter(kernel(width, 3, 3)), nn.Parameter(torch.zeros(width))
        self.pe_g, self.pe_b = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(
            Block(width, count, tokens, heads=config["heads"], window=config["window"], reduced=reduced,
                  depthwise=depthwise)
            for count in layers
        )  # fmt: skip
        self.norm_g, self.norm_b = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.body_w, self.body_b = nn.Parameter(kernel(width, width, 3) * 0.1), nn.Parameter(torch.zeros(width))
        self.up_w = nn.Parameter(kernel(3 * scale**2, width, 3) * 0.1)
        self.up_b = nn.Parameter(torch.zeros(3 * scale**2))

    def forward(self, image, pure_pass=True):
        """image [B, 3, h, w] in [0, 1] -> [B, 3, scale h, scale w]."""
        window, scale, pure = self.config["window"], self.config["scale"], self.config["pure_pass"]
        x = mirror(image, window)
        size, active, comp = x.shape[-2:], None, "v"
        if pure_pass and pure:
            active, comp = ~pure_mask(x, pure["colors"], pure["window"]).flatten(1), pure["comp"]
        mean = torch.tensor(MEAN, dtype=x.dtype)[:, None, None]
        shallow = F.conv2d(x - mean, self.first_w, self.first_b, padding=1)
        t = F.layer_norm(to_tokens(shallow), self.pe_g.shape, self.pe_g, self.pe_b)
        mask = shift_mask(*size, window)
        for block in self.blocks:
            y, td = t, block.td.expand(len(x), -1, -1)
            for i, layer in enumerate(block.layers):
                shift = window // 2 if i % 2 else 0
                y, td = layer(y, td, size, window, self.config["group"], self.config["heads"], shift, mask, active, comp)
            t = to_tokens(F.conv2d(to_map(y, size), block.conv_w, block.conv_b, padding=1)) + t
        t = F.layer_norm(t, self.norm_g.shape, self.norm_g, self.norm_b)
        deep = F.conv2d(to_map(t, size), self.body_w, self.body_b, padding=1) + shallow
        out = F.pixel_shuffle(F.conv2d(deep, self.up_w, self.up_b, padding=1), scale) + mean
        return out[..., : image.shape[2] * scale, : image.shape[3] * scale]


def mirror(image, side):
    """Continue below and to the right, mirrored with the edge repeated, up to a multiple of `side`."""
    below, right = -image.shape[2] % side, -image.shape[3] % side
    image = torch.cat([image, image.flip(2)[:, :, :below]], 2)
    return torch.cat([image, image.flip(3)[..., :right]], 3)


# ----------------------------------------------------------------------------- weights file


def save(model, path, about, dtype=torch.float16):
    """Write the weights; the metadata `config` is what the network needs, `about` what is known of it."""
    from safetensors.torch import save_file

    tensors = {f"model.{name}": value.to(dtype).contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, path, {"kernel": "atd", "config": json.dumps(model.config), "about": json.dumps(about)})


def load(path):
    """Read a weights file: (model in f32, about). All sizes follow from the tensors."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name.removeprefix("model."): file.get_tensor(name).float() for name in file.keys()}
    layers = []
    while any(name.startswith(f"blocks.{len(layers)}.") for name in tensors):
        prefix = f"blocks.{len(layers)}.layers."
        layers.append(len({name.split(".")[3] for name in tensors if name.startswith(prefix)}))
    reduced, width = tensors["blocks.0.layers.0.ca.wq"].shape
    tokens, depthwise = tensors["blocks.0.td"].shape[0], tensors["blocks.0.layers.0.dw_w"].shape[-1]
    model = Atd(json.loads(metadata["config"]), width, layers, tokens, reduced, depthwise)
    model.load_state_dict(tensors)
    return model.eval(), json.loads(metadata.get("about", "{}"))
