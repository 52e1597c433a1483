"""Small CLIP weight files as the original Python programs write them, and the embeddings those programs compute from
them: tests/golden/weights.

usage: make_weight_files.py FOLDER

Made with Python 3.11, torch 2.11.0, openai-clip 1.0.1 (OpenAI's model.py), open_clip_torch 2.32.0, transformers 4.57.1,
safetensors 0.6.2, numpy 2.2.6. Random weights, fixed seeds; images of 16 x 16 (IRRA's 32 x 16), patches of 8, 16 tokens
out of 300.

openai/clip.pt                  OpenAI's CLIP in float16, traced and saved as TorchScript, as OpenAI publishes it
irra/best.pth                   IRRA's checkpoint: {"model", "optimizer", "scheduler", "epoch"}, its heads beside base_model
open_clip/epoch_1.pt            open_clip's training checkpoint of a wrapped model: {"state_dict": {"module. ..."}}
open_clip/hub/                  open_clip's files for a hub: safetensors, .bin and open_clip_config.json
transformers/                   CLIPModel.save_pretrained: model.safetensors and config.json
embeddings.safetensors          X.images, X.tokens (what goes in), X.image, X.text (what comes out), X.log_scale
"""

import os
import shutil
import sys
import zipfile
from pathlib import Path

import torch
from clip.model import CLIP, VisionTransformer, build_model, convert_weights
from safetensors.torch import save_file
from torch import nn

VOCABULARY, CONTEXT, PATCH = 300, 16, 8


def without_sources(path):
    """Leaves out the archive's notes on which line of which file made each line of code: they hold this machine's paths."""
    with zipfile.ZipFile(path) as whole:
        entries = [(entry, whole.read(entry)) for entry in whole.infolist() if not entry.filename.endswith(".debug_pkl")]
    with zipfile.ZipFile(path, "w") as out:
        for entry, data in entries:
            kept = zipfile.ZipInfo(entry.filename, (1980, 1, 1, 0, 0, 0))
            kept.compress_type = entry.compress_type
            out.writestr(kept, data)


def disturb(model, seed):
    """Biases and norms away from zero and one, so that leaving one out shows; weights large enough to matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
            elif parameter.dim() > 1:
                parameter += 0.03 * torch.randn(parameter.shape, generator=generator)


def inputs(seed, height, width):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(2, 3, height, width, generator=generator)
    tokens = torch.zeros(2, CONTEXT, dtype=torch.int64)
    for row, length in enumerate([5, CONTEXT]):
        tokens[row, :length] = torch.randint(1, VOCABULARY - 2, (length,), generator=generator)
        tokens[row, 0], tokens[row, length - 1] = VOCABULARY - 2, VOCABULARY - 1
    return images, tokens


def record(out, name, images, tokens, image, text, scale=None):
    out.update({f"{name}.images": images.clone(), f"{name}.tokens": tokens.clone(), f"{name}.image": image.contiguous(),
                f"{name}.text": text.contiguous()})
    if scale is not None:
        out[f"{name}.log_scale"] = scale.detach().float().clone()


def openai(folder, out):
    torch.manual_seed(1)
    model = CLIP(24, 16, 1, 64, PATCH, CONTEXT, VOCABULARY, 64, 1, 2)
    disturb(model, 2)
    model.logit_scale.data.fill_(3.25)
    # OpenAI's archives hold these three as tensors beside the weights.
    model.register_buffer("input_resolution", torch.tensor(16))
    for name, value in (("context_length", CONTEXT), ("vocab_size", VOCABULARY)):
        delattr(model, name)
        model.register_buffer(name, torch.tensor(value))
    convert_weights(model)
    model.eval()
    images, tokens = inputs(3, 16, 16)
    traced = torch.jit.trace(model, (images.half(), tokens), check_trace=False)
    torch.jit.save(traced, folder / "clip.pt")
    without_sources(folder / "clip.pt")
    whole = build_model(torch.jit.load(folder / "clip.pt").state_dict()).float()
    with torch.no_grad():
        record(out, "openai", images, tokens, whole.encode_image(images), whole.encode_text(tokens), whole.logit_scale)


class Irra(nn.Module):
    """The module names of github.com/anosorae/IRRA, model/build.py, around OpenAI's CLIP on an image of 32 x 16."""

    def __init__(self):
        super().__init__()
        self.base_model = CLIP(64, 16, 1, 64, PATCH, CONTEXT, VOCABULARY, 64, 1, 1)
        del self.base_model.logit_scale
        self.base_model.visual.positional_embedding = nn.Parameter(torch.randn(9, 64) / 8)
        self.classifier = nn.Linear(64, 7)
        self.cross_attn = nn.MultiheadAttention(64, 1, batch_first=True)
        self.ln_pre_t = nn.LayerNorm(64)
        self.mlm_head = nn.Sequential()
        self.mlm_head.add_module("dense", nn.Linear(64, 3))


