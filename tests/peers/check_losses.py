"""Recomputes what `muster loss` wrote, from the formulas, in NumPy and float64.

usage: check_losses.py FEATURES OUTPUT KIND TEMPERATURE|scale

KIND is info_nce, info_nce_identity, sdm or triplet (margin 0.2, identities excluded). Values are compared exactly,
gradients by central differences in random directions. Ends with an error if anything differs.
"""
import sys

import numpy as np
from safetensors.numpy import load_file


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def loss(image, text, same, kind, scale):
    s = (image / np.linalg.norm(image, axis=1, keepdims=True)) @ (text / np.linalg.norm(text, axis=1, keepdims=True)).T
    total = 0.0
    for cosines, y in ((s, same), (s.T, same.T)):
        if kind == "triplet":
            hardest = np.where(y, -np.inf, cosines).max(axis=1)
            total += np.maximum(0, 0.2 - np.diag(cosines) + hardest).mean()
            continue
        log_p = log_softmax(scale * cosines)
        if kind == "sdm":
            target = y / y.sum(axis=1, keepdims=True)
            total += (np.exp(log_p) * (log_p - np.log(target + 1e-8))).sum(axis=1).mean()
        else:
            target = y if kind == "info_nce_identity" else np.eye(len(y))
            target = target / target.sum(axis=1, keepdims=True)
            total += -(target * log_p).sum(axis=1).mean() / 2
    return total


def main():
    features, output, kind, temperature = sys.argv[1:]
    inputs, outputs = load_file(features), load_file(output)
    image, text, identity = inputs["image"], inputs["text"], inputs["identity"]
    assert image.dtype == np.float64
    log_scale = float(inputs["log_scale"]) if temperature == "scale" else -np.log(float(temperature))
    same = identity[:, None] == identity[None, :]

    def at(image, text, log_scale):
        return loss(image, text, same, kind, np.exp(log_scale))

    value = at(image, text, log_scale)
    assert abs(outputs["loss"] - value) <= 1e-12 * max(1, abs(value)), (outputs["loss"], value)
    assert abs(outputs["loss.0"] - value) <= 1e-12 * max(1, abs(value)), (outputs["loss.0"], value)
    rng = np.random.default_rng(0)
    step = 1e-6
    for _ in range(10):
        d_image, d_text = rng.standard_normal(image.shape), rng.standard_normal(text.shape)
        difference = (at(image + step * d_image, text + step * d_text, log_scale)
                      - at(image - step * d_image, text - step * d_text, log_scale)) / (2 * step)
        gradient = (outputs["grad.image"] * d_image).sum() + (outputs["grad.text"] * d_text).sum()
        assert abs(gradient - difference) <= 1e-6 * max(1, abs(difference)), (gradient, difference)
    if temperature == "scale":
        difference = (at(image, text, log_scale + step) - at(image, text, log_scale - step)) / (2 * step)
        assert abs(outputs["grad.log_scale"] - difference) <= 1e-7, (outputs["grad.log_scale"], difference)
    print(f"{kind}: value {value:.15g} and gradients agree")


main()
