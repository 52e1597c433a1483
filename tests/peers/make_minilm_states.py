#!/usr/bin/env python3
"""Writes tests/golden/weights/bert/minilm_states.safetensors: all-MiniLM-L6-v2's word pieces and hidden states after 3 and
6 blocks, by transformers 4.57.1, of the folder that is given (config.json, model.safetensors, vocab.txt, tokenizer files).

python3 tests/peers/make_minilm_states.py FOLDER
"""

import sys

import torch
from safetensors.torch import save_file
from transformers import BertModel, BertTokenizer

CAPTIONS = [
    "A man in a red coat walks two small dogs along the beach.",
    "Unbelievably, skateboarders' kick-flips!",
    "dog",
    "Caf\u00e9 tables under striped umbrellas; rain, 3 o'clock",
]
folder = sys.argv[1]
tokens = BertTokenizer.from_pretrained(folder)(CAPTIONS, padding=True, return_tensors="pt")
model = BertModel.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager").eval()
with torch.no_grad():
    hidden = model(**tokens, output_hidden_states=True).hidden_states
save_file({"tokens": tokens["input_ids"], "hidden.3": hidden[3].contiguous(), "hidden.6": hidden[6].contiguous()},
          "tests/golden/weights/bert/minilm_states.safetensors")
