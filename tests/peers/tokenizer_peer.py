"""Captions a second of open_clip's SimpleTokenizer on one thread, to compare with `muster bench tokenizer`.

usage: tokenizer_peer.py CLIP_FOLDER CAPTIONS.txt [RUNS]

CLIP_FOLDER holds open_clip_tokenizer.py and bpe_simple_vocab_16e6.txt.gz; one line is one caption. The first run fills
the tokenizer's own cache of words.
"""
import sys
import time
import types


def main():
    folder, path, *rest = sys.argv[1:]
    sys.path.insert(0, folder)
    torch = types.ModuleType("torch")
    torch.Tensor = torch.LongTensor = object
    sys.modules["torch"] = torch
    import open_clip_tokenizer as original

    tokenizer = original.SimpleTokenizer()
    with open(path, encoding="utf-8") as file:
        captions = [line.rstrip("\n") for line in file]
    speeds = []
    for _ in range(int(rest[0]) if rest else 5):
        start = time.process_time()
        for caption in captions:
            ids = [tokenizer.sot_token_id] + tokenizer.encode(caption) + [tokenizer.eot_token_id]
            ids = ids[:77] + [0] * (77 - len(ids))
        speeds.append(len(captions) / (time.process_time() - start))
    print(f"{len(captions)} captions of {path} -> 77 ids\ncaptions/s of processor time: first run {speeds[0]:.0f}, "
          f"median {sorted(speeds)[len(speeds) // 2]:.0f}")


if __name__ == "__main__":
    main()
