"""Losses of SEN, IRRA, TBPS-CLIP and fine-tuned CLIP as their public code computes them, in float64, on one small batch:
tests/golden/published_losses.safetensors.

usage: make_published_losses.py FILE

Made with Python 3.11, torch 2.11.0, safetensors 0.6.2. Formulas, weights and quirks are those of these files, written down
anew: github.com/anosorae/IRRA (model/objectives.py, model/build.py, datasets/bases.py, at 11828a0), Delong-liu-bupt/SEN
(model/build.py, model/clip_model.py, model/objectives.py, at 33aa690), Flame-Chasers/TBPS-CLIP (model/tbps_model.py, at
393d581, config/s.config.yaml, config/config.yaml, at ba090bc), mlfoundations/open_clip (src/open_clip/loss.py, ClipLoss).

The towers are stubs of a few tables, the same here and in tests/configs/published_losses_test.cpp; heads are as deep as
published (4 blocks), of width 8. Masks are drawn as Muster draws them (dataloader/random.h, token_masking.h), so that both
sides hide the same words and patches. What the file holds:

images, tokens, identity, position, log_scale           what goes in
model.*, heads.*                                        parameters, under Muster's names
PRESET.loss, PRESET.terms                               the total, and the terms as logged (unweighted, in Muster's order)
PRESET.grad.NAME                                        the total's gradient
"""
import math
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

torch.manual_seed(11)
torch.set_default_dtype(torch.float64)

BATCH, WIDTH, HEADS, DEPTH = 9, 8, 2, 4
CONTEXT, VOCABULARY, FIRST, END_OF_WORDS, MASK, START, END = 12, 60, 1, 50, 57, 58, 59
PATCH, ROWS, COLUMNS = 2, 6, 2  # 12 patches
PATCHES, PIXELS = ROWS * COLUMNS, 3 * PATCH * PATCH
IDENTITIES = [2, 5, 9, 14, 20]  # of the training set
SEED = 5


# Philox4x32-10 (Salmon et al., 2011), keyed by (seed, position, purpose): dataloader/random.h.
class KeyedRandom:
    def __init__(self, position, purpose):
        self.counter, self.words = [0, purpose, position & 0xFFFFFFFF, position >> 32], []

    def u64(self):
        while len(self.words) < 2:
            c, k = list(self.counter), [SEED & 0xFFFFFFFF, SEED >> 32]
            for _ in range(10):
                p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
                c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
                k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
            self.counter[0] += 1
            self.words += c
        low, high = self.words[:2]
        self.words = self.words[2:]
        return low | high << 32

    def double(self):
        return (self.u64() >> 11) * 2.0**-53

    def below(self, bound):
        refused, value = (2**64 - bound) % bound, self.u64()
        while value < refused:
            value = self.u64()
        return value % bound


def inputs():
    tokens = torch.zeros(BATCH, CONTEXT, dtype=torch.long)
    for row in range(BATCH):
        words = 1 + (row * 4) % (CONTEXT - 2)
        tokens[row, 0], tokens[row, words + 1] = START, END
        tokens[row, 1:words + 1] = torch.randint(FIRST, END_OF_WORDS, (words,))
    return {
        "images": torch.randn(BATCH, 3, ROWS * PATCH, COLUMNS * PATCH),
        "tokens": tokens,
        "identity": torch.tensor([5, 9, 5, 2, 14, 9, 5, 20, 2]),
        "position": torch.arange(BATCH) * 1234567 + 89,
        "log_scale": torch.tensor(math.log(23.0)),
    }


def parameters():
    def normal(*sizes):
        return torch.randn(*sizes) * 0.5

    values = {
        "model.table": torch.randn(VOCABULARY, WIDTH),
        "model.text_places": normal(CONTEXT, WIDTH),
        "model.pixels": normal(PIXELS, WIDTH),
        "model.image_places": normal(1 + PATCHES, WIDTH),
    }

    def linear(name, out, width):
        values[name + ".weight"], values[name + ".bias"] = normal(out, width), normal(out)

    def norm(name):
        values[name + ".weight"], values[name + ".bias"] = 1 + normal(WIDTH), normal(WIDTH)

    def decoder(head):
        norm(head + "cross.norm")
        for part in ("query", "key", "value", "output"):
            linear(head + "cross." + part, WIDTH, WIDTH)
        for i in range(DEPTH):
            block = f"{head}blocks.{i}."
            norm(block + "attention_norm")
            linear(block + "attention.qkv", 3 * WIDTH, WIDTH)
            linear(block + "attention.output", WIDTH, WIDTH)
            norm(block + "mlp_norm")
            linear(block + "mlp.expand", 4 * WIDTH, WIDTH)
            linear(block + "mlp.contract", WIDTH, 4 * WIDTH)
        norm(head + "blocks_norm")

    words, restoration = "heads.masked_words.", "heads.image_restoration."
    norm(words + "image_norm")
    decoder(words)
    linear(words + "dense", WIDTH, WIDTH)
    norm(words + "norm")
    values[words + "weight"], values[words + "bias"] = normal(VOCABULARY, WIDTH), normal(VOCABULARY)
    for name in ("visible_norm", "text_norm", "output_norm"):
        norm(restoration + name)
    linear(restoration + "embed", WIDTH, WIDTH)
    values[restoration + "hidden"] = normal(WIDTH)
    decoder(restoration)
    linear(restoration + "pixels", PIXELS, WIDTH)
    linear("heads.identity_classifier", len(IDENTITIES), WIDTH)
    return {name: value.requires_grad_() for name, value in values.items()}


