"""What checkpoints cost a run: ViT-B/32 with AdamW, 1.8 GB a checkpoint, against torch.save and fsync of the same tensors.

usage: save_overhead.py [--muster build/muster] [--folder DIR] [--rounds 5] [--batch 8] [--every 100]

Rounds alternate: a run of `muster train --trace` with a checkpoint every 3 steps, then torch.save + fsync of what it saved,
on the same disk. Blocking is the span "checkpoint" of the training thread within a step, of all but a run's first one,
whose buffers are new. Its share of a run is blocking / (every x the median step without a checkpoint); with the writing
thread's own seconds on top it is an upper bound of what writing beside the steps takes from them, as if a core were free
for nothing else. Needs torch; without it the word Skipped and exit code 77.
"""

import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

CONFIG = """
model { preset: VIT_B_32 }
objective { term { info_nce { positives: PAIR } } }
train {
  global_batch: %d steps: 1000 seed: 1 log_every: 1
  optimizer { kind: ADAMW rate: 1e-5 }
  evaluation { every: 0 }
  checkpoint { every: 3 keep_last: 1 }
}
"""
STEPS = 9


def read_spans(path):
    """Of a trace file: (thread's name, name, begin, end) in seconds."""
    with open(path) as file:
        events = json.load(file)["traceEvents"]
    threads = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    return [(threads.get(e["tid"], ""), e["name"], e["ts"] / 1e6, (e["ts"] + e["dur"]) / 1e6)
            for e in events if e["ph"] == "X"]


def run_muster(muster, folder, batch):
    """Seconds: of blocking by each save but the first, of each write, of each step without a save."""
    run = os.path.join(folder, "run")
    shutil.rmtree(run, ignore_errors=True)
    config = os.path.join(folder, "config.textproto")
    with open(config, "w") as file:
        file.write(CONFIG % batch)
    subprocess.run([muster, "train", "--config", config, "--data", os.path.join(folder, "store"), "--run", run,
                    "--trace", "1:%d" % STEPS, "--stop-after", str(STEPS)], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=False)
    spans = read_spans(glob.glob(os.path.join(run, "trace.rank*.json"))[0])
    writer = [s for s in spans if "writer" in s[0] and s[1] == "checkpoint"]
    steps = [s for s in spans if s[1] == "step"]
    saves = [s for s in spans if "writer" not in s[0] and s[1] == "checkpoint"]
    inside = [[s for s in saves if step[2] <= s[2] and s[3] <= step[3]] for step in steps]
    blocking = [s[3] - s[2] for found in inside for s in found]
    plain = [step[3] - step[2] for step, found in zip(steps, inside) if not found]
    return blocking[1:], [s[3] - s[2] for s in writer], plain[1:]


def read_safetensors(path, torch):
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        data = bytearray(file.read())
    types = {"F32": torch.float32, "I64": torch.int64}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = torch.frombuffer(data[begin:end], dtype=types[entry["dtype"]]).reshape(entry["shape"]).clone()
    return tensors


def save_by_torch(torch, folder, times):
    newest = sorted(glob.glob(os.path.join(folder, "run/checkpoints/step_*")))[-1]
    state = {name: read_safetensors(os.path.join(newest, name + ".safetensors"), torch)
             for name in ("model", "optimizer")}
    path = os.path.join(folder, "peer.pt")
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        with open(path, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        seconds.append(time.perf_counter() - start)
        size = os.path.getsize(path)
        os.remove(path)
    return seconds, size


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--muster", default="build/muster")
    parser.add_argument("--folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--every", type=int, default=100)
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("Skipped: no torch in this Python")
        sys.exit(77)
    folder = arguments.folder or tempfile.mkdtemp(prefix="save-overhead-")
    if not os.path.exists(os.path.join(folder, "store")):
        subprocess.run([arguments.muster, "synth", "--identities", "40", "--views", "2", "--out",
                        os.path.join(folder, "store")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    blocking, writing, steps, peer, ratios = [], [], [], [], []
    for round_number in range(arguments.rounds):
        ours, writes, plain = run_muster(arguments.muster, folder, arguments.batch)
        theirs, size = save_by_torch(torch, folder, len(ours))
        blocking, writing, steps, peer = blocking + ours, writing + writes, steps + plain, peer + theirs
        ratios.append(statistics.median(ours) / statistics.median(theirs))
        print("round %d: blocking %s s, written in %s s, step %.2f s; torch.save + fsync %s s; ratio %.3f" % (
            round_number + 1, " ".join("%.3f" % s for s in ours), " ".join("%.2f" % s for s in writes),
            statistics.median(plain), " ".join("%.2f" % s for s in theirs), ratios[-1]), flush=True)
    step, block = statistics.median(steps), statistics.median(blocking)
    write, interval = statistics.median(writing), arguments.every * statistics.median(steps)
    print("%.2f GB; medians: blocking %.3f s, writing %.2f s, torch.save + fsync %.2f s, a step of %d pairs %.2f s" % (
        size / 1e9, block, write, statistics.median(peer), arguments.batch, step))
    print("share of a run with a checkpoint every %d steps: blocking %.2f %%, with all of the writing %.2f %%" % (
        arguments.every, 100 * block / interval, 100 * (block + write) / interval))
    print("blocking / (torch.save + fsync): median of %d rounds %.3f" % (len(ratios), statistics.median(ratios)))
    if not arguments.folder:
        shutil.rmtree(folder)


main()
