"""The published ATD checkpoints, under the names of this project.

    python convert.py 003_ATD_light_SRx2.pth atd-light-x2.safetensors
    gristmill upscale photo.png large.png --weights atd-light-x2.safetensors --no-pure-pass

Reads a PyTorch checkpoint of https://github.com/LabShuHangGU/Adaptive-Token-Dictionary with one upsampling convolution
(ATD-light's `pixelshuffledirect`). These weights were trained without Pure-Pass; the file asks for the compensation
`proj_v`, which suits them best. With `-` for the checkpoint it converts random tensors of ATD-light's shapes.
"""

import argparse
import json

import numpy as np

# Ours, theirs, and the shape where it is another one. {b} is a block, {l} one of its layers.
NETWORK = {
    "first": "conv_first",
    "pe": "patch_embed.norm",
    "norm": "norm",
    "body": "conv_after_body",
    "up": "upsample.0",
}
LAYER = {
    "n1": "norm1",
    "n2": "norm2",
    "f1": "convffn.fc1",
    "dw": "convffn.dwconv.depthwise_conv.0",
    "f2": "convffn.fc2",
}
LINEAR = {
    "wqkv bqkv": "wqkv",
    "win.wo win.bo": "attn_win.proj",
    "ca.wq ca.bq": "attn_atd.wq",
    "ca.wk ca.bk": "attn_atd.wk",
    "ca.wv ca.bv": "attn_atd.wv",
    "aca.wo aca.bo": "attn_aca.proj",
}


def names(depths):
    """Pairs of names, (ours, theirs), of a network whose blocks have so many layers."""
    for ours, theirs in NETWORK.items():
        weight = "g" if ours in ("pe", "norm") else "w"
        yield f"{ours}_{weight}", f"{theirs}.weight"
        yield f"{ours}_b", f"{theirs}.bias"
    for block, depth in enumerate(depths):
        yield f"blocks.{block}.td", f"layers.{block}.residual_group.td"
        yield f"blocks.{block}.conv_w", f"layers.{block}.conv.weight"
        yield f"blocks.{block}.conv_b", f"layers.{block}.conv.bias"
        for layer in range(depth):
            ours, theirs = f"blocks.{block}.layers.{layer}.", f"layers.{block}.residual_group.layers.{layer}."
            for name, source in LAYER.items():
                weight = "g" if name in ("n1", "n2") else "w"
                yield f"{ours}{name}_{weight}", f"{theirs}{source}.weight"
                yield f"{ours}{name}_b", f"{theirs}{source}.bias"
            for pair, source in LINEAR.items():
                weight, bias = pair.split()
                yield ours + weight, f"{theirs}{source}.weight"
                yield ours + bias, f"{theirs}{source}.bias"
            yield f"{ours}win.rpb", f"{theirs}attn_win.relative_position_bias_table"
            yield f"{ours}ca.scale", f"{theirs}attn_atd.scale"
            yield f"{ours}aca.logit_scale", f"{theirs}attn_aca.logit_scale"
            if layer + 1 < depth:  # A block's last layer refines no dictionary.
                yield f"{ours}n3_g", f"{theirs}norm3.weight"
                yield f"{ours}n3_b", f"{theirs}norm3.bias"
                yield f"{ours}sigma", f"{theirs}sigma"


def depths_of(state):
    """Layers of each block."""
    depths = []
    while f"layers.{len(depths)}.conv.weight" in state:
        start = f"layers.{len(depths)}.residual_group.layers."
        depths.append(len({key[len(start) :].split(".")[0] for key in state if key.startswith(start)}))
    return depths


def convert(state):
    """Our tensors and configuration, from tensors under the published names."""
    depths = depths_of(state)
    if not depths or "upsample.0.weight" not in state or "upsample.2.weight" in state:
        raise SystemExit("not a checkpoint of ATD-light: expected layers.0.conv.weight and a single upsample.0.weight")
    tensors = {}
    for ours, theirs in names(depths):
        if theirs not in state:
            raise SystemExit(f"the checkpoint has no {theirs}")
        tensor = np.asarray(state[theirs], np.float32)
        if ours.endswith(("sigma", "ca.scale", "logit_scale")):
            tensor = tensor.reshape(-1)
        tensors["model." + ours] = np.ascontiguousarray(tensor)
    heads = tensors["model.blocks.0.layers.0.win.rpb"].shape[1]
    window = (int(np.sqrt(tensors["model.blocks.0.layers.0.win.rpb"].shape[0])) + 1) // 2
    scale = int(np.sqrt(tensors["model.up_b"].shape[0] / 3))
    pure_pass = {"colors": 16, "window": 8, "comp": "proj_v"}
    return tensors, {"scale": scale, "window": window, "group": 128, "heads": heads, "pure_pass": pure_pass}


def random_state():
    """Random tensors with ATD-light's names and shapes, for twice the size."""
    channels, tokens, reduced, heads, scale = 48, 64, 8, 4, 2
    random = np.random.default_rng(0)
    shapes = {}
    for ours, theirs in names([6] * 4):
        name = ours.split(".", 4)[-1] if ".layers." in ours else ours
        table = {
            "first_w": [channels, 3, 3, 3],
            "up_w": [3 * scale**2, channels, 3, 3],
            "up_b": [3 * scale**2],
            "wqkv": [3 * channels, channels],
            "bqkv": [3 * channels],
            "win.rpb": [31**2, heads],
            "ca.scale": [tokens],
            "aca.logit_scale": [1, 1],
            "sigma": [tokens, 1],
            "dw_w": [channels, 1, 7, 7],
            "n3_g": [tokens],
            "n3_b": [tokens],
        }
        if name in table:
            shapes[theirs] = table[name]
        elif name.startswith(("ca.wq", "ca.wk")):
            shapes[theirs] = [reduced, channels]
        elif name.startswith(("ca.bq", "ca.bk")):
            shapes[theirs] = [reduced]
        elif name.endswith("td"):
            shapes[theirs] = [tokens, channels]
        elif name.endswith(("body_w", "conv_w")):
            shapes[theirs] = [channels, channels, 3, 3]
        elif name.endswith(("_b", "_g")) or ".b" in name:
            shapes[theirs] = [channels]
        else:
            shapes[theirs] = [channels, channels]
    return {name: random.standard_normal(shape).astype(np.float32) * 0.05 for name, shape in shapes.items()}


def main():
    parser = argparse.ArgumentParser(description="Convert a published ATD checkpoint.")
    parser.add_argument("checkpoint", help="the .pth file, or - for random tensors of ATD-light's shapes")
    parser.add_argument("output", help="the .safetensors file to write")
    arguments = parser.parse_args()
    if arguments.checkpoint == "-":
        state = random_state()
    else:
        import torch

        state = torch.load(arguments.checkpoint, map_location="cpu", weights_only=True)
        state = state.get("params_ema", state.get("params", state))
        state = {name: tensor.numpy() for name, tensor in state.items()}
    tensors, config = convert(state)
    from safetensors.numpy import save_file

    save_file(tensors, arguments.output, metadata={"kernel": "atd", "config": json.dumps(config)})
    count = sum(tensor.size for tensor in tensors.values())
    print(f"{arguments.output}: {len(tensors)} tensors, {count} parameters, {config}")


if __name__ == "__main__":
    main()
