"""CLIP's forward pass in NumPy and double precision, from Muster's weights: the truth of the encoders' tests.

usage: clip_forward.py WEIGHTS.safetensors INPUTS.safetensors OUT.safetensors PATCH IMAGE_HEADS TEXT_HEADS gelu|quick_gelu

Written from the paper and PyTorch's documentation; shares no code with Muster. Patches go through an explicit
convolution, attention through explicit softmax with an explicit mask, all tokens through all layers.
"""

import math
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

erf = np.vectorize(math.erf)


def layer_norm(x, w, name):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * w[name + ".weight"] + w[name + ".bias"]


def linear(x, w, name):
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def attention(x, w, name, heads, causal):
    tokens, width = x.shape
    qkv = linear(x, w, name + ".qkv")
    size = width // heads
    out = np.zeros_like(x)
    for h in range(heads):
        q, k, v = (qkv[:, part * width + h * size: part * width + (h + 1) * size] for part in range(3))
        scores = q @ k.T / math.sqrt(size)
        if causal:
            scores[np.triu_indices(tokens, 1)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        out[:, h * size:(h + 1) * size] = weights / weights.sum(-1, keepdims=True) @ v
    return linear(out, w, name + ".output")


def blocks(x, w, tower, heads, causal, activation):
    layer = 0
    while f"{tower}.blocks.{layer}.attention.qkv.weight" in w:
        name = f"{tower}.blocks.{layer}"
        x = x + attention(layer_norm(x, w, name + ".attention_norm"), w, name + ".attention", heads, causal)
        hidden = linear(layer_norm(x, w, name + ".mlp_norm"), w, name + ".mlp.expand")
        if activation == "gelu":
            hidden = hidden * 0.5 * (1 + erf(hidden / math.sqrt(2)))
        else:
            hidden = hidden / (1 + np.exp(-1.702 * hidden))
        x = x + linear(hidden, w, name + ".mlp.contract")
        layer += 1
    return x


def convolve_patches(image, weight, patch):
    """[3, H, W] with [width, 3, patch, patch] -> [patches, width], stride = patch."""
    _, height, width = image.shape
    rows = []
    for top in range(0, height, patch):
        for left in range(0, width, patch):
            window = image[:, top:top + patch, left:left + patch]
            rows.append(np.tensordot(weight, window, axes=([1, 2, 3], [0, 1, 2])))
    return np.stack(rows)


def encode_image(image, w, patch, heads, activation):
    weight = w["image.patch.weight"].reshape(-1, 3, patch, patch)
    x = np.concatenate([w["image.class_embedding"][None], convolve_patches(image, weight, patch)]) + w["image.position_embedding"]
    x = blocks(layer_norm(x, w, "image.pre_norm"), w, "image", heads, False, activation)
    return layer_norm(x[0], w, "image.post_norm") @ w["image.projection"]


def encode_text(tokens, w, heads, activation):
    x = w["text.token_embedding"][tokens] + w["text.position_embedding"][:len(tokens)]
    x = layer_norm(blocks(x, w, "text", heads, True, activation), w, "text.final_norm")
    return x[tokens.argmax()] @ w["text.projection"]


def main():
    weights, inputs, out, patch, image_heads, text_heads, activation = sys.argv[1:]
    w = {name: value.astype(np.float64) for name, value in load_file(weights).items()}
    batch = load_file(inputs)
    image = [encode_image(x.astype(np.float64), w, int(patch), int(image_heads), activation) for x in batch["images"]]
    text = [encode_text(x, w, int(text_heads), activation) for x in batch["tokens"]]
    save_file({"image": np.stack(image), "text": np.stack(text)}, out)


if __name__ == "__main__":
    main()
