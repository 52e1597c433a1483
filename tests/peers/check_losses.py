"""Recomputes what `muster loss` wrote, from the published formulas, in NumPy and float64.

usage: check_losses.py FEATURES OUTPUT KIND TEMPERATURE|scale [MODE]

KIND is one of those below (margin 0.2, or 0.1 for tal; trl is tal with its hardest negatives; identities excluded; a self-target of 0.4). Values are compared exactly, gradients by
central differences in random directions. MODE is that of objective.alignment, where samples have sets of rows. Ends with an error if anything differs.
"""
import sys

import numpy as np
from safetensors.numpy import load_file

EPSILON = 1e-8


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# One direction of each loss: anchors as rows; one number an anchor.


def cross_entropy(x, y):
    return -(y / y.sum(axis=1, keepdims=True) * log_softmax(x)).sum(axis=1)


def reverse_kl(x, target):
    log_p = log_softmax(x)
    return (np.exp(log_p) * (log_p - np.log(target + EPSILON))).sum(axis=1)


def tal_weights(s, y, tau):
    e = np.exp((s - s.max()) / tau) * y
    return e / e.sum(axis=1, keepdims=True)


def tal(s, y, tau, alpha):
    negatives = (np.exp((s - s.max()) / tau) * ~y).sum(axis=1)
    return np.maximum(0, 0.1 - (alpha * s).sum(axis=1) + s.max() + tau * np.log(negatives))


def trl(s, y, alpha):
    return np.maximum(0, 0.2 - (alpha * s).sum(axis=1) + np.where(y, -np.inf, s).max(axis=1))


def aligned(regions, words, region_sizes, word_sizes, mode):
    """Scores of all pairs of sets, one at a time."""
    images = np.split(unit(regions), np.cumsum(region_sizes)[:-1])
    captions = np.split(unit(words), np.cumsum(word_sizes)[:-1])
    scores = np.zeros((len(images), len(captions)))
    for i, image in enumerate(images):
        for j, caption in enumerate(captions):
            if len(caption) == 0:
                continue
            a = image @ caption.T
            over_regions, over_words = a.max(axis=0), a.max(axis=1)
            scores[i, j] = {"MRSW": over_regions.sum(), "MWSR": over_words.sum(), "MRAVGW": over_regions.mean(),
                            "SYMM": over_regions.sum() + over_words.sum()}[mode]
    return scores


