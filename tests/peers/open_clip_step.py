"""open_clip's training step on the recipe "mini", for `muster bench train` to be compared with.

usage: open_clip_step.py [--threads 2] [--batch 64] [--steps 20] [--fused]
       torchrun --nproc-per-node 2 open_clip_step.py --threads 1      (or the same with RANK, WORLD_SIZE, MASTER_* set)

Needs open_clip_torch and torch, which the tests' own Python does not have. The model is built by open_clip from the
sizes of `model { preset: MINI }`; loss, optimizer and the order of the step are those of its training program:
ClipLoss with local loss and gathered gradients, AdamW (foreach, or --fused) without decay on gains and biases, the
scale clamped after each step, DDP over gloo for more than one process. Data is random and already in memory.
"""

import argparse
import math
import os
import statistics
import time

import torch
import torch.distributed as dist
from open_clip.loss import ClipLoss
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

VOCABULARY, CONTEXT, PIXELS = 49408, 32, 64


def make_model():
    vision = CLIPVisionCfg(layers=6, width=192, head_width=64, patch_size=8, image_size=PIXELS)
    text = CLIPTextCfg(context_length=CONTEXT, vocab_size=VOCABULARY, width=192, heads=3, layers=6)
    return CLIP(128, vision, text)


def make_optimizer(model, fused):
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for name, p in named if p.ndim < 2 or "bn" in name or "ln" in name or "bias" in name or "logit_scale" in name]
    plain_ids = {id(p) for p in plain}
    decayed = [p for _, p in named if id(p) not in plain_ids]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.2}]
    return torch.optim.AdamW(groups, lr=5e-4, betas=(0.9, 0.98), eps=1e-6, fused=fused or None)


def make_batch(rows, rank):
    generator = torch.Generator().manual_seed(rank)
    images = torch.randn(rows, 3, PIXELS, PIXELS, generator=generator)
    tokens = torch.randint(1, VOCABULARY - 2, (rows, CONTEXT), generator=generator)
    tokens[:, 0] = VOCABULARY - 2
    tokens[:, -1] = VOCABULARY - 1
    return images, tokens


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--fused", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    model = make_model()
    scale = model.logit_scale
    if ranks > 1:
        dist.init_process_group("gloo")
        model = torch.nn.parallel.DistributedDataParallel(model)
    model.train()
    optimizer = make_optimizer(model, arguments.fused)
    loss = ClipLoss(local_loss=True, gather_with_grad=True, cache_labels=True, rank=rank, world_size=ranks)
    images, tokens = make_batch(arguments.batch, rank)

    wall, cpu = [], []
    for _ in range(arguments.steps + 3):
        if ranks > 1:
            dist.barrier()
        start, start_cpu = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        loss(*model(images, tokens)).backward()
        optimizer.step()
        with torch.no_grad():
            scale.clamp_(0, math.log(100))
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    wall, cpu = wall[3:], cpu[3:]  # the first ones allocate
    if rank == 0:
        step = statistics.median(wall)
        print(f"{ranks} ranks x {arguments.threads} threads, batch {arguments.batch} a rank: median of {len(wall)} steps "
              f"{step:.4f} s ({ranks * arguments.batch / step:.1f} samples/s), least {min(wall):.4f} s, "
              f"processor time of rank 0 {statistics.median(cpu):.4f} s a step")
    if ranks > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
