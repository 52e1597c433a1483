"""TERAN's towers of PyTorch's own modules with random weights, and what they make of some regions and captions: the truth
that tests/encoders/region_towers_test.cpp compares with.

usage: make_region_towers.py OUT.safetensors

Tensors have Muster's names. Without dropout; the text tower is given BERT's hidden states by transformers' BertModel.
"""

import sys

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import BertConfig, BertModel

WIDTH, JOINT, BERT = 16, 8, 12


def encoder(width, heads, hidden, layers):
    layer = nn.TransformerEncoderLayer(width, heads, hidden, dropout=0, activation="relu", batch_first=False)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).eval()


def run(blocks, x, lengths):
    """x [b, T, w], as published code does it: time first, padding masked."""
    padding = torch.arange(x.shape[1])[None, :] >= lengths[:, None]
    return blocks(x.transpose(0, 1), src_key_padding_mask=padding).transpose(0, 1)


def names_of(blocks, prefix):
    out = {}
    for i, layer in enumerate(blocks.layers):
        p = f"{prefix}{i}."
        out[p + "attention.qkv.weight"] = layer.self_attn.in_proj_weight
        out[p + "attention.qkv.bias"] = layer.self_attn.in_proj_bias
        for ours, theirs in (("attention.output", layer.self_attn.out_proj), ("attention_norm", layer.norm1),
                             ("expand", layer.linear1), ("contract", layer.linear2), ("mlp_norm", layer.norm2)):
            out[p + ours + ".weight"], out[p + ours + ".bias"] = theirs.weight, theirs.bias
    return out


def main():
    torch.manual_seed(4)
    fc1, fc2 = nn.Linear(WIDTH + 5, WIDTH), nn.Linear(WIDTH, WIDTH)
    image_projection, text_projection = nn.Linear(WIDTH, JOINT), nn.Linear(BERT, JOINT)
    blocks, joint = encoder(WIDTH, 4, 20, 2), encoder(JOINT, 2, 12, 2)
    bert = BertModel(BertConfig(vocab_size=40, hidden_size=BERT, num_hidden_layers=1, num_attention_heads=3,
                                intermediate_size=20, max_position_embeddings=12)).eval()
    with torch.no_grad():
        for module in (fc1, fc2, image_projection, text_projection, blocks, joint, bert):
            for parameter in module.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.4 + (1 if parameter.dim() == 1 else 0))

    counts = torch.tensor([3, 5, 1, 4])
    regions = torch.rand(int(counts.sum()), WIDTH).half()
    corners = torch.rand(int(counts.sum()), 4)
    boxes = torch.cat([corners, ((corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]))[:, None]], 1)
    tokens = torch.randint(4, 40, (4, 9))
    lengths = torch.tensor([9, 3, 2, 6])
    for row, length in zip(tokens, lengths):
        row[0], row[length - 1] = 2, 3
        row[length:] = 0

    with torch.no_grad():
        described = torch.zeros(4, 6, WIDTH + 5)
        for image, (rows, frame) in enumerate(zip(regions.float().split(counts.tolist()), boxes.split(counts.tolist()))):
            described[image, 1:1 + len(rows)] = torch.cat([rows, frame], 1)
        x = run(blocks, fc2(torch.relu(fc1(described))), counts + 1)
        x = run(joint, image_projection(x), counts + 1)
        hidden = bert(tokens, attention_mask=(tokens != 0).long()).last_hidden_state
        y = run(joint, text_projection(hidden), lengths)
        expected = {"image.global": x[:, 0], "text.global": y[:, 0],
                    "image.rows": torch.cat([row[1:1 + n] for row, n in zip(x, counts)]),
                    "text.rows": torch.cat([row[1:n - 1] for row, n in zip(y, lengths)]),
                    "text.rows.published": torch.cat([row[1:max(1, n - 2)] for row, n in zip(y, lengths)])}

    tensors = {"regions": regions, "boxes": boxes, "counts": counts, "tokens": tokens}
    tensors.update({"expected." + name: value for name, value in expected.items()})
    tensors.update({"bert." + name: value for name, value in bert.state_dict().items()})
    tensors.update(names_of(blocks, "image.blocks."))
    tensors.update(names_of(joint, "joint."))
    for name, layer in (("image.expand", fc1), ("image.contract", fc2), ("image.projection", image_projection),
                        ("text.projection", text_projection)):
        tensors[name + ".weight"], tensors[name + ".bias"] = layer.weight, layer.bias
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, sys.argv[1])


if __name__ == "__main__":
    main()
