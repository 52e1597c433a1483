"""What check_open_clip.py and check_irra.py share: 64 pairs through Muster from a user's weights, and the comparison.

The pairs are a user's (--list: JSON lines with image and caption, or captions) or drawn by `muster synth`. Pictures are
brought to the model's size here, once for both programs, and written as PNG, so that only the models are compared.
Muster trains one step at a rate of 0: its checkpoint then holds the weights it started from, and, as Adam's first
moment with beta1 = 0, the gradient of every parameter.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

SKIPPED = 77  # the exit code


def skip(what):
    print(f"Skipped: {what}")
    sys.exit(SKIPPED)


def parse(parser):
    """The arguments, with --work made. Ends with one line where a file is missing or --work is there."""
    arguments = parser.parse_args()
    for path in (arguments.muster, arguments.list, None if arguments.weights == "random" else arguments.weights):
        if path and not Path(path).exists():
            sys.exit(f"there is no file {path}")
    try:
        Path(arguments.work).mkdir()
    except OSError as error:
        sys.exit(f"--work {arguments.work} cannot be made: {error.strerror}")
    return arguments


def arguments_of(text):
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("muster", help="the program")
    parser.add_argument("weights", help="the file, or random: a small model, made here")
    parser.add_argument("--work", required=True, help="folder to make, for pictures, store and run")
    parser.add_argument("--list", help="JSON lines: image (a path from the list's folder), caption or captions")
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--set", action="append", default=[], help="of muster train, such as train.init.ignore=...")
    parser.add_argument("--bound", type=float, default=1e-4, help="largest relative difference that passes [1e-4]")
    return parser


def run(*command, **more):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)
    if result.returncode != 0:
        sys.exit(f"{' '.join(str(word) for word in command[:3])} failed: {result.stderr.strip()}")
    return result.stdout


def read_pairs(arguments):
    """(path, caption) of as many images as are asked for, each once."""
    if arguments.list:
        root, lines = Path(arguments.list).parent, open(arguments.list, encoding="utf-8")
    else:
        root = Path(arguments.work) / "drawn"
        run(arguments.muster, "synth", "--identities", arguments.pairs, "--views", 1, "--val-fraction", 0, "--test-fraction", 0,
            "--out", Path(arguments.work) / "drawn-store", "--jsonl", root)
        lines = open(root / "manifest.jsonl", encoding="utf-8")
    pairs = []
    for line in lines:
        row = json.loads(line)
        caption = row["caption"] if "caption" in row else row["captions"][0]
        pairs.append((root / row["image"], caption))
        if len(pairs) == arguments.pairs:
            return pairs
    sys.exit(f"{arguments.list} has {len(pairs)} images; {arguments.pairs} are needed, or give --pairs")


def write_pictures(arguments, pairs, to_size):
    """PNGs of the model's size and their list; returns them as they were written."""
    from PIL import Image

    folder = Path(arguments.work) / "pairs"
    folder.mkdir()
    pictures = []
    with open(folder / "list.jsonl", "w", encoding="utf-8") as out:
        for number, (path, caption) in enumerate(pairs):
            pictures.append(to_size(Image.open(path).convert("RGB")))
            pictures[-1].save(folder / f"{number:05d}.png")
            out.write(json.dumps({"image": f"{number:05d}.png", "caption": caption, "identity": str(number)}) + "\n")
    return pictures


