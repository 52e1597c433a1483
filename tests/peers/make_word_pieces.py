"""Ids of transformers' BertTokenizer for captions of every kind: the truth that tests/dataloader/word_piece_test.cpp
compares with.

usage: make_word_pieces.py VOCAB.txt OUT_VOCAB.txt OUT.jsonl COUNT SEED

OUT_VOCAB.txt is a part of VOCAB.txt (bert-base-uncased's), small enough to keep: the special pieces, and every 7th other.
A line of OUT.jsonl is {"caption", "context", "ids" (no padding)}. Captions are make_token_ids.py's without the characters
that this Python's Unicode does not know, which BERT would drop. What looks like a special token is text.
"""

import json
import sys
import types
import unicodedata

from transformers import BertTokenizer

sys.modules.setdefault("ftfy", types.ModuleType("ftfy"))  # what make_token_ids.py needs it for is not used here
import make_token_ids  # noqa: E402


def main():
    vocabulary, out_vocabulary, out, count, seed = sys.argv[1:]
    with open(vocabulary, encoding="utf-8") as file:
        pieces = file.read().split("\n")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    kept = special + [piece for i, piece in enumerate(pieces) if piece and piece not in special and
                      (len(piece.replace("##", "")) == 1 or i % 7 == 0) and not piece.startswith("[unused")]
    with open(out_vocabulary, "w", encoding="utf-8") as file:
        file.write("".join(piece + "\n" for piece in kept))
    tokenizer = BertTokenizer(out_vocabulary, split_special_tokens=True)
    with open(out, "w", encoding="ascii") as file:
        for text, context in make_token_ids.random_captions(int(count), int(seed)):
            text = "".join(c for c in text if unicodedata.category(c) != "Cn")[:160]
            context = min(max(context, 3), 48)
            ids = tokenizer(text, truncation=True, max_length=context)["input_ids"]
            file.write(json.dumps({"caption": text, "context": context, "ids": ids}) + "\n")


if __name__ == "__main__":
    main()
