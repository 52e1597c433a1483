"""Pictures damaged in many ways, and what Pillow makes of those that an import has kept.

usage: damaged_images.py make SOURCE.png FOLDER COUNT     pictures and list.csv, from parts of SOURCE; a fixed seed
       damaged_images.py compare FOLDER KEPT              KEPT: lines "path width height", and KEPT.pixels, their RGB

`make` writes what cameras and tools write (JPEG baseline, progressive, with restarts, grey, CMYK, several samplings; PNG
in RGB, palette, grey of 1, 8 and 16 bits, with alpha) and then flips bits, overwrites, cuts out, doubles and moves
bytes. Names begin with what was done: "cut" is cut off at the end.
"""

import io
import random
import sys
from pathlib import Path

from PIL import Image, ImageFile


def originals(source):
    """Encoded pictures of about 48 x 40."""
    whole = Image.open(source).convert("RGB")
    rng = random.Random(1)
    encoded = []
    for number in range(24):
        width, height = rng.randint(30, 60), rng.randint(30, 60)
        left, top = rng.randint(0, whole.width - width), rng.randint(0, whole.height - height)
        part = whole.crop((left, top, left + width, top + height))
        forms = [("JPEG", part, {"quality": 90}), ("JPEG", part, {"quality": 60, "progressive": True}),
                 ("JPEG", part, {"quality": 95, "subsampling": 0, "optimize": True}),
                 ("JPEG", part, {"quality": 80, "restart_marker_blocks": 2}), ("JPEG", part.convert("L"), {"quality": 85}),
                 ("JPEG", part.convert("CMYK"), {"quality": 85}), ("PNG", part, {}),
                 ("PNG", part.quantize(30), {}), ("PNG", part.convert("L").convert("1"), {}),
                 ("PNG", part.convert("RGBA"), {"compress_level": 1})]
        kind, picture, options = forms[number % len(forms)]
        data = io.BytesIO()
        picture.save(data, kind, **options)
        encoded.append((kind, data.getvalue()))
    return encoded


def damage(data, rng):
    """(what was done, bytes)"""
    data = bytearray(data)
    kind = rng.choice(["flip", "flip", "flip", "write", "write", "cut", "remove", "double", "move", "fill"])
    at = rng.randrange(len(data))
    length = rng.randint(1, max(1, min(64, len(data) - at)))
    if kind == "flip":
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "write":
        for place in range(at, min(len(data), at + rng.randint(1, 8))):
            data[place] = rng.randrange(256)
    elif kind == "cut":
        del data[at:]
    elif kind == "remove":
        del data[at : at + length]
    elif kind == "double":
        data[at:at] = data[at : at + length]
    elif kind == "move":
        piece = data[at : at + length]
        del data[at : at + length]
        to = rng.randrange(len(data) + 1)
        data[to:to] = piece
    else:
        data[at : at + length] = bytes([rng.choice([0, 255])]) * length
    return kind, bytes(data)


def make(source, folder, count):
    rng = random.Random(2)
    pictures = originals(source)
    Path(folder).mkdir(parents=True)
    with open(Path(folder) / "list.csv", "w") as out:
        out.write("image,caption\n")
        for number in range(count):
            kind, data = pictures[number % len(pictures)]
            done, data = damage(data, rng)
            name = f"{done}-{number:05d}.{'jpg' if kind == 'JPEG' else 'png'}"
            (Path(folder) / name).write_bytes(data)
            out.write(f"{name},picture {number}\n")


def compare(folder, kept):
    """Pillow as programs use it: an image that is cut off is an error."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    equal, differ, refused = 0, [], []
    with open(kept + ".pixels", "rb") as pixels:
        for line in open(kept):
            name, width, height = line.split()
            ours = pixels.read(3 * int(width) * int(height))
            try:
                picture = Image.open(Path(folder) / name).convert("RGB")
            except Exception as error:
                refused.append(f"{name}: {error}")
                continue
            same = picture.size == (int(width), int(height)) and picture.tobytes() == ours
            equal += same
            if not same:
                differ.append(name)
    print(f"{equal} equal, {len(differ)} differ, {len(refused)} that Pillow refuses")
    for line in (differ + refused)[:20]:
        print(line)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        compare(sys.argv[2], sys.argv[3])