def through_muster(arguments, weights, objective, settings):
    """Embeddings in the pairs' order, the loss, and the gradients by Muster's names."""
    from safetensors.torch import load_file

    work = Path(arguments.work)
    run(arguments.muster, "import", "jsonl", work / "pairs/list.jsonl", "--out", work / "store")
    (work / "config.textproto").write_text(
        f"objective {{ {objective} }}\n"
        f"train {{ global_batch: {arguments.pairs} steps: 1 log_every: 1\n"
        "  optimizer { kind: ADAMW rate: 0 beta1: 0 weight_decay: 0 } schedule { decay: CONSTANT } }\n")
    changes = [f"train.init.weights={os.path.abspath(weights)}"] + settings + arguments.set
    run(arguments.muster, "train", "--config", work / "config.textproto", "--data", work / "store", "--run", work / "run",
        *[word for change in changes for word in ("--set", change)])
    run(arguments.muster, "embed", "--run", work / "run", "--data", work / "store", "--split", "train", "--out",
        work / "embeddings.safetensors")
    embeddings = load_file(work / "embeddings.safetensors")
    steps = [json.loads(line) for line in open(work / "run/metrics.jsonl", encoding="utf-8")]
    loss = next(step["loss"] for step in steps if step["kind"] == "step")
    moments = load_file(work / "run/checkpoints/step_0000000001/optimizer.safetensors")
    suffix = ".exp_avg"
    gradients = {name[: -len(suffix)]: value for name, value in moments.items() if name.endswith(suffix)}
    return embeddings["image"], embeddings["text"], loss, gradients


def theirs_of(ours):
    """The name in OpenAI's model.py, which open_clip and IRRA share, of one of Muster's parameters."""
    plain = {"image.class_embedding": "visual.class_embedding", "image.patch.weight": "visual.conv1.weight",
             "image.position_embedding": "visual.positional_embedding", "image.projection": "visual.proj",
             "text.token_embedding": "token_embedding.weight", "text.position_embedding": "positional_embedding",
             "text.projection": "text_projection", "objective.log_scale": "logit_scale"}
    if ours in plain:
        return plain[ours]
    for mine, theirs in (("image.blocks.", "visual.transformer.resblocks."), ("text.blocks.", "transformer.resblocks."),
                         ("image.pre_norm.", "visual.ln_pre."), ("image.post_norm.", "visual.ln_post."),
                         ("text.final_norm.", "ln_final."), (".attention_norm.", ".ln_1."), (".mlp_norm.", ".ln_2."),
                         (".attention.qkv.", ".attn.in_proj_"), (".attention.output.", ".attn.out_proj."),
                         (".mlp.expand.", ".mlp.c_fc."), (".mlp.contract.", ".mlp.c_proj.")):
        ours = ours.replace(mine, theirs)
    return ours


def compare(arguments, ours, theirs):
    """Both: image, text, loss, gradients. Prints, and ends with 1 if anything differs by more than the bound."""
    worst = 0.0
    for side, mine, other in (("image", ours[0], theirs[0]), ("text", ours[1], theirs[1])):
        error = ((mine - other).norm(dim=1) / other.norm(dim=1)).max().item()
        print(f"{len(mine)} {side} embeddings of width {mine.shape[1]}: off by at most {error:.2g} of their length")
        worst = max(worst, error)
    error = abs(ours[2] - theirs[2]) / abs(theirs[2])
    print(f"loss {ours[2]:.7f} here, {theirs[2]:.7f} there: off by {error:.2g}")
    worst = max(worst, error)
    names = {name: theirs_of(name) for name in ours[3]}
    missing = [name for name, other in names.items() if other not in theirs[3]]
    if missing:
        sys.exit(f"no gradient there of {', '.join(missing[:4])}")
    # A gradient that is zero but for rounding (of the keys' biases) is measured against the largest of all.
    largest = max(value.abs().max().item() for value in theirs[3].values())
    off = []
    for name, other in names.items():
        expected = theirs[3][other].reshape(ours[3][name].shape)
        scale = max(expected.norm().item(), 1e-4 * largest)
        off.append(((ours[3][name] - expected).norm().item() / scale, name))
    off.sort(reverse=True)
    print(f"gradients of {len(off)} parameters: off by at most {off[0][0]:.2g} of their length ({off[0][1]})")
    worst = max(worst, off[0][0])
    print("the same" if worst <= arguments.bound else f"NOT the same: {worst:.2g} is more than {arguments.bound:g}")
    sys.exit(0 if worst <= arguments.bound else 1)
