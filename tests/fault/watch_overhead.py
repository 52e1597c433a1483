"""What watching costs a run: the watchdog, and the comparison of the ranks' replicated state by hashes.

usage: watch_overhead.py [--build build] [--ranks 2] [--rounds 3]

A difference of run times cannot show half a percent on a shared machine, so that each part's own time is taken, with
the steps it stands beside, of real runs under mpirun (`--trace`):
  hashes    the median span "compare ranks" over the median of as many steps as lie between two comparisons by default
  watchdog  processor time of what it is told about a collective x the collectives of a step, over the step; and of its
            own thread, over the second between two ticks. watchdog_cost, built beside the program, measures both.
Two models: MINI, whose steps are the shortest that train anything, and ViT-B/32 with a batch so small (16) that a step is
as short as 1.8 GB of state let it be. The bound is 0.5 % of either.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

CONFIG = """
model { preset: %s }
objective { term { info_nce { positives: PAIR } } }
train {
  global_batch: %d steps: 100000 seed: 1 log_every: 1 compare_ranks_every: %d
  optimizer { kind: ADAMW rate: 1e-5 }
  evaluation { every: 0 }
  checkpoint { every: 0 }
}
"""
# preset, pairs of a step, steps, a comparison every
MODELS = [("MINI", 48, 61, 5), ("VIT_B_32", 16, 13, 3)]
BETWEEN = 100  # train.compare_ranks_every by default
BOUND = 0.005


def read_run(build, folder, ranks, model):
    """Seconds of each step without a comparison, of each comparison; collectives of a step."""
    preset, batch, steps, every = model
    run, config = os.path.join(folder, "run"), os.path.join(folder, "config.textproto")
    shutil.rmtree(run, ignore_errors=True)
    with open(config, "w") as file:
        file.write(CONFIG % (preset, batch, every))
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                       OMPI_MCA_rmaps_base_oversubscribe="1")
    command = ["mpirun", "-n", str(ranks), os.path.join(build, "muster"), "train", "--config", config, "--data",
               os.path.join(folder, "store"), "--run", run, "--trace", "1:%d" % steps, "--stop-after", str(steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, check=False)
    traces = [os.path.join(run, "trace.rank%d.json" % rank) for rank in range(ranks)]
    if not all(os.path.exists(trace) for trace in traces):
        sys.exit("watch_overhead.py: the run wrote no traces:\n" + done.stdout.decode())
    with open(traces[0]) as file:
        spans = [e for e in json.load(file)["traceEvents"] if e["ph"] == "X"]
    compares = [(e["ts"], e["ts"] + e["dur"]) for e in spans if e["name"] == "compare ranks"]
    saves = [(e["ts"], e["ts"] + e["dur"]) for e in spans if e["name"] == "checkpoint"]
    plain, waits = [], []
    for step in [e for e in spans if e["name"] == "step" and "dur" in e][1:]:
        begin, end = step["ts"], step["ts"] + step["dur"]
        if any(begin <= b and e <= end for b, e in compares + saves):
            continue
        plain.append(step["dur"] / 1e6)
        waits.append(sum(1 for e in spans if e["name"] == "wait" and begin <= e["ts"] <= end))
    return plain, [(e - b) / 1e6 for b, e in compares], waits


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="watch-overhead-")
    build = os.path.abspath(arguments.build)
    subprocess.run([os.path.join(build, "muster"), "synth", "--identities", "80", "--views", "2", "--out",
                    os.path.join(folder, "store")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    costs = [json.loads(subprocess.run([os.path.join(build, "watchdog_cost")], stdout=subprocess.PIPE,
                                       check=True).stdout) for _ in range(arguments.rounds)]
    call = statistics.median(cost["call_ns"] for cost in costs) * 1e-9
    tick = statistics.median(cost["tick_ns"] for cost in costs) * 1e-9
    print("watchdog: %.0f ns for a collective, %.1f us for a tick each second" % (call * 1e9, tick * 1e6), flush=True)
    worst = 0.0
    for model in MODELS:
        steps, compares, waits = [], [], []
        for _ in range(arguments.rounds):
            found = read_run(build, folder, arguments.ranks, model)
            steps, compares, waits = steps + found[0], compares + found[1], waits + found[2]
        step, compare, calls = statistics.median(steps), statistics.median(compares), max(waits)
        hashes, watchdog = compare / (BETWEEN * step), call * calls / step + tick
        worst = max(worst, hashes + watchdog)
        print("%s, %d ranks, %d pairs: a step %.1f ms with %d collectives, a comparison %.2f ms; share of the run: "
              "hashes %.4f %%, watchdog %.4f %%" % (model[0], arguments.ranks, model[1], 1e3 * step, calls,
                                                   1e3 * compare, 100 * hashes, 100 * watchdog), flush=True)
    shutil.rmtree(folder)
    print("watchdog and hashes: at most %.3f %% of a run (bound %.1f %%)" % (100 * worst, 100 * BOUND))
    return worst > BOUND


sys.exit(main())