# The stubs of the towers: outputs [b, L, w] and [b, 1 + kept, w] of all tokens.


def encode_text(p, tokens):
    x = p["model.table"][tokens] + p["model.text_places"]
    return x + x.cumsum(1) / torch.arange(1, CONTEXT + 1).view(1, -1, 1)


def patchify(images):  # as a convolution takes them
    x = images.view(BATCH, 3, ROWS, PATCH, COLUMNS, PATCH).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(BATCH, PATCHES, PIXELS)


def encode_image(p, images, kept=None):
    x = torch.cat([torch.zeros(BATCH, 1, WIDTH), patchify(images) @ p["model.pixels"]], 1) + p["model.image_places"]
    if kept is not None:
        x = torch.gather(x, 1, kept.unsqueeze(-1).expand(-1, -1, WIDTH))
    return x + x.mean(1, keepdim=True)


# Layers by PyTorch's own modules, with Muster's parameters.


def layer_norm(p, name, x):
    return F.layer_norm(x, (WIDTH,), p[name + ".weight"], p[name + ".bias"])


def linear(p, name, x):
    return F.linear(x, p[name + ".weight"], p[name + ".bias"])


def attention(query, context, in_weight, in_bias, out_weight, out_bias, hidden=None):
    return F.multi_head_attention_forward(
        query.transpose(0, 1), context.transpose(0, 1), context.transpose(0, 1), WIDTH, HEADS, in_weight, in_bias, None,
        None, False, 0.0, out_weight, out_bias, key_padding_mask=hidden, need_weights=False)[0].transpose(0, 1)


def cross_attention(p, head, query, context, hidden=None):
    parts = [head + "cross." + part for part in ("query", "key", "value")]
    return attention(query, context, torch.cat([p[name + ".weight"] for name in parts]),
                     torch.cat([p[name + ".bias"] for name in parts]), p[head + "cross.output.weight"],
                     p[head + "cross.output.bias"], hidden)


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


def transformer(p, head, x, hidden=None):
    for i in range(DEPTH):
        block = f"{head}blocks.{i}."
        normed = layer_norm(p, block + "attention_norm", x)
        x = x + attention(normed, normed, p[block + "attention.qkv.weight"], p[block + "attention.qkv.bias"],
                          p[block + "attention.output.weight"], p[block + "attention.output.bias"], hidden)
        x = x + linear(p, block + "mlp.contract",
                       quick_gelu(linear(p, block + "mlp.expand", layer_norm(p, block + "mlp_norm", x))))
    return x


# Losses of the two feature matrices: IRRA's and SEN's objectives.py.


def compute_sdm(image, text, pid, logit_scale, epsilon=1e-8):
    labels = (pid.view(-1, 1) == pid.view(1, -1)).double()
    image_norm, text_norm = image / image.norm(dim=1, keepdim=True), text / text.norm(dim=1, keepdim=True)
    t2i = logit_scale * text_norm @ image_norm.t()
    i2t = t2i.t()
    targets = labels / labels.sum(dim=1)

    def one_way(logits):
        return (F.softmax(logits, dim=1) * (F.log_softmax(logits, dim=1) - torch.log(targets + epsilon))).sum(1).mean()

    return one_way(i2t) + one_way(t2i)


def compute_tri(image, text, pid, margin=0.05):
    labels = pid.view(-1, 1) == pid.view(1, -1)
    t2i = (F.normalize(text) @ F.normalize(image).t()).detach()

    def one_way(anchor, positive, others, similarity):
        negative = others[similarity.masked_fill(labels, float("-inf")).argmax(1)]
        far, near = 1 - F.cosine_similarity(anchor, positive), 1 - F.cosine_similarity(anchor, negative)
        return torch.relu(far - near + margin).mean()

    return one_way(text, image, image, t2i) + one_way(image, text, text, t2i.t())


