"""A small BERT of transformers with random weights, captions, and the hidden states that it makes of them: the truth that
tests/encoders/bert_test.cpp compares with.

usage: make_bert_file.py OUT.safetensors

Beside the model's own tensors the file holds tokens [b, L] and hidden.N [b, L, width], behind N blocks.
"""

import sys

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel


def main():
    torch.manual_seed(3)
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, intermediate_size=24,
                        max_position_embeddings=12, hidden_act="gelu")
    model = BertModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.4 + (1 if parameter.dim() == 1 else 0))
    tokens = torch.randint(4, 50, (5, 10))
    lengths = torch.tensor([10, 3, 7, 2, 9])
    for row, length in zip(tokens, lengths):
        row[0], row[length - 1] = 2, 3
        row[length:] = 0
    with torch.no_grad():
        hidden = model(tokens, attention_mask=(tokens != 0).long(), output_hidden_states=True).hidden_states
    tensors = dict(model.state_dict())
    tensors["tokens"] = tokens
    for layer, states in enumerate(hidden):
        tensors[f"hidden.{layer}"] = states.contiguous()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, sys.argv[1])


if __name__ == "__main__":
    main()