def irra(folder, out):
    torch.manual_seed(4)
    model = Irra()
    disturb(model, 5)
    convert_weights(model)
    # As they may lie after surgery on a model: a transposed view, and two tensors in one storage.
    base = model.base_model
    base.text_projection.data = base.text_projection.data.t().contiguous().t()
    both = torch.cat([base.ln_final.weight.data, base.ln_final.bias.data])
    base.ln_final.weight.data, base.ln_final.bias.data = both[:64], both[64:]
    optimizer = torch.optim.Adam(model.classifier.parameters(), lr=1e-5)
    model.classifier(torch.ones(1, 64).half()).float().sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
                "epoch": 3}, folder / "best.pth")
    images, tokens = inputs(6, 32, 16)
    base = base.float().eval()
    with torch.no_grad():
        record(out, "irra", images, tokens, base.visual(images), base.encode_text(tokens))


def open_clip_files(folder, out):
    from open_clip.model import CLIP as OpenClip
    from open_clip.push_to_hf_hub import save_for_hf

    class NoTokenizer:
        def save_pretrained(self, where):
            pass

    sizes = {"embed_dim": 20,
             "vision_cfg": {"image_size": 16, "layers": 2, "width": 32, "patch_size": PATCH, "head_width": 16},
             "text_cfg": {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 32, "heads": 2, "layers": 2}}
    images, tokens = inputs(8, 16, 16)
    for name, quick in (("open_clip_epoch", False), ("open_clip_hub", True)):
        torch.manual_seed(7)
        model = OpenClip(**sizes, quick_gelu=quick).eval()
        disturb(model, 9)
        model.half().float()
        with torch.no_grad():
            record(out, name, images, tokens, model.encode_image(images), model.encode_text(tokens), model.logit_scale)
        model.half()
        if quick:
            model.visual.image_mean = model.visual.image_std = (0.5, 0.5, 0.5)
            save_for_hf(model, NoTokenizer(), {**sizes, "quick_gelu": True}, folder / "hub", safe_serialization="both")
        else:
            torch.save({"epoch": 1, "name": "tiny", "state_dict": nn.DataParallel(model).state_dict()},
                       folder / "epoch_1.pt")


def transformers_files(folder, out):
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(10)
    sizes = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={**sizes, "vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "hidden_act": "gelu",
                     "bos_token_id": VOCABULARY - 2, "eos_token_id": VOCABULARY - 1},
        vision_config={**sizes, "image_size": 16, "patch_size": PATCH, "hidden_act": "gelu"}, projection_dim=20)
    model = CLIPModel(config).eval()
    disturb(model, 11)
    model = model.bfloat16()
    model.save_pretrained(folder)
    model = model.float()
    images, tokens = inputs(12, 16, 16)
    with torch.no_grad():
        record(out, "transformers", images, tokens, model.get_image_features(pixel_values=images),
               model.get_text_features(input_ids=tokens), model.logit_scale)


def main():
    root = Path(sys.argv[1])
    out = {}
    for name, make in (("openai", openai), ("irra", irra), ("open_clip", open_clip_files),
                       ("transformers", transformers_files)):
        shutil.rmtree(root / name, ignore_errors=True)
        os.makedirs(root / name)
        make(root / name, out)
    save_file(out, root / "embeddings.safetensors")


if __name__ == "__main__":
    main()