def compute_id(p, image, text, pid):
    classes = torch.tensor([IDENTITIES.index(i) for i in pid.tolist()])
    return (F.cross_entropy(linear(p, "heads.identity_classifier", image), classes)
            + F.cross_entropy(linear(p, "heads.identity_classifier", text), classes)) / 2


# IRRA's head. The code draws masks of its own; here they are Muster's, 15 %, of which 80 % masks and 10 % random.


def mask_words(data):
    tokens, labels = data["tokens"].clone(), torch.zeros_like(data["tokens"])
    for row in range(BATCH):
        random = KeyedRandom(int(data["position"][row]), 15)
        for place in range(CONTEXT):
            token = int(tokens[row, place])
            if not FIRST <= token < END_OF_WORDS or random.double() >= 0.15:
                continue
            fate, other = random.double(), random.below(END_OF_WORDS - FIRST)
            labels[row, place] = token
            if fate < 0.8:
                tokens[row, place] = MASK
            elif fate < 0.9:
                tokens[row, place] = FIRST + other
        if not labels[row].any():
            labels[row, 1] = tokens[row, 1]
            tokens[row, 1] = MASK
    return tokens, labels


def compute_mlm(p, data, image_tokens):
    head = "heads.masked_words."
    tokens, labels = mask_words(data)
    x = cross_attention(p, head, layer_norm(p, head + "cross.norm", encode_text(p, tokens)),
                        layer_norm(p, head + "image_norm", image_tokens))
    x = layer_norm(p, head + "blocks_norm", transformer(p, head, x))
    x = layer_norm(p, head + "norm", quick_gelu(linear(p, head + "dense", x)))
    scores = F.linear(x, p[head + "weight"], p[head + "bias"]).reshape(-1, VOCABULARY)
    return F.cross_entropy(scores, labels.reshape(-1), ignore_index=0)


# SEN's image restoration. As published every token of the caption is looked at, and one hidden patch is not counted.


