"""Ids of open_clip's SimpleTokenizer for captions of every kind: the truth that the tokenizer's test compares with.

usage: make_token_ids.py CLIP_FOLDER OUT.jsonl COUNT SEED          random captions
       make_token_ids.py CLIP_FOLDER OUT.jsonl every-code-point    each code point beside letters, digits and marks

CLIP_FOLDER holds open_clip_tokenizer.py and bpe_simple_vocab_16e6.txt.gz. A line of OUT.jsonl is
{"caption", "context", "ids" (no padding), "repaired"}; "repaired" says that ftfy's repair of mojibake changes the
caption, and then "ids" are those without that repair, which is what Muster promises.
"""

import json
import random
import sys
import types

import ftfy

HTML = ["&amp;", "&amp", "&lt;", "&gt;", "&quot;", "&#39;", "&#x27;", "&nbsp;", "&eacute;", "&EACUTE;", "&NTILDE;", "&SZLIG;",
        "&amp;amp;", "&amp;lt;b&amp;gt;", "&notin;", "&notit;", "&not", "&#x1F600;", "&#0;", "&#128;", "&#xD800;", "&#1114112;",
        "&#59;", "&#12ab;", "&#xZZ;", "&#;", "&;", "&", "&&amp;", "&hellip;", "&filig;", "&FILIG;", "&NAPOS;", "&GTDOT;", "&COPY",
        "&copysr;", "&#99999999999999999999;", "&zwnj;", "&Tab;", "&NewLine;", "&#10;", "&#xB;", "&#x0d;", "&#133;", "&fjlig;",
        "&NotEqualTilde;", "&bne;", "&CounterClockwiseContourIntegral;", "&rsquo;s", "&ldquo;", "&nTILDE;", "<b>", "</b>", "<"]
WORDS = ["a", "man", "woman", "wearing", "the", "red", "COAT", "black-and-white", "backpack", "T-shirt", "isn't", "she's", "WE'LL",
         "I'm", "they've", "he'd", "you're", "'s", "'S", "rock'n'roll", "jeans,", "shoes.", "3/4", "2nd", "1990s", "42", "$9.99",
         "e.g.", "U.S.A.", "(left)", "...", "!!!", "#hashtag", "@user", "http://a.b/c?d=e&f=g", "snake_case", "antidisestablishment",
         "<start_of_text>", "<END_OF_TEXT>", "<\u017ftart_of_text>", "'\u017f", "supercalifragilistic", "zzzzqqqq", "aaaaaaaa"]
SCRIPTS = [(0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2FF), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F), (0x590, 0x5FF),
           (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x13A0, 0x13FF), (0x1E00, 0x1FFF),
           (0x2000, 0x206F), (0x2070, 0x20CF), (0x2100, 0x218F), (0x2460, 0x24FF), (0x2600, 0x27BF), (0x2C00, 0x2D2F),
           (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xA640, 0xA7FF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFB4F),
           (0xFE00, 0xFE2F), (0xFF00, 0xFFEF), (0x10400, 0x1044F), (0x1D400, 0x1D7FF), (0x1F100, 0x1F1FF), (0x1F300, 0x1FAFF)]
MARKS = [chr(c) for c in range(0x300, 0x370)] + [chr(c) for c in range(0x1DC0, 0x1DE0)]
QUOTES = list("'\"`\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u02bc\u00ab\u00bb\uff07\uff02\u0149")
SPACES = list(" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\u00a0\u1680\u2000\u2003\u200b\u2028\u2029\u202f\u205f\u3000") + ["\r\n", "  "]
CONTROLS = [chr(c) for c in (*range(0x20), *range(0x7F, 0xA0), *range(0x200B, 0x2010), *range(0x202A, 0x202F),
                             *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFE))]
ESCAPES = ["\x1b[36;44m", "\x1b[0m", "\x1b[", "\x1b[;m", "\x1b[\u0663m", "\x1b]0;title\x07", "\x1b[1;2;3Z"]
EMOJI = ["\U0001F468\u200D\U0001F469\u200D\U0001F467", "\U0001F44D\U0001F3FD", "\u2764\uFE0F", "\U0001F1E9\U0001F1EA", "1\uFE0F\u20E3",
         "\U0001F3F4\U000E0067\U000E0062\U000E007F", "\u263A", "\U0001F9D1\U0001F3FB\u200D\U0001F680"]