class Batch:
    def __init__(self, inputs, kind, temperature, mode=None):
        self.image, self.text = inputs["image"], inputs["text"]
        assert self.image.dtype == np.float64
        self.same = inputs["identity"][:, None] == inputs["identity"][None, :]
        self.weight = inputs.get("weight", np.ones(len(self.same)))
        self.log_scale = float(inputs["log_scale"]) if temperature == "scale" else -np.log(float(temperature))
        self.bias = float(inputs.get("logit_bias", 0))
        self.kind = kind
        self.mode, self.sizes = mode, (inputs.get("image_sizes"), inputs.get("text_sizes"))
        # Constants to the gradient: those of the given point.
        s = self.scores(self.image, self.text)
        tau = np.exp(-self.log_scale)
        self.alphas = [None] * 2
        if kind.startswith(("tal", "trl")):
            self.alphas = [tal_weights(s, self.same, tau), tal_weights(s.T, self.same, tau)]
        if "self" in kind:
            self.alphas = [np.exp(log_softmax(s / tau)), np.exp(log_softmax(s.T / tau))]

    def scores(self, image, text):
        if self.mode:
            return aligned(image, text, *self.sizes, self.mode)
        return unit(image) @ unit(text).T

    def anchors(self, raw, other, s, y, alpha, scale, bias):
        kind = self.kind
        positives = y if kind.endswith("_identity") else np.eye(len(y), dtype=bool)
        if "self" in kind:
            return -((0.4 * alpha + 0.6 * positives / positives.sum(axis=1, keepdims=True)) * log_softmax(scale * s)).sum(axis=1) / 2
        if kind == "cyclic":  # half of it as the loss of images, half as that of texts
            in_modal = (unit(raw) @ unit(raw).T - unit(other) @ unit(other).T) ** 2
            return (0.25 * in_modal + 0.25 * (s - s.T) ** 2).mean(axis=1) / 2
        if kind.startswith("info_nce"):
            return cross_entropy(scale * s, positives) / 2
        if kind == "nt_xent":  # the other positives are in no denominator
            x = scale * s
            negatives = np.array([np.logaddexp.reduce(row[~same]) for row, same in zip(x, y)])
            return np.array([np.logaddexp(0, n - row[same]).mean() for row, same, n in zip(x, y, negatives)]) / 2
        if kind.startswith("siglip"):
            return softplus(-np.where(positives, 1, -1) * (scale * s + bias)).sum(axis=1) / 2
        if kind == "sdm":
            return reverse_kl(scale * s, y / y.sum(axis=1, keepdims=True))
        if kind == "cmpm":
            return reverse_kl(raw @ unit(other).T, y / np.linalg.norm(y, axis=1, keepdims=True))
        if kind.startswith("tal"):
            return tal(s, y, 1 / scale, alpha)
        if kind.startswith("trl"):
            return trl(s, y, alpha)
        if kind.startswith("triplet_soft"):  # of 3
            soft = np.log([np.exp(row[~same] * scale).sum() / 3 for row, same in zip(s, y)]) / scale
            return np.maximum(0, 0.2 - np.diag(s) + soft)
        hinge = np.where(y, 0, np.maximum(0, 0.2 - np.diag(s)[:, None] + s))
        return hinge.sum(axis=1) if kind.startswith("triplet_all") else hinge.max(axis=1)

    def loss(self, image, text, log_scale, bias):
        scale = np.exp(log_scale)
        s = self.scores(image, text)
        losses = (self.anchors(image, text, s, self.same, self.alphas[0], scale, bias)
                  + self.anchors(text, image, s.T, self.same.T, self.alphas[1], scale, bias))
        total = (self.weight * losses).sum()
        return total if self.kind.endswith("_sum") else total / self.weight.sum()


def main():
    features, output, kind, temperature, *mode = sys.argv[1:]
    inputs, outputs = load_file(features), load_file(output)
    batch = Batch(inputs, kind, temperature, *mode)
    at = (batch.image, batch.text, batch.log_scale, batch.bias)
    value = batch.loss(*at)
    assert abs(outputs["loss"] - value) <= 1e-12 * max(1, abs(value)), (outputs["loss"], value)
    assert abs(outputs["loss.0"] - value) <= 1e-12 * max(1, abs(value)), (outputs["loss.0"], value)
    step = 1e-6

    def difference(*direction):
        above = batch.loss(*(x + step * d for x, d in zip(at, direction)))
        below = batch.loss(*(x - step * d for x, d in zip(at, direction)))
        return (above - below) / (2 * step)

    rng = np.random.default_rng(0)
    for _ in range(10):
        d_image, d_text = rng.standard_normal(batch.image.shape), rng.standard_normal(batch.text.shape)
        expected = difference(d_image, d_text, 0, 0)
        gradient = (outputs["grad.image"] * d_image).sum() + (outputs["grad.text"] * d_text).sum()
        assert abs(gradient - expected) <= 1e-6 * max(1, abs(expected)), (gradient, expected)
    if temperature == "scale":
        expected = difference(0, 0, 1, 0)
        assert abs(outputs["grad.log_scale"] - expected) <= 1e-7 * max(1, abs(expected)), (outputs["grad.log_scale"], expected)
    if "logit_bias" in inputs:
        expected = difference(0, 0, 0, 1)
        assert abs(outputs["grad.logit_bias"] - expected) <= 1e-7 * max(1, abs(expected)), (outputs["grad.logit_bias"], expected)
    print(f"{kind}: value {value:.15g} and gradients agree")


main()
