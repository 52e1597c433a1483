"""A user's IRRA in PyTorch and in Muster: 64 pairs through both, and how far embeddings, loss and gradients are apart.

usage: check_irra.py MUSTER best.pth --work FOLDER [--list LIST.jsonl] [--height 384] [--width 128] [--set FIELD=VALUE ...]

The model is IRRA's public forward (github.com/anosorae/IRRA, model/clip_model.py and build.py) written down once more:
CLIP's towers with the class token and the end token, and the similarity distribution matching of model/objectives.py at
temperature 0.02. PyTorch computes in double precision. The heads beside base_model are left out, as --set
train.init.ignore=... would. Needs torch, safetensors and Pillow; says Skipped and ends with 77 without them.
"""

import json
import math
from pathlib import Path

import user_weights

try:
    import torch
    from PIL import Image
    from torch.nn import functional as f
except ImportError as missing:
    user_weights.skip(f"{missing}; pip install torch safetensors pillow")

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CONTEXT, WIDTH_OF_HEAD, PREFIX = 77, 64, "base_model."
HEADS = ("classifier", "cross_attn", "cross_modal_transformer", "ln_pre_t", "ln_pre_i", "ln_post", "mlm_head")


def random_model(path, height, width):
    """IRRA's names around a small CLIP, with one of its heads."""
    torch.manual_seed(1)
    wide, patch, joint = 64, 16, 48
    state = {"visual.class_embedding": (wide,), "visual.positional_embedding": (1 + height // patch * (width // patch), wide),
             "visual.conv1.weight": (wide, 3, patch, patch), "visual.proj": (wide, joint), "token_embedding.weight": (49408, wide),
             "positional_embedding": (CONTEXT, wide), "text_projection": (wide, joint)}
    for norm in ("visual.ln_pre", "visual.ln_post", "ln_final"):
        state.update({norm + ".weight": (wide,), norm + ".bias": (wide,)})
    for tower in ("visual.", ""):
        for layer in range(2):
            block = f"{tower}transformer.resblocks.{layer}."
            state.update({block + "attn.in_proj_weight": (3 * wide, wide), block + "attn.in_proj_bias": (3 * wide,),
                          block + "attn.out_proj.weight": (wide, wide), block + "attn.out_proj.bias": (wide,),
                          block + "mlp.c_fc.weight": (4 * wide, wide), block + "mlp.c_fc.bias": (4 * wide,),
                          block + "mlp.c_proj.weight": (wide, 4 * wide), block + "mlp.c_proj.bias": (wide,)})
            for norm in ("ln_1", "ln_2"):
                state.update({block + norm + ".weight": (wide,), block + norm + ".bias": (wide,)})
    model = {PREFIX + name: 0.15 * torch.randn(shape) + (1 if ".ln_" in name and "weight" in name else 0)
             for name, shape in state.items()}
    model["classifier.weight"] = torch.randn(7, joint)
    torch.save({"model": model, "epoch": 3}, path)
    return path


class Irra:
    def __init__(self, state):
        self.state = {name: value.double().requires_grad_() for name, value in state.items() if value.is_floating_point()}

    def norm(self, x, name):
        weight = self.state[name + ".weight"]
        return f.layer_norm(x, weight.shape, weight, self.state[name + ".bias"])

    def linear(self, x, name, separator="."):
        return f.linear(x, self.state[f"{name}{separator}weight"], self.state[f"{name}{separator}bias"])

    def blocks(self, x, prefix, causal):
        rows, tokens, width = x.shape
        for layer in range(sum(name.startswith(prefix) and name.endswith(".ln_1.weight") for name in self.state)):
            block = f"{prefix}{layer}."
            heads = self.linear(self.norm(x, block + "ln_1"), block + "attn.in_proj", "_")
            query, key, value = heads.reshape(rows, tokens, 3, width // WIDTH_OF_HEAD, WIDTH_OF_HEAD).permute(2, 0, 3, 1, 4)
            scores = query @ key.transpose(-1, -2) / math.sqrt(WIDTH_OF_HEAD)
            if causal:
                scores = scores + torch.full((tokens, tokens), -math.inf, dtype=x.dtype).triu(1)
            mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(rows, tokens, width)
            x = x + self.linear(mixed, block + "attn.out_proj")
            hidden = self.linear(self.norm(x, block + "ln_2"), block + "mlp.c_fc")
            x = x + self.linear(hidden * torch.sigmoid(1.702 * hidden), block + "mlp.c_proj")
        return x

    def image(self, pixels):
        patch = self.state["visual.conv1.weight"]
        x = f.conv2d(pixels, patch, stride=patch.shape[-1]).flatten(2).transpose(1, 2)
        x = torch.cat([self.state["visual.class_embedding"].expand(len(x), 1, -1), x], 1) + self.state["visual.positional_embedding"]
        x = self.blocks(self.norm(x, "visual.ln_pre"), "visual.transformer.resblocks.", False)
        return self.norm(x, "visual.ln_post")[:, 0] @ self.state["visual.proj"]

    def text(self, tokens):
        x = f.embedding(tokens, self.state["token_embedding.weight"]) + self.state["positional_embedding"]
        x = self.norm(self.blocks(x, "transformer.resblocks.", True), "ln_final") @ self.state["text_projection"]
        return x[torch.arange(len(x)), tokens.argmax(-1)]


def sdm(image, text, labels, epsilon=1e-8):
    """IRRA's compute_sdm()."""
    same = (labels[:, None] == labels[None, :]).double()
    target = same / same.sum(1)
    scores = 50 * f.normalize(text, dim=1) @ f.normalize(image, dim=1).T
    loss = 0
    for logits in (scores, scores.T):
        loss = loss + (logits.softmax(1) * (logits.log_softmax(1) - torch.log(target + epsilon))).sum(1).mean()
    return loss


def main():
    parser = user_weights.arguments_of(__doc__)
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--width", type=int, default=128)
    arguments = user_weights.parse(parser)
    weights = arguments.weights
    if weights == "random":
        weights = random_model(Path(arguments.work) / "best.pth", arguments.height, arguments.width)
    state = torch.load(weights, map_location="cpu", weights_only=True)
    state = state.get("model", state)
    model = Irra({name[len(PREFIX):]: value for name, value in state.items() if name.startswith(PREFIX)})
    if "visual.conv1.weight" not in model.state:
        raise SystemExit(f"{weights}: no tensor {PREFIX}visual.conv1.weight, which IRRA's checkpoints have")
    pairs = user_weights.read_pairs(arguments)
    pictures = user_weights.write_pictures(
        arguments, pairs, lambda picture: picture.resize((arguments.width, arguments.height), Image.BILINEAR))
    beside = [f'"{head}.*"' for head in HEADS if any(name.startswith(head + ".") for name in state)]
    settings = ["model.activation=QUICK_GELU", f"model.image.height_pixels={arguments.height}",
                f"model.image.width_pixels={arguments.width}", f"train.init.ignore=[{', '.join(beside)}]"]
    ours = user_weights.through_muster(arguments, weights, "term { sdm { temperature: 0.02 epsilon: 1e-8 } }", settings)

    pixels = torch.stack([torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8) for picture in pictures])
    pixels = pixels.reshape(len(pairs), arguments.height, arguments.width, 3).permute(0, 3, 1, 2).double() / 255
    pixels = (pixels - torch.tensor(MEAN).double()[:, None, None]) / torch.tensor(STD).double()[:, None, None]
    captions = "".join(caption.replace("\n", " ") + "\n" for _, caption in pairs)
    lines = user_weights.run(arguments.muster, "tokenize", "--context", CONTEXT, input=captions)
    tokens = torch.tensor([json.loads(line) for line in lines.splitlines()])
    image, text = model.image(pixels), model.text(tokens)
    loss = sdm(image, text, torch.arange(len(pairs)))
    loss.backward()
    gradients = {name: value.grad for name, value in model.state.items() if value.grad is not None}
    user_weights.compare(arguments, ours, (image.detach(), text.detach(), loss.item(), gradients))


if __name__ == "__main__":
    main()
