"""An exported model in the program it was made for: are its embeddings of a split those that `muster embed` wrote, and
which retrieval figures do they give?

usage: muster embed --run RUN --data STORE --split test --out EMBEDDINGS.safetensors
       check_export.py EXPORT STORE EMBEDDINGS.safetensors --tokenizer DIR|NAME

EXPORT is what `muster export` made, for transformers or for open_clip; images go through that program's own
preprocessing, captions through its own tokenizer (--tokenizer: a folder or a name of transformers' CLIPTokenizer; not
needed for open_clip). Needs torch, h5py, safetensors, Pillow, and transformers or open_clip_torch, which the tests' own
Python does not have. Ends with 1 if an embedding is off by more than 1e-5 of its length, or a figure by 0.01.
"""

import argparse
import io
import json
import sys
from pathlib import Path

import h5py
import torch
from PIL import Image
from safetensors.torch import load_file


class TransformersModel:
    def __init__(self, folder, tokenizer):
        from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

        self.model = CLIPModel.from_pretrained(folder).eval()
        self.processor = CLIPImageProcessor.from_pretrained(folder)
        self.tokenizer = CLIPTokenizer.from_pretrained(tokenizer)

    def image(self, images):
        return self.model.get_image_features(self.processor(images, return_tensors="pt")["pixel_values"])

    def text(self, captions):
        length = self.model.config.text_config.max_position_embeddings
        words = self.tokenizer(captions, padding=True, truncation=True, max_length=length, return_tensors="pt")
        return self.model.get_text_features(**words)


class OpenClipModel:
    def __init__(self, folder):
        import open_clip

        self.model, self.transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
        self.model.eval()
        self.tokenizer = open_clip.SimpleTokenizer(context_length=self.model.context_length)

    def image(self, images):
        return self.model.encode_image(torch.stack([self.transform(image) for image in images]))

    def text(self, captions):
        return self.model.encode_text(self.tokenizer(captions))


def read_images(store):
    """Image bytes by the path that the store keeps of each."""
    found = {}
    for shard in sorted(Path(store).glob("*.h5")):
        with h5py.File(shard) as file:
            images = file["images"]
            data, ends, names = images["bytes"][:], images["offsets"][:], images["path_offsets"][:]
            paths = images["path_bytes"][:].tobytes()
            for i in range(len(ends) - 1):
                path = paths[int(names[i]) : int(names[i + 1])].decode()
                found[path] = data[int(ends[i]) : int(ends[i + 1])].tobytes()
    return found


def figures(queries, gallery, query_ids, gallery_ids):
    """R@1, R@5, R@10 and mAP in percent, from cosines in double."""
    unit = [torch.nn.functional.normalize(rows.double(), dim=1) for rows in (queries, gallery)]
    order = (unit[0] @ unit[1].T).argsort(dim=1, descending=True, stable=True)
    hits = gallery_ids[order] == query_ids[:, None]
    hits = hits[hits.any(1)]
    ranks = torch.arange(1, hits.shape[1] + 1)
    precision = (hits.cumsum(1) / ranks * hits).sum(1) / hits.sum(1)
    return [100 * hits[:, :k].any(1).double().mean().item() for k in (1, 5, 10)] + [100 * precision.mean().item()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("export")
    parser.add_argument("store")
    parser.add_argument("embeddings")
    parser.add_argument("--tokenizer")
    arguments = parser.parse_args()
    open_clip = (Path(arguments.export) / "open_clip_config.json").exists()
    model = OpenClipModel(arguments.export) if open_clip else TransformersModel(arguments.export, arguments.tokenizer)
    ours = load_file(arguments.embeddings)
    rows = [json.loads(line) for line in open(Path(arguments.embeddings).with_suffix(".rows.jsonl"), encoding="utf-8")]
    pixels = read_images(arguments.store)
    images = [Image.open(io.BytesIO(pixels[row["path"]])).convert("RGB") for row in rows if row["side"] == "image"]
    captions = [row["caption"] for row in rows if row["side"] == "text"]

    theirs, worst = {}, 0.0
    with torch.no_grad():
        theirs["image"] = torch.cat([model.image(images[i : i + 64]) for i in range(0, len(images), 64)])
        theirs["text"] = torch.cat([model.text(captions[i : i + 64]) for i in range(0, len(captions), 64)])
    for side in ("image", "text"):
        error = ((theirs[side] - ours[side]).norm(dim=1) / ours[side].norm(dim=1)).max().item()
        print(f"{len(ours[side])} {side} embeddings: off by at most {error:.2g} of their length")
        worst = max(worst, error)

    ids = {side: ours[f"{side}_identity"] for side in ("image", "text")}
    apart = 0.0
    print(f"{'%':<34}{'R@1':>8}{'R@5':>8}{'R@10':>8}{'mAP':>8}")
    for query, gallery in (("text", "image"), ("image", "text")):
        tables = [figures(side[query], side[gallery], ids[query], ids[gallery]) for side in (theirs, ours)]
        for name, table in zip(("open_clip" if open_clip else "transformers", "muster"), tables):
            print(f"{query + ' to ' + gallery + ', ' + name:<34}" + "".join(f"{value:8.2f}" for value in table))
        apart = max(apart, *(abs(a - b) for a, b in zip(*tables)))
    sys.exit(1 if worst > 1e-5 or apart > 0.01 else 0)


if __name__ == "__main__":
    main()
