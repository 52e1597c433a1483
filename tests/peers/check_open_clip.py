"""A user's CLIP in open_clip and in Muster: 64 pairs through both, and how far embeddings, loss and gradients are apart.

usage: check_open_clip.py MUSTER WEIGHTS --work FOLDER [--list LIST.jsonl] [--model NAME] [--set FIELD=VALUE ...]

WEIGHTS is what `muster train` takes as train.init.weights of OpenAI's or open_clip's kind: a .pt of OpenAI's, a file
beside its open_clip_config.json, or a checkpoint of open_clip's training with --model, the name that open_clip knows it
by (then Muster may need --set model.activation=..., model.image.heads and model.text.heads). open_clip computes in
double precision. Needs torch, open_clip_torch, safetensors and Pillow; says Skipped and ends with 77 without them.
"""

import json
from pathlib import Path

import user_weights

try:
    import open_clip
    import torch
    from torchvision import transforms
except ImportError as missing:
    user_weights.skip(f"{missing}; pip install open_clip_torch safetensors pillow")


def random_model(folder):
    """Small, with all of the tokenizer's words, in open_clip's format for a hub."""
    from safetensors.torch import save_file

    sizes = {"embed_dim": 48, "quick_gelu": True,
             "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 16},
             "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2}}
    torch.manual_seed(1)
    model = open_clip.CLIP(**sizes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": sizes, "preprocess_cfg": {}}))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder / "open_clip_model.safetensors"


def load(weights, name):
    config = Path(weights).parent / "open_clip_config.json"
    if config.exists() and not name:
        model = open_clip.CLIP(**json.loads(config.read_text())["model_cfg"])
        open_clip.load_checkpoint(model, str(weights))
        return model
    if name:
        return open_clip.create_model(name, pretrained=str(weights))
    try:
        return open_clip.load_openai_model(str(weights), precision="fp32", device="cpu")
    except RuntimeError:
        raise SystemExit(f"{weights} is no file of OpenAI's and lies beside no open_clip_config.json: give --model NAME")


def main():
    parser = user_weights.arguments_of(__doc__)
    parser.add_argument("--model", help="open_clip's name of it, such as ViT-B-16")
    arguments = user_weights.parse(parser)
    weights = arguments.weights
    if weights == "random":
        weights = random_model(Path(arguments.work) / "model")
    model = load(weights, arguments.model).double().eval()
    size = model.visual.image_size
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    if height != width:
        raise SystemExit(f"{weights}: images of {height} x {width}; open_clip's preprocessing makes squares")
    to_size = transforms.Compose([transforms.Resize(height, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(height)])
    pairs = user_weights.read_pairs(arguments)
    pictures = user_weights.write_pictures(arguments, pairs, to_size)
    ours = user_weights.through_muster(arguments, weights, "term { info_nce { } }", [])

    mean, std = torch.tensor(open_clip.OPENAI_DATASET_MEAN), torch.tensor(open_clip.OPENAI_DATASET_STD)
    pixels = torch.stack([transforms.ToTensor()(picture) for picture in pictures]).double()
    pixels = (pixels - mean[:, None, None].double()) / std[:, None, None].double()
    tokens = open_clip.SimpleTokenizer(context_length=model.context_length)([caption for _, caption in pairs])
    image, text = model.encode_image(pixels), model.encode_text(tokens)
    loss = open_clip.loss.ClipLoss()(torch.nn.functional.normalize(image, dim=-1), torch.nn.functional.normalize(text, dim=-1),
                                     model.logit_scale.exp())
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    user_weights.compare(arguments, ours, (image.detach(), text.detach(), loss.item(), gradients))


if __name__ == "__main__":
    main()