SIGMAS = ["\u03a3", "\u03a3\u03a3", "\u0391\u03a3", "\u0391\u03a3.", "\u0391\u0301\u03a3\u0301\u0391", "\u0130", "I\u0307", "\u0131", "\u00df", "\u1e9e",
          "\u0345", "\u01c5", "\u2160", "\u24b6", "\U0001F130\u03a3"]
MOJIBAKE = ["caf\u00e9", "\u201cquoted\u201d", "it\u2019s", "na\u00efve", "\u00e0 la mode", "\u65e5\u672c", "\u20ac5", "\u043f\u0440\u0438"]
# Marks of Unicode 15: their order among others is not known to a Python with Unicode 14 (3.11).
NEW_MARKS = {*range(0x10EFD, 0x10F00), 0x11F41, 0x11F42, 0x1E08F, *range(0x1E4EC, 0x1E4F0)}


def any_code_point(rng):
    while True:
        plane = rng.choice([0, 0, 0, 1, 1, 2, 3, 14, rng.randrange(17)])
        c = plane * 0x10000 + rng.randrange(0x10000)
        if not 0xD800 <= c < 0xE000 and c not in NEW_MARKS:
            return chr(c)


def script_run(rng):
    first, last = rng.choice(SCRIPTS)
    return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 12)))


def mojibake(rng):
    text = rng.choice(MOJIBAKE)
    return text.encode("utf-8").decode(rng.choice(["latin-1", "cp1252", "cp437", "mac_roman"]), errors="replace")


def marked(rng):
    base = rng.choice(["e", "A", "\u03b1", "\u1112\u1161", "\uac00", "o\u0308", "\u0915", "\u00c5", "\u212b", "\u0344", "\u2126"])
    return base + "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 5)))


def long_word(rng):
    letters = rng.choice(["ab", "aeiou", "the", "lo", "abcdefghijklmnopqrstuvwxyz", "!?.", "\u00e9e", "\u6f22\u5b57", "-", "ha"])
    return "".join(rng.choice(letters) for _ in range(rng.randint(20, 800)))


def piece(rng):
    kind = rng.randrange(16)
    if kind < 5:
        return rng.choice(WORDS)
    makers = [lambda: any_code_point(rng), lambda: script_run(rng), lambda: rng.choice(EMOJI), lambda: marked(rng),
              lambda: rng.choice(HTML), lambda: rng.choice(QUOTES) + rng.choice(WORDS) + rng.choice(QUOTES),
              lambda: rng.choice(CONTROLS), lambda: rng.choice(SIGMAS), lambda: rng.choice(ESCAPES),
              lambda: mojibake(rng) if rng.random() < 0.2 else rng.choice(WORDS).title(),
              lambda: long_word(rng) if rng.random() < 0.1 else "".join(any_code_point(rng) for _ in range(4))]
    return makers[kind - 5]()


def caption(rng):
    glue = rng.choice([lambda: " ", lambda: "", lambda: rng.choice(SPACES), lambda: rng.choice(["", " "])])
    text = "".join(piece(rng) + glue() for _ in range(rng.randint(0, 14)))
    return text.upper() if rng.random() < 0.05 else text


def random_captions(count, seed):
    rng = random.Random(seed)
    for _ in range(count):
        yield caption(rng), rng.choice([77, 77, 32, 8, 3, 2])


def every_code_point():
    per_line = 8
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for i in range(0, len(points), per_line):
        yield " ".join(f"a{chr(c)}1{chr(c)}.{chr(c)}B" for c in points[i:i + per_line]), 1000


def main():
    folder, out, *rest = sys.argv[1:]
    sys.path.insert(0, folder)
    torch = types.ModuleType("torch")
    torch.Tensor = torch.LongTensor = object
    sys.modules["torch"] = torch
    import open_clip_tokenizer as original

    tokenizer = original.SimpleTokenizer()
    captions = every_code_point() if rest == ["every-code-point"] else random_captions(int(rest[0]), int(rest[1]))
    fix_text = ftfy.fix_text
    with open(out, "w", encoding="ascii") as file:
        for text, context in captions:
            without = fix_text(text, fix_encoding=False)
            repaired = fix_text(text) != without
            original.ftfy.fix_text = (lambda _: without) if repaired else fix_text
            ids = [tokenizer.sot_token_id] + tokenizer.encode(text) + [tokenizer.eot_token_id]
            if len(ids) > context:
                ids = ids[:context]
                ids[-1] = tokenizer.eot_token_id
            file.write(json.dumps({"caption": text, "context": context, "ids": ids, "repaired": repaired}) + "\n")


if __name__ == "__main__":
    main()