def position_table():  # MAE's get_2d_sincos_pos_embed
    def one(places):
        angles = torch.outer(places, 1 / 10000 ** (torch.arange(WIDTH // 4) / (WIDTH / 4)))
        return torch.cat([angles.sin(), angles.cos()], 1)

    columns, rows = torch.arange(COLUMNS).repeat(ROWS).double(), torch.arange(ROWS).repeat_interleave(COLUMNS).double()
    return torch.cat([torch.zeros(1, WIDTH), torch.cat([one(columns), one(rows)], 1)]).float().double()  # kept in float32


def compute_mae(p, data, text_tokens, as_published):
    head = "heads.image_restoration."
    noise = torch.tensor([[r.double() for _ in range(PATCHES)]
                          for r in (KeyedRandom(int(i), 16) for i in data["position"])])
    len_keep = int((1 + PATCHES) * (1 - 0.7))
    ids_shuffle = torch.argsort(noise, dim=1) + 1
    ids_restore = torch.argsort(ids_shuffle, dim=1)
    kept = torch.cat([torch.zeros(BATCH, 1, dtype=torch.long), ids_shuffle[:, :len_keep - 1]], 1)
    mask = torch.ones(BATCH, PATCHES)
    mask[:, :len_keep - (0 if as_published else 1)] = 0
    mask = torch.gather(mask, 1, ids_restore)
    grey = (data["images"] * torch.tensor([0.2989, 0.5870, 0.1140]).view(1, 3, 1, 1)).sum(1, keepdim=True).repeat(1, 3, 1, 1)
    x = linear(p, head + "embed", layer_norm(p, head + "visible_norm", encode_image(p, grey, kept)))
    hidden = p[head + "hidden"].expand(BATCH, 1 + PATCHES - len_keep, WIDTH)
    unshuffled = torch.gather(torch.cat([x[:, 1:], hidden], 1), 1, ids_restore.unsqueeze(-1).expand(-1, -1, WIDTH))
    x = torch.cat([x[:, :1], unshuffled], 1) + position_table()
    behind_end = torch.arange(CONTEXT).unsqueeze(0) > data["tokens"].argmax(1, keepdim=True)
    x = cross_attention(p, head, layer_norm(p, head + "cross.norm", x), layer_norm(p, head + "text_norm", text_tokens),
                        None if as_published else behind_end)
    x = transformer(p, head, layer_norm(p, head + "blocks_norm", x))
    predicted = linear(p, head + "pixels", layer_norm(p, head + "output_norm", x))[:, 1:]
    target = torch.einsum("nchpwq->nhwpqc", data["images"].view(BATCH, 3, ROWS, PATCH, COLUMNS, PATCH))
    squares = ((predicted - target.reshape(BATCH, PATCHES, PIXELS)) ** 2).mean(-1)
    return (squares * mask).sum() / mask.sum()


# TBPS-CLIP's, whose teacher is the same network without gradient. Its back-translation, SS and MVS are left out.


def tbps_targets(pid):
    same = (pid.view(-1, 1) == pid.view(1, -1)).double()
    return same / same.sum(1, keepdim=True)


def compute_nitc(image, text, pid, logit_scale, alpha):
    q = tbps_targets(pid)

    def one_way(a, b):
        with torch.no_grad():
            targets = alpha * F.softmax(logit_scale * a @ b.t(), dim=1) + (1 - alpha) * q
        return -(F.log_softmax(logit_scale * a @ b.t(), dim=1) * targets).sum(1).mean()

    return (one_way(image, text) + one_way(text, image)) / 2


def compute_ritc(image, text, pid, logit_scale, eps=1e-2):
    target_log = (tbps_targets(pid) + eps).log()

    def one_way(a, b):
        return F.kl_div(target_log, F.log_softmax(logit_scale * a @ b.t(), dim=1), log_target=True, reduction="batchmean")

    return 0.5 * (one_way(image, text) + one_way(text, image))


def compute_citc(image, text, logit_scale):
    in_modal = (logit_scale * image @ image.t() - logit_scale * text @ text.t()).square().mean() / logit_scale**2
    cross_modal = (logit_scale * image @ text.t() - logit_scale * text @ image.t()).square().mean() / logit_scale**2
    return 0.25 * in_modal + 0.25 * cross_modal


# open_clip's ClipLoss.


def compute_clip(image, text, logit_scale):
    logits, labels = logit_scale * F.normalize(image) @ F.normalize(text).t(), torch.arange(BATCH)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)) / 2


def main():
    data, p = inputs(), parameters()
    log_scale = data["log_scale"].clone().requires_grad_()
    pid = data["identity"]

    def forward():
        image_tokens, text_tokens = encode_image(p, data["images"]), encode_text(p, data["tokens"])
        return image_tokens, text_tokens, image_tokens[:, 0], text_tokens[torch.arange(BATCH), data["tokens"].argmax(1)]

    # Each preset's terms: their weights in the public code's total, and their values.
    def irra():
        image_tokens, _, image, text = forward()
        return [(1, compute_sdm(image, text, pid, 1 / 0.02)), (1, compute_mlm(p, data, image_tokens)),
                (1, compute_id(p, image, text, pid))]

    def sen(as_published):
        _, text_tokens, image, text = forward()
        return [(1, compute_sdm(image, text, pid, 1 / 0.02)), (10, compute_tri(image, text, pid)),
                (10, compute_mae(p, data, text_tokens, as_published)), (1, compute_id(p, image, text, pid))]

    def tbps(full, alpha):
        _, _, image, text = forward()
        image, text, scale = F.normalize(image), F.normalize(text), log_scale.exp()
        # Muster's term is the sum of directions, weighted by one half.
        terms = [(1, compute_nitc(image, text, pid, scale, alpha)), (0.5, 2 * compute_ritc(image, text, pid, scale))]
        return terms + ([(0.1, compute_citc(image, text, scale))] if full else [])

    def clip():
        _, _, image, text = forward()
        return [(1, compute_clip(image, text, log_scale.exp()))]

    presets = {
        "irra": irra,
        "sen": lambda: sen(False),
        "sen_repro": lambda: sen(True),
        "tbps_simple": lambda: tbps(False, 0.5),
        "tbps_full": lambda: tbps(True, 0.5),
        "tbps_simple.first_epoch": lambda: tbps(False, 0.5 * 0.4),
        "tbps_full.first_epoch": lambda: tbps(True, 0.5 * 0.4),
        "clip_finetune": clip,
    }
    out = {**data, **{name: value.detach() for name, value in p.items()}}
    for name, terms_of in presets.items():
        terms = terms_of()
        total = sum(weight * value for weight, value in terms)
        leaves = {**p, "objective.log_scale": log_scale}
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        out[name + ".loss"] = total.detach()
        out[name + ".terms"] = torch.stack([value.detach() for _, value in terms])
        for leaf, gradient in zip(leaves, gradients):
            if gradient is not None:
                out[f"{name}.grad.{leaf}"] = gradient
        print(name, total.item(), [value.item() for _, value in terms])
    save_file({name: value.detach().contiguous() for name, value in out.items()}, sys.argv[1])


main()
