"""Images a second of torch's DataLoader with Pillow, to compare with `muster bench loader`. Needs torch and pillow.

usage: loader_peer.py FOLDER [--width 224] [--height 224] [--workers 2] [--batch 64] [--batches 40] [--runs 5]

Every *.jpg below FOLDER is a sample: opened, converted to RGB, resized (bicubic, stretched), normalised with CLIP's mean
and std as torchvision's ToTensor and Normalize do it, and stacked. Captions are left out.
"""
import argparse
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]


class Pictures(Dataset):
    def __init__(self, folder, size):
        self.paths = sorted(map(str, Path(folder).rglob("*.jpg")))
        self.size = size

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        with Image.open(self.paths[index]) as file:
            image = file.convert("RGB").resize(self.size, Image.BICUBIC)
        pixels = torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous()
        return pixels.to(torch.float32).div(255).sub_(MEAN).div_(STD)


def cpu_seconds():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run(data, arguments):
    images = arguments.batch * arguments.batches
    sampler = RandomSampler(data, replacement=True, num_samples=images)
    wall, cpu = time.monotonic(), cpu_seconds()
    loader = DataLoader(data, batch_size=arguments.batch, sampler=sampler, num_workers=arguments.workers)
    count = sum(len(batch) for batch in loader)  # the workers have ended when the loop has
    assert count == images
    return images / (time.monotonic() - wall), 1e6 * (cpu_seconds() - cpu) / images


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    for name, default in (("width", 224), ("height", 224), ("workers", 2), ("batch", 64), ("batches", 40), ("runs", 5)):
        parser.add_argument("--" + name, type=int, default=default)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = Pictures(arguments.folder, (arguments.width, arguments.height))
    run(data, arguments)  # files and code are in memory from here on
    runs = [run(data, arguments) for _ in range(arguments.runs)]
    speed, cpu = (statistics.median(values) for values in zip(*runs))
    print(f"{len(data)} images of {arguments.folder} -> {arguments.width} x {arguments.height}, {arguments.workers} workers, "
          f"medians of {arguments.runs} runs\n{speed:.0f} images/s, {cpu:.1f} us of processor time an image")


if __name__ == "__main__":
    main()
