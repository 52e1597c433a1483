#!/usr/bin/env python3
"""Writes tests/golden/relevances.json: captions of six images, their ROUGE-L by pycocoevalcap's formulas (rouge.py: my_lcs,
beta 1.2) and NDCG@25 of given rankings by TERAN's (evaluate_utils/dcg.py), in numpy.

python3 tests/peers/make_relevances.py
"""

import json
import random

import numpy as np

WORDS = "a the man dog red coat walks on beach two children playing ball under umbrella \u00c9cole near".split()


def my_lcs(string, sub):
    if len(string) < len(sub):
        sub, string = string, sub
    lengths = [[0] * (len(sub) + 1) for _ in range(len(string) + 1)]
    for j in range(1, len(sub) + 1):
        for i in range(1, len(string) + 1):
            if string[i - 1] == sub[j - 1]:
                lengths[i][j] = lengths[i - 1][j - 1] + 1
            else:
                lengths[i][j] = max(lengths[i - 1][j], lengths[i][j - 1])
    return lengths[len(string)][len(sub)]


def rouge_l(candidate, references, beta=1.2):
    candidate = candidate.lower().split(" ")
    precisions, recalls = [], []
    for reference in references:
        reference = reference.lower().split(" ")
        lcs = my_lcs(reference, candidate)
        precisions.append(lcs / float(len(candidate)))
        recalls.append(lcs / float(len(reference)))
    p, r = max(precisions), max(recalls)
    return ((1 + beta ** 2) * p * r) / float(r + beta ** 2 * p) if p != 0 and r != 0 else 0.0


def dcg_at_k(r, k):
    r = np.asarray(r, dtype=float)[:k]
    return np.sum((np.power(2, r) - 1) / np.log2(np.arange(2, r.size + 2)))


def ndcg(ranked, relevances, k=25):
    best = dcg_at_k(sorted(relevances, reverse=True), k)
    return dcg_at_k([relevances[i] for i in ranked], k) / best if best else 0.0


def main():
    random.seed(5)
    images = []
    for image in range(6):
        captions = []
        for _ in range(random.randint(1, 5)):
            caption = " ".join(random.choice(WORDS) for _ in range(random.randint(1, 14)))
            captions.append(caption.capitalize() + random.choice(["", " .", "  twice"]))
        images.append(captions)
    images[2][0] = " ".join(random.choice(WORDS) for _ in range(150))
    captions = [caption for some in images for caption in some]
    matrix = [[rouge_l(caption, some) for some in images] for caption in captions]
    matrix[3] = [0.0] * len(images)
    drawn = np.array([[random.random() if random.random() < 0.6 else 0.0 for _ in range(40)] for _ in range(60)])
    drawn[:, 7] = 0
    drawn[11, :] = 0
    texts = [random.sample(range(40), 25) for _ in range(60)]
    of_images = [random.sample(range(60), 25) for _ in range(40)]
    text_to_image = float(np.mean([ndcg(texts[q], list(drawn[q])) for q in range(60)]))
    image_values = [ndcg(of_images[i], list(drawn[:, i])) for i in range(40)]
    image_to_text = float(np.mean([v for v in image_values if v != 0]))
    rouge = [[rouge_l(caption, some) for some in images] for caption in captions]
    with open("tests/golden/relevances.json", "w", encoding="utf-8") as file:
        json.dump({"captions": images, "rouge_l": rouge, "relevances": drawn.tolist(), "of_texts": texts,
                   "of_images": of_images, "text_to_image": text_to_image, "image_to_text": image_to_text}, file)


main()
