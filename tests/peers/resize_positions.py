"""Resizes a position table in NumPy and double precision: the truth of tests/encoders/position_tables_test.cpp.

usage: resize_positions.py IN.safetensors OUT.safetensors bilinear|bicubic ROWS COLUMNS NEW_ROWS NEW_COLUMNS
       resize_positions.py IN.safetensors OUT.safetensors text NEW_CONTEXT

From the definitions: output centre (i + 0.5) * scale - 0.5 with scale = old / new. Bilinear and linear: triangle of
half-width 1, coordinates clamped at the edges. Bicubic, antialiased: Keys' kernel with a = -0.5, stretched by the
scale where the table shrinks, weights outside dropped and the rest normalised (Pillow's and PyTorch's antialias).
"""

import math
import sys

import numpy as np
from safetensors.numpy import load_file, save_file


def linear_weights(old, new):
    weights = np.zeros((new, old))
    for i in range(new):
        centre = max((i + 0.5) * old / new - 0.5, 0.0)
        low = min(int(math.floor(centre)), old - 1)
        high = min(low + 1, old - 1)
        weights[i, low] += 1 - (centre - low)
        weights[i, high] += centre - low
    return weights


def keys(x, a=-0.5):
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    if x < 2:
        return a * (x**3 - 5 * x**2 + 8 * x - 4)
    return 0.0


def cubic_weights(old, new):
    stretch = max(old / new, 1.0)
    weights = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * old / new
        weights[i] = [keys((j + 0.5 - centre) / stretch) for j in range(old)]
    return weights / weights.sum(1, keepdims=True)


def main():
    source, out, what, *sizes = sys.argv[1:]
    table = load_file(source)["table"].astype(np.float64)
    sizes = [int(size) for size in sizes]
    if what == "text":
        inner = linear_weights(len(table) - 2, sizes[0] - 2) @ table[1:-1]
        result = np.concatenate([table[:1], inner, table[-1:]])
    else:
        rows, columns, new_rows, new_columns = sizes
        weights = linear_weights if what == "bilinear" else cubic_weights
        grid = table[1:].reshape(rows, columns, -1)
        grid = np.einsum("ij,kl,jlw->ikw", weights(rows, new_rows), weights(columns, new_columns), grid)
        result = np.concatenate([table[:1], grid.reshape(new_rows * new_columns, -1)])
    save_file({"table": result}, out)


if __name__ == "__main__":
    main()
