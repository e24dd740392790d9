"""Grounding forms: numbers of the originals, a second implementation, round trips, and what is no text of a form."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import scalar_grounding as reference

import rt2data
from rt2data import resources
from rt2data.tokenizer import (
    ActionError,
    ActionTokenizer,
    Box,
    GroundingParseError,
    GroundingTokenizer,
    Parsed,
    Point,
    Trace,
    to_stored,
)
from rt2data.tokenizer.grounding.resize import Resize

BUNDLED = sorted(p.stem for p in resources.folder("tokenizers").glob("grounding/*.json"))
TOKENIZERS = {name: GroundingTokenizer.from_pretrained(name) for name in BUNDLED}
PROPERTIES = {name: tok.properties for name, tok in TOKENIZERS.items()}
TRIES = int(os.environ.get("RT2DATA_TRIES", "15"))
SIZES = st.tuples(st.integers(40, 2000), st.integers(40, 2000))


def numbers(name: str, objects: list[Any], size: tuple[int, int], **resize: Any) -> list[tuple[float, ...]]:
    tok = TOKENIZERS[name].with_resize(**resize) if resize else TOKENIZERS[name]
    return [p.numbers for p in tok.encode(objects, size)]


# What the originals give, project@commit; "ran" where their own code printed it


def test_paligemma() -> None:
    """huggingface/lerobot@34269a5, _vqa_answer_to_loc (an image of 1000 x 1000); TensorAuto/OpenTau@0b153a9."""
    tok, size = TOKENIZERS["paligemma"], (1000, 1000)
    assert tok.format([Box(250, 500, 750, 1000, "cup")], size) == "<loc0512><loc0256><loc1023><loc0767> cup"
    assert tok.format([Point(123, 456, "spout")], size) == "<loc0466><loc0126> spout"
    three = [Box(0, 0, 500, 1000, "cup"), Box(1, 2, 3, 4), Box(10, 20, 30, 40, "lid")]
    assert tok.format(three, size) == (
        "<loc0000><loc0000><loc1023><loc0512> cup ; <loc0002><loc0001><loc0004><loc0003> ; "
        "<loc0020><loc0010><loc0041><loc0031> lid"
    )
    assert tok.format([Box(10, 20, 40, 60)], (640, 480)) == "<loc0043><loc0016><loc0128><loc0064>"
    text = "<loc0234><loc0567><loc0890><loc1023> dog ; <loc0010><loc0050><loc0200><loc0500> cat"
    assert tok.decode(tok.parse(text), (640, 480)) == [
        Box(354.7214076246334, 109.79472140762464, 640.0, 417.5953079178886, "dog"),
        Box(31.28054740957967, 4.69208211143695, 312.8054740957967, 93.841642228739, "cat"),
    ]
    for lenient in ("<loc0234><loc0567> dog ; <loc0010>", "<loc23><loc0050><loc0200><loc0500>", ""):
        with pytest.raises(GroundingParseError):  # OpenTau drops what it cannot read
            tok.parse(lenient)
    first = TOKENIZERS["paligemma-label-first"]
    assert first.format([Point(123, 456, "spout")], size) == "spout <loc0466><loc0126>"


def test_qwen() -> None:
    """QwenLM/Qwen3-VL@9658872, process_bbox.ipynb; modelscope/ms-swift@3602360, templates/qwen.py."""
    boxes = [Box(146, 137, 615, 415), Box(0, 0, 640, 428), Box(0.5, 0.5, 1.5, 1.5)]
    assert numbers("qwen2-vl", boxes, (640, 428)) == [(228, 320, 961, 970), (0, 0, 1000, 1000), (1, 1, 2, 4)]
    assert numbers("qwen2.5-vl", [Box(100, 200, 3000, 2000)], (3840, 2160), rule="process-bbox") == [
        (34, 67, 1028, 674)
    ]
    cup, point = Box(228, 320, 961, 970, "cup"), Point(500, 500)
    assert TOKENIZERS["qwen2-vl"].format([cup], (1000, 1000)) == (
        "<|object_ref_start|>cup<|object_ref_end|><|box_start|>(228,320),(961,970)<|box_end|>"
    )
    assert TOKENIZERS["qwen2-vl"].format([point], (1000, 1000)) == "<|box_start|>(500,500)<|box_end|>"
    assert TOKENIZERS["qwen-vl"].format([cup], (1000, 1000)) == "<ref>cup</ref><box>(228,320),(961,970)</box>"
    text = '[{"bbox_2d": [228, 320, 961, 970], "label": "cup"}]'
    assert TOKENIZERS["qwen3-vl"].format([cup], (1000, 1000)) == text


def test_swift_counts_pixels_without_a_limit() -> None:
    """modelscope/ms-swift@3602360, normalize_bbox with norm_bbox "none", 640 x 428 to 644 x 420."""
    raw = TOKENIZERS["qwen2.5-vl"].to_dict() | {"numbers": {"scale": "pixels"}}
    tok = GroundingTokenizer.from_dict(raw)
    objects = [Box(146, 137, 615, 415), Point(320, 214), Point(640, 428)]
    assert [p.numbers for p in tok.encode(objects, (640, 428))] == [(147, 134, 619, 407), (322, 210), (644, 420)]


@pytest.mark.parametrize(
    ("rule", "most", "sizes"),
    [
        (
            "qwen-vl-utils",
            12845056,
            {(480, 640): (476, 644), (180, 320): (168, 308), (224, 224): (224, 224), (1080, 1920): (1092, 1932)}
            | {(100, 3000): (112, 2996), (28, 28): (56, 56)},
        ),
        (
            "transformers",
            1003520,
            {(480, 640): (476, 644), (180, 320): (168, 308), (1080, 1920): (728, 1316), (20, 20): (56, 56)}
            | {(42, 70): (56, 56), (14, 42): (56, 112)},
        ),
    ],
)
def test_smart_resize(rule: str, most: int, sizes: dict[tuple[int, int], tuple[int, int]]) -> None:
    """QwenLM/Qwen3-VL@9658872, vision_process.py; transformers 5.24.0, models/qwen2_vl: (height, width)."""
    resize = Resize(rule, 28, 3136, most)
    for (height, width), wanted in sizes.items():
        assert resize.size(width, height) == wanted[::-1]


def test_smart_resize_of_other_processors_and_what_it_refuses() -> None:
    """EO-Robotics/EO-1@5897992 (64 to 128 tokens); Qwen3-VL (factor 32); wall-x@17335bc (wrists at 128 px first)."""
    assert TOKENIZERS["eo-1"].form.resized(640, 480) == (364, 252)
    assert TOKENIZERS["eo-1"].form.resized(320, 180) == (308, 168)
    assert Resize("transformers", 32, 4096, 1 << 24).size(640, 480) == (640, 480)
    assert Resize("qwen-vl-utils", 28, 3136, 12845056, longest=128).size(640, 480) == (140, 84)
    for resize, size, fault in (
        (Resize("qwen-vl-utils", 28, 3136, 12845056), (2001, 10), "one side over 200 times the other"),
        (Resize("process-bbox", 28, 3136, 1003520), (20, 20), "a side below the factor 28"),
        (Resize("process-bbox", 28, 28, 784), (4000, 30), "resized to"),
    ):
        with pytest.raises(ActionError, match=fault):
            resize.size(*size)


@settings(max_examples=2 * TRIES)
@given(SIZES, st.sampled_from([28, 32]), st.sampled_from(["transformers", "qwen-vl-utils"]))
def test_smart_resize_as_the_reference(size: tuple[int, int], factor: int, rule: str) -> None:
    for least, most in ((3136, 1003520), (50176, 100352)):
        wanted = reference.smart_resize(*size, factor, least, most, rule)
        assert Resize(rule, factor, least, most).size(*size) == wanted


def test_wall_oss_and_robointer() -> None:
    """X-Square-Robot/wall-x@17335bc, process_grounding_points; InternRobotics/RoboInter@481acfb."""
    tok = TOKENIZERS["wall-oss"].with_resize(max_pixels=256 * 28 * 28)
    assert tok.form.resized(640, 480) == (504, 364)
    assert tok.format([Point(100, 50)], (640, 480)) == "<point>[79, 38]</point>"
    assert tok.format([Box(10, 20, 630, 470)], (640, 480)) == "<point>[8, 15, 496, 356]</point>"
    assert tok.format([Point(700, 500)], (640, 480)) == "<point>[503, 363]</point>"
    tok = TOKENIZERS["robointer"]
    box = tok.format([Box(72, 102, 192, 179)], (320, 180))
    assert box == '{"gripper_det_bbox": [[69, 95], [184, 167]]}'
    trace = tok.format([Trace(((1, 1), (3, 3), (5, 5), (110, 66)))], (320, 180))
    assert trace == '{"future_traj": [[0, 0], [2, 2], [4, 4], [105, 61]]}'


def test_molmo() -> None:
    """allenai/molmoact@622ad08, points_to_text and format_points."""
    tok, size = TOKENIZERS["molmo"], (640, 480)
    cups = [Point(600, 20, "cups"), Point(64, 48, "cups"), Point(64, 20, "cups")]
    points = '<points x1="10.0" y1="4.2" x2="10.0" y2="10.0" x3="93.8" y3="4.2" alt="cups">cups</points>'
    assert tok.format([Point(64, 48, "cup")], size) == '<point x="10.0" y="10.0" alt="cup">cup</point>'
    assert tok.format(cups, size) == points
    assert tok.format([], size) == "There are none."
    counted = f"Counting the {points} shows a total of 3."
    assert tok.format(cups, size, count=True) == counted
    assert tok.parse(counted) == tok.parse(points)
    assert tok.format([Point(64, 48, "Cup")], size) == tok.format([Point(64, 48, "cup")], size)
    for wrong in (counted.replace("3.", "2."), points.replace('x2="', 'x3="'), points.replace(">cups<", ">cup<")):
        with pytest.raises(GroundingParseError):
            tok.parse(wrong)


def test_pix2seq() -> None:
    """google-research/pix2seq@eabd4e9, utils.quantize: boxes of [0, 1], y before x; tokens are shifted by 1000."""
    tok = TOKENIZERS["pix2seq"]
    boxes = [Box(0, 0, 1, 1, "1"), Box(0.0164, 0.0421875, 0.15625, 0.41667, "1"), Box(0.0015, 0.0005, 1.2, 0.0025, "1")]
    assert tok.format(boxes, (1, 1)) == "1000 1000 1999 1999 101 1042 1016 1416 1156 101 1000 1001 1002 1999 101"
    back = [box[:4] for box in tok.decode(tok.encode(boxes, (1, 1)), (1, 1))]
    assert back[1] == (0.01601601578295231, 0.042042043060064316, 0.15615615248680115, 0.4164164066314697)
    assert back[2] == (0.0010010009864345193, 0.0, 1.0, 0.0020020019728690386)
    named = tok.with_classes(["person", "cup"])
    assert named.format([Box(0, 0, 1, 1, "cup")], (1, 1)) == "1000 1000 1999 1999 102"
    assert named.parse("1000 1000 1999 1999 102")[0].label == "cup"
    with pytest.raises(ActionError, match="the name of a class"):
        named.format([Box(0, 0, 1, 1, "lid")], (1, 1))
    assert named.fingerprint != tok.fingerprint


def test_kosmos2() -> None:
    """transformers 5.24.0, coordinate_to_patch_index; the text is an example of the model's own page."""
    tok = TOKENIZERS["kosmos2"]
    boxes = [Box(0, 0, 1, 1), Box(0.25, 0.5, 0.75, 1), Box(0.01, 0.01, 0.02, 0.02)]
    indices = [(y1 * 32 + x1, y2 * 32 + x2) for x1, y1, x2, y2 in (p.numbers for p in tok.encode(boxes, (1, 1)))]
    assert indices == [(0, 1023), (520, 1015), (0, 0)]
    text = "<phrase> a snowman</phrase><object><patch_index_0044><patch_index_0863></object>"
    assert tok.decode(tok.parse(text), (1, 1)) == [Box(0.390625, 0.046875, 0.984375, 0.828125, "a snowman")]
    two = "<patch_index_0044><patch_index_0863></delimiter_of_multi_objects/><patch_index_0005><patch_index_0911>"
    parsed = tok.parse(f"<phrase> a fire</phrase><object>{two}</object>")
    assert [p.label for p in parsed] == ["a fire", "a fire"]
    assert tok.format(tok.decode(parsed, (1, 1)), (1, 1)) == f"<phrase> a fire</phrase><object>{two}</object>"


def test_florence2_computes_in_32_bits() -> None:
    """transformers 5.23.0, Florence2PostProcessor.quantize on torch tensors: float64 gives 325 for 208 of 640."""
    tok = TOKENIZERS["florence2"]
    for size in (224, 320, 333, 640, 1920):
        for c in range(size):
            assert tok.encode([Box(c, c, size, size, "x")], (size, size))[0].numbers[0] == reference.florence(c, size)
    assert tok.parse("cup<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8>") == [
        Parsed("box", (1, 2, 3, 4), "cup"),
        Parsed("box", (5, 6, 7, 8), "cup"),
    ]


def test_others() -> None:
    """InternVL@2410d1d; MolmoAct@622ad08; embodied-CoT@1813ad7; EO-1@5897992; Gemini's cookbook."""
    size = (1000, 1000)
    two = [Box(1, 2, 3, 4, "cup"), Box(5, 6, 7, 8, "cup")]
    assert TOKENIZERS["internvl"].format(two, size) == "<ref>cup</ref><box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box>"
    assert TOKENIZERS["internvl"].format([Point(500, 400)], size) == "<box>[[500, 400]]</box>"
    assert TOKENIZERS["ecot"].format([two[0], Box(5, 6, 7, 8, "lid")], size) == "cup [1, 2, 3, 4], lid [5, 6, 7, 8]"
    trace = Trace(((0, 0), (255, 127), (127.4, 255)))
    assert TOKENIZERS["molmoact-trace"].format([trace], (256, 256)) == "[[0, 0], [255, 127], [127, 255]]"
    assert TOKENIZERS["molmoact-trace"].format([], (256, 256)) == "[]"
    assert TOKENIZERS["ecot-trace"].format([Trace(((10, 20), (11, 21)))], size) == "[10, 20, 11, 21]"
    assert TOKENIZERS["gemini"].format(two[:1], size) == '[{"box_2d": [2, 1, 4, 3], "label": "cup"}]'
    assert TOKENIZERS["gemini-trace"].format([Trace(((1, 2), (3, 4)))], size) == (
        '[{"point": [2, 1], "label": "0"}, {"point": [4, 3], "label": "1"}]'
    )
    text = '```json\n[\n    {"bbox_2d": [86, 82, 345, 249], "label": "bowl of carrots"}\n]\n```'
    tok = TOKENIZERS["eo-1"]
    assert tok.format(tok.decode(tok.parse(text), (640, 480)), (640, 480)) == text


# Any objects


def objects_of(tok: GroundingTokenizer, size: tuple[int, int]) -> st.SearchStrategy[list[Any]]:
    width, height = size
    x = st.one_of(st.floats(0, width), st.integers(0, width))
    y = st.one_of(st.floats(0, height), st.integers(0, height))
    if tok.form.labels.classes is not None:
        texts = st.sampled_from(["1", "7", "899"])
    else:
        texts = st.text(st.characters(codec="ascii", exclude_characters='\x7f<>;"\\[]@', min_codepoint=32), min_size=1)
        texts = texts.filter(lambda t: t.strip(" ") == t and t)
        texts = st.sampled_from(["cup", "lid"]) | (
            texts | st.sampled_from(['a "b" \\', "é 杯"]) if quoted(tok) else texts
        )
    label = {"none": st.just(""), "required": texts, "optional": texts | st.just("")}[tok.labels]
    apart = tok.form.several is not None and tok.form.several.apart
    kinds = {
        "box": st.builds(
            lambda xs, ys, text: Box(min(xs), min(ys), max(xs), max(ys), text), st.tuples(x, x), st.tuples(y, y), label
        ),
        "point": st.builds(Point, x, y, label),
        "trace": st.builds(Trace, st.lists(st.tuples(x, y), min_size=1, max_size=5).map(tuple), label),
    }
    several = st.one_of(*(kinds[kind] for kind in tok.kinds))
    most = 1 if tok.form.separator is None or "trace" in tok.kinds else 5
    lists = st.lists(several, min_size=0 if tok.form.none is not None else 1, max_size=most)
    lists = lists.filter(lambda items: all(b.label or not a.label for a, b in pairwise(items))) if apart else lists
    if tok.form.numbers.rounding == "cells":
        lists = lists.filter(lambda items: all(b.x1 < b.x2 and b.y1 < b.y2 for b in items))
    return lists


def quoted(tok: GroundingTokenizer) -> bool:
    return tok.form.labels.quoted


def flat(item: Any) -> list[float]:
    return [c for point in item.points for c in point] if isinstance(item, Trace) else list(item[:-1])


def to_item(item: Any) -> tuple[str, tuple[float, ...], str]:
    return type(item).__name__.lower(), tuple(flat(item)), item.label


@pytest.mark.parametrize("name", BUNDLED)
@settings(max_examples=TRIES)
@given(data=st.data())
def test_as_the_reference_and_back(name: str, data: st.DataObject) -> None:
    """The reference's text; parse inverts it; decoding is within half a bin where `properties` says so."""
    tok, size = TOKENIZERS[name], data.draw(SIZES)
    items = data.draw(objects_of(tok, size))
    text = tok.format(items, size)
    assert text == reference.write(name, [to_item(i) for i in items], size)
    parsed = tok.parse(text)
    decoded = tok.decode(parsed, size)
    if tok.form.ordered:
        assert parsed == tok.encode(items, size)
        for item, back in zip(items, decoded, strict=True):
            assert item.label == back.label
            check_distance(tok, size, flat(item), flat(back))
    else:
        assert sorted(p.numbers for p in parsed) == sorted(p.numbers for p in tok.encode(items, size))
    if PROPERTIES[name].idempotent:
        assert tok.format(decoded, size) == text


def check_distance(tok: GroundingTokenizer, size: tuple[int, int], before: list[float], after: list[float]) -> None:
    rule, resized = tok.form.numbers, tok.form.resized(*size)
    for i, (a, b) in enumerate(zip(before, after, strict=True)):
        a_bin = size[i % 2] / (resized[i % 2] if rule.scale is None else rule.scale) / 10**rule.decimals
        share = 0.5 if PROPERTIES[tok.name].half_bin else 1.0
        if not PROPERTIES[tok.name].half_bin and rule.rounding == "half_even" and a < size[i % 2] - max(1.0, a_bin):
            share = 0.5  # only what lies at the far edge is further away
        assert abs(a - b) <= share * a_bin * (1 + 1e-4) or (rule.edge == "last_pixel" and abs(a - b) <= 1)


@pytest.mark.parametrize("name", ["paligemma", "qwen2.5-vl", "gemini", "pix2seq", "wall-oss-qwen2", "florence2"])
def test_outside_the_image_is_its_edge(name: str) -> None:
    tok, label = TOKENIZERS[name], {"pix2seq": "7", "wall-oss-qwen2": ""}.get(name, "cup")
    for x1, y1, x2, y2 in ((-1e6, -0.5, 700, 480.5), (650, 500, 1e9, 1e9), (-1e9, -1e9, -1, -1), (-3, 10, 20, 999)):
        box = Box(x1, y1, x2, y2, label)
        inside = Box(*(max(0, min(c, side)) for c, side in zip(box[:4], (640, 480) * 2, strict=True)), label)
        assert tok.format([box], (640, 480)) == tok.format([inside], (640, 480))


@pytest.mark.parametrize("name", BUNDLED)
def test_a_changed_text_is_another_or_none(name: str) -> None:
    """Each character of a text left out, doubled or changed: an error, or objects whose own text says the same."""
    tok, size = TOKENIZERS[name], (640, 480)
    label = {"none": "", "required": "7" if name == "pix2seq" else "cup", "optional": "cup"}[tok.labels]
    first = {"box": Box(10, 20, 300, 400, label), "point": Point(1, 2, label), "trace": Trace(((1, 2), (30, 4)), label)}
    text = tok.format([first[tok.kinds[0]]] * (1 if tok.form.separator is None else 2), size)
    taken = 0
    for at in range(len(text)):
        for piece in ("", text[at] * 2, "0", "x", " ", "-1", "\n", "\u0663"):
            changed = text[:at] + piece + text[at + 1 :]
            try:
                parsed = tok.parse(changed)
            except GroundingParseError as e:
                assert 0 <= e.column <= len(changed)
                continue
            taken += 1
            if tok.form.several is None and tok.form.numbers.rounding != "exact":
                assert tok._strings.write(parsed) == changed
    assert taken


# Constrained decoding


def options(tok: GroundingTokenizer) -> dict[str, Any]:
    return {"labels": ["cup", "l(d"]} if tok.name == "molmo" else {}


def sample(tok: GroundingTokenizer) -> list[Any]:
    label = {"none": "", "required": "7" if tok.name == "pix2seq" else "cup", "optional": "cup"}[tok.labels]
    every = {
        "box": Box(10, 20, 300, 400, label),
        "point": Point(1, 2, label),
        "trace": Trace(((1, 2), (639, 4)), label),
    }
    objects = [every[kind] for kind in tok.kinds]
    return objects[-1:] if tok.form.separator is None else objects * 2


@pytest.mark.parametrize("name", BUNDLED)
def test_regex_takes_what_format_writes(name: str) -> None:
    tok, size = TOKENIZERS[name], (640, 480)
    text = tok.format(sample(tok), size)
    for pattern in (tok.regex(**options(tok)), tok.regex(**options(tok), size=size)):
        assert re.fullmatch(pattern, text)
        assert not re.fullmatch(pattern, text + "x" * (tok.labels != "optional") + "\n")
        assert not re.search(r"\(\?|\^\^|\\[AbBZ]", pattern)
        if tok.form.none is not None:
            assert re.fullmatch(pattern, tok.form.none)
    if "point" in tok.kinds and "box" in tok.kinds:
        assert not re.fullmatch(tok.regex(kinds=["point"]), text)


@pytest.mark.parametrize(
    "name", ["paligemma", "qwen2-vl", "qwen3-vl", "molmo", "kosmos2", "wall-oss-qwen2", "gemini-trace"]
)
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_the_regex_takes_parses(name: str, data: st.DataObject) -> None:
    tok = TOKENIZERS[name]
    pattern = re.compile(tok.regex(**options(tok), **({} if name != "molmo" else {"most": 3})))
    tok.decode(tok.parse(data.draw(st.from_regex(pattern, fullmatch=True))), (640, 480))


def test_a_count_is_that_of_the_points() -> None:
    pattern = TOKENIZERS["molmo"].regex(labels=["cup"], count=True, most=3)
    texts = [
        TOKENIZERS["molmo"].format([Point(i, 2, "cup") for i in range(n)], (640, 480), count=True) for n in range(5)
    ]
    assert [bool(re.fullmatch(pattern, text)) for text in texts] == [True, True, True, True, False]
    assert not re.fullmatch(pattern, texts[2].replace("total of 2", "total of 3"))


@pytest.mark.parametrize("name", BUNDLED)
def test_grammars_take_what_format_writes(name: str) -> None:
    xgrammar = pytest.importorskip("xgrammar")
    tok = TOKENIZERS[name]
    compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([chr(i) for i in range(128)]))
    text = tok.format(sample(tok), (640, 480))
    few = {} if "i" not in str(tok.form.several) else {"most": 3}
    for grammar in (tok.grammar("ebnf", **options(tok), **few), tok.grammar(**options(tok), **few, size=(640, 480))):
        for written, good in ((text, True), ("\n" + text, False)):
            matcher = xgrammar.GrammarMatcher(compiler.compile_grammar(grammar), terminate_without_stop_token=True)
            assert (matcher.accept_string(written) and matcher.is_terminated()) is good


def test_lark_and_options_that_a_form_does_not_have() -> None:
    lark = pytest.importorskip("lark")
    for name in ("eo-1", "kosmos2", "molmo"):
        tok = TOKENIZERS[name]
        parser = lark.Lark(tok.grammar("lark", **options(tok)), parser="earley", lexer="dynamic")
        parser.parse(tok.format(sample(tok), (640, 480)))
    for name, wrong, fault in (
        ("molmo", {}, "Pass labels"),
        ("paligemma", {"count": True}, "states the number"),
        ("paligemma", {"kinds": ["trace"]}, "of box, point"),
        ("paligemma", {"labels": ["a;b"]}, "without any of"),
        ("molmoact-trace", {"labels": ["a"]}, "a form that has them"),
        ("gemini-trace", {"most": 0}, "1..256"),
    ):
        with pytest.raises(ActionError, match=fault):
            TOKENIZERS[name].regex(**wrong)
    with pytest.raises(ActionError, match="one of gbnf, ebnf, lark"):
        TOKENIZERS["paligemma"].grammar("bnf")


# What is refused


@pytest.mark.parametrize(
    ("name", "objects", "fault"),
    [
        ("paligemma", [], "no objects; expected at least one"),
        ("paligemma", [Box(1, 2, 3, 4, "a;b")], r"objects\[0\].label: .a;b.; expected a label without any of < > ;"),
        ("paligemma", [Box(1, 2, 3, 4, "a\nb")], "without line breaks"),
        ("paligemma", [Box(1, 2, 3, 4, " a")], "without spaces at its ends"),
        ("qwen3-vl", [Box(1, 2, 3, 4, "a\nb")], "without line breaks"),
        ("paligemma", [Box(3, 2, 1, 4)], "the upper left corner, then the lower right one"),
        ("paligemma", [Box(0, 0, 1, 1), Point(float("nan"), 2)], r"objects\[1\]: the coordinate nan; expected finite"),
        ("paligemma", [Point("1", 2)], "finite numbers"),
        ("paligemma", [Trace(((1, 2),))], "a trace; expected one of box, point, which paligemma can write"),
        ("paligemma", [(1, 2, 3, 4)], "a tuple; expected a Box, a Point or a Trace"),
        ("molmoact-trace", [Trace(())], "0 points"),
        ("molmoact-trace", [Trace(((1, 2),), "gripper")], "the label 'gripper'; expected none"),
        ("molmoact-trace", [Trace(((1, 2),))] * 2, "2 objects; expected one"),
        ("florence2", [Box(1, 2, 3, 4)], "no label; expected one"),
        ("kosmos2", [Box(1, 2, 1, 4)], "a box without area"),
        ("qwen-vl", [Box(1, 2, 3, 4, "a"), Box(1, 2, 3, 4)], "an object without a label behind one with 'a'"),
        ("pix2seq", [Box(1, 2, 3, 4, "cup")], r"the number of a class, 1\.\.899"),
    ],
)
def test_what_cannot_be_written(name: str, objects: list[Any], fault: str) -> None:
    with pytest.raises(ActionError, match=fault):
        TOKENIZERS[name].format(objects, (640, 480))


@pytest.mark.parametrize("size", [(0, 480), (640,), (640.0, 480), "640x480", (True, 2), (1 << 30, 2), None])
def test_what_is_no_size(size: Any) -> None:
    with pytest.raises(ActionError, match="two integers"):
        TOKENIZERS["paligemma"].format([Point(1, 2)], size)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("qwen3-vl", '[{"point_2d": [1, 1001]}]', "at object 1 (column 18): 1001 is not in 0..1000."),
        ("qwen3-vl", '[{"point_2d": [1, 010]}]', "at object 1 (column 18): 010 is not the canonical form of a number."),
        ("qwen3-vl", '[{"point_2d": [1, 2]}, ]', "at object 2 (column 23): nothing behind ', '."),
        ("qwen3-vl", '{"point_2d": [1, 2]}', "at column 0: expected '['."),
        ("qwen3-vl", '[{"point_2d": [1, 2], "label": "\\u0061"}]', "at object 1 (column 31): the label has an escape"),
        ("molmo", '<point x="1.0" y="100.1" alt="a">a</point>', "at object 1 (column 18): 100.1 is not in 0..100."),
        ("ecot", "cup [1, 2, 3]", "at object 1 (column 0): 'cup [1, 2, 3]' does not begin with a box."),
    ],
)
def test_an_error_says_where(name: str, text: str, message: str) -> None:
    with pytest.raises(GroundingParseError) as caught:
        TOKENIZERS[name].parse(text)
    assert message.rstrip(".") in str(caught.value)
    assert str(caught.value).startswith("cannot parse objects ")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_number_beyond_the_resized_image() -> None:
    tok = TOKENIZERS["qwen2.5-vl"]
    parsed = tok.parse('[{"point_2d": [643, 476]}]')
    with pytest.raises(ActionError, match="the number 476; expected pixels of an image of 644 x 476"):
        tok.decode(parsed, (640, 480))
    with pytest.raises(GroundingParseError, match="characters; expected at most"):
        tok.parse("[" * (1 << 21))


# The stored image


def test_stored_images_are_upright_and_of_another_size() -> None:
    size, stored = (640, 480), (224, 160)
    box, point = Box(10, 20, 110, 60, "cup"), Point(10, 20)
    assert to_stored([box], size, (320, 240)) == [Box(5, 10, 55, 30, "cup")]
    assert to_stored([box], size, (480, 640), turn=6) == [Box(420, 10, 460, 110, "cup")]
    assert to_stored([Trace(((10, 20), (30, 40)))], size, (480, 640), turn=8) == [Trace(((20, 630), (40, 610)))]
    for turn in range(9):
        sideways = turn in (5, 6, 7, 8)
        upright = size[::-1] if sideways else size
        back = {6: 8, 8: 6}.get(turn, turn)
        there = to_stored([box, point], size, upright, turn=turn)
        assert to_stored(there, upright, size, turn=back) == [box, point]
        # A form that counts in shares of the image says the same of every size of it.
        small = to_stored(there, upright, stored)
        for name in ("qwen3-vl", "paligemma"):
            assert TOKENIZERS[name].format(small, stored) == TOKENIZERS[name].format(there, upright)
    for arguments in ((size, (0, 1), 0), (size, stored, 9), ((1.5, 2), stored, 0)):
        with pytest.raises(ActionError):
            to_stored([box], *arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("turn", range(1, 9))
def test_turns_are_those_of_the_pixels(turn: int) -> None:
    """A box around one bright pixel, in an image that Pillow turns by its EXIF orientation."""
    image_module = pytest.importorskip("PIL.Image")
    from PIL import ImageOps

    image = image_module.new("L", (7, 5))
    image.putpixel((4, 1), 255)
    image.getexif()[0x0112] = turn
    upright = ImageOps.exif_transpose(image)
    (box,) = to_stored([Box(4, 1, 5, 2)], (7, 5), upright.size, turn=turn)
    assert upright.getpixel((int(box.x1), int(box.y1))) == 255  # type: ignore[union-attr]
    assert upright.getbbox() == tuple(map(int, box[:4]))


def test_resized_twice() -> None:
    """Pixels of Qwen2.5-VL follow the stored image: the same box has other numbers in a smaller one, and comes back."""
    tok, box = TOKENIZERS["qwen2.5-vl"], Box(100, 50, 300, 400, "cup")
    texts = set()
    for stored in ((640, 480), (320, 240), (224, 224)):
        (moved,) = to_stored([box], (640, 480), stored)
        texts.add(text := tok.format([moved], stored))
        (back,) = to_stored(tok.decode(tok.parse(text), stored), stored, (640, 480))
        wide, high = tok.form.resized(*stored)
        assert all(abs(a - b) <= 320 / wide + 240 / high for a, b in zip(box[:4], back[:4], strict=True))
    assert len(texts) == 3


# The specification


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_forms(name: str, tmp_path: Path) -> None:
    tok, path = TOKENIZERS[name], resources.folder("tokenizers") / "grounding" / f"{name}.json"
    schema = json.loads((resources.folder("schemas") / "grounding.json").read_text())
    jsonschema.validate(tok.to_dict(), schema, cls=jsonschema.Draft202012Validator)
    assert tok.name == name
    assert tok.form.render() == path.read_text()
    assert tok.form.source
    assert name in reference.NAMES
    for again in (
        GroundingTokenizer.from_pretrained(path),
        GroundingTokenizer.from_pretrained(tok.save_pretrained(tmp_path)),
        GroundingTokenizer.from_dict(json.loads(json.dumps(tok.to_dict()))),
        pickle.loads(pickle.dumps(tok)),
    ):
        assert (again, again.fingerprint) == (tok, tok.fingerprint)


def test_the_fingerprint_has_what_decides_a_text() -> None:
    tok = TOKENIZERS["qwen2.5-vl"]
    assert tok.with_resize(max_pixels=1003521).fingerprint != tok.fingerprint
    assert tok.with_resize(rule="qwen-vl-utils").fingerprint != tok.fingerprint
    renamed = tok.to_dict() | {"name": "mine", "source": ""}
    assert GroundingTokenizer.from_dict(renamed).fingerprint == tok.fingerprint
    prints = {t.fingerprint for t in TOKENIZERS.values()}
    assert len(prints) == len(TOKENIZERS)
    with pytest.raises(ActionError, match=r"a form with resize"):
        TOKENIZERS["qwen3-vl"].with_resize(factor=32)


BAD: list[tuple[tuple[str, ...], Any, str]] = [
    (("format",), "rt2data.grounding/2", "format"),
    (("more",), 1, 'unknown key "more"'),
    (("numbers", "scale"), 0, "numbers: scale"),
    (("numbers", "rule"), "shares", 'Did you mean "share"'),
    (("numbers", "offset"), -1, "numbers: offset"),
    (("number", "digits"), True, "number: digits"),
    (("resize",), {"rule": "transformers", "factor": 28, "min_pixels": 1, "max_pixels": 2}, "resize"),
    (("shapes", "box"), "{x1}{x2}{y1}", "{y2} 0 times"),
    (("shapes", "box"), "{x1}{x1}{y1}{x2}{y2}", "{x1} 2 times"),
    (("shapes", "circle"), "{x}", 'unknown key "circle"'),
    (("shapes",), {}, "no shape"),
    (("object",), {}, "neither labelled nor bare"),
    (("object", "labelled"), "{shapes}", "{label} 0 times"),
    (("text", "separator"), 3, "text.separator"),
    (("text", "sorted"), True, "points alone"),
    (("labels", "exclude"), "\n", "labels: exclude"),
    (("name",), "a b", "name"),
]


@pytest.mark.parametrize(("place", "value", "message"), BAD)
def test_a_bad_form_names_its_key(place: tuple[str, ...], value: Any, message: str) -> None:
    raw = copy.deepcopy(TOKENIZERS["paligemma"].to_dict())
    inner = raw
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(ActionError) as caught:
        GroundingTokenizer.from_dict(raw)
    assert message in str(caught.value)


def test_a_form_that_cannot_be_read_back_is_none() -> None:
    raw = TOKENIZERS["ecot"].to_dict() | {"shapes": {"box": "{x1}{y1}{x2}{y2}"}}
    with pytest.raises(ActionError, match="whose texts are read back as they were"):
        GroundingTokenizer.from_dict(raw)


def test_a_form_of_ones_own(tmp_path: Path) -> None:
    raw = {
        "format": "rt2data.grounding/1",
        "name": "mine",
        "numbers": {"scale": 63, "rounding": "floor", "back": "middle", "highest": "below"},
        "number": {"before": "[", "digits": 2, "after": "]"},
        "shapes": {"point": "{x}{y}", "trace": "{points}!"},
        "trace": {"point": "{i}={x}{y}", "separator": "->"},
        "object": {"labelled": "{label}: {shapes}", "bare": "{shapes}"},
        "text": {"separator": "\n", "none": "-"},
        "labels": {"exclude": ":[]"},
    }
    (tmp_path / "mine.json").write_text(json.dumps(raw))
    tok = GroundingTokenizer.from_pretrained(tmp_path / "mine.json")
    items = [Point(0, 64, "a"), Trace(((1, 2), (40, 50)), "b"), Point(3, 4)]
    text = tok.format(items, (64, 64))
    assert text == "a: [00][62]\nb: 1=[00][01]->2=[39][49]!\n[02][03]"
    assert tok.parse(text) == tok.encode(items, (64, 64))
    assert tok.parse("-") == []


def test_unknown_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match=r'one of ecot, .*; or a file. Did you mean "paligemma"'):
        GroundingTokenizer.from_pretrained("paligema")
    (tmp_path / "x.json").write_text('{"format": 1, "format": 2}')
    with pytest.raises(ActionError, match="a key twice"):
        GroundingTokenizer.from_pretrained(tmp_path / "x.json")
    with pytest.raises(ActionError, match="plain file name"):
        TOKENIZERS["molmo"].save_pretrained(tmp_path, "../x.json")
    with pytest.raises(ActionError, match="no such tokenizer"):
        ActionTokenizer.from_pretrained("grounding")


def test_properties_say_what_a_form_is_not() -> None:
    assert [n for n, p in PROPERTIES.items() if not p.idempotent] == ["robointer", "wall-oss-qwen2"]
    assert [n for n, p in PROPERTIES.items() if not p.order_dependent] == ["molmo"]
    assert [n for n, p in PROPERTIES.items() if not p.injective] == [
        *("florence2", "internvl", "kosmos2", "kosmos2-spaced", "molmo", "qwen-vl", "qwen2-vl")
    ]
    assert "their order is lost" in PROPERTIES["molmo"].faults[0]
    assert "other bounds of the resizing" in PROPERTIES["qwen2.5-vl"].faults[1]


def test_public_names_and_imports() -> None:
    assert rt2data.GroundingTokenizer is GroundingTokenizer
    assert (rt2data.Box, rt2data.Point, rt2data.Trace) == (Box, Point, Trace)
    code = (
        "import sys, numpy; before = set(sys.modules); from rt2data import Box, GroundingTokenizer;"
        "t = GroundingTokenizer.from_pretrained('molmo'); t.fingerprint; t.regex(labels=['a']);"
        "print(*{m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout
    assert out.split() == ["rt2data"]


# The whole file of the originals' outputs, where it is there


def goldens() -> dict[str, Any]:
    folder = os.environ.get("RT2DATA_SHARED")
    path = Path(folder or "") / "facts" / "goldens" / "recipes.json"
    if not folder or not path.is_file():
        pytest.skip("set RT2DATA_SHARED to the folder that holds facts/goldens/recipes.json")
    return {g["id"]: g for g in json.loads(path.read_text())["goldens"]}


def test_every_golden_of_grounding() -> None:
    done = 0
    for name, golden in goldens().items():
        given, wanted = golden["input"], golden["output"]
        if name.startswith("qwen.smart_resize") and "raises" not in wanted:
            rule = "transformers" if "transformers" in golden["source"] else "qwen-vl-utils"
            factor = given["factor"]
            least, most = given.get("min_pixels", 4 * factor**2), given.get("max_pixels", 16384 * factor**2)
            got = [list(Resize(rule, factor, least, most).size(w, h)[::-1]) for h, w in given["hw"]]
        elif name.startswith("qwen2.box_1000"):
            boxes = [Box(*box) for box in given["boxes"]]
            got = [list(n) for n in numbers("qwen2-vl", boxes, tuple(given["hw"][::-1]))]
        elif name.startswith("qwen2_5.box_pixels"):
            boxes = [Box(*box) for box in given["boxes"]]
            got = [list(n) for n in numbers("qwen2.5-vl", boxes, tuple(given["hw"][::-1]), rule="process-bbox")]
        elif name == "opentau.loc.xywh":
            x, y, w, h = given["box_xywh"]
            got = TOKENIZERS["paligemma"].format([Box(x, y, x + w, y + h)], tuple(given["image"]))
        elif name == "molmo.points":
            got = [
                TOKENIZERS["molmo"].format([Point(*p, g["label"]) for p in g["points"]], tuple(g["wh"])) for g in given
            ]
        elif name == "molmo.no_points":
            got = TOKENIZERS["molmo"].format([], (640, 480))
        elif name == "pix2seq.bins":
            boxes = [Box(x1, y1, x2, y2, "1") for y1, x1, y2, x2 in given["boxes_yxyx_0_1"]]
            got, wanted = [[n[i] for i in (1, 0, 3, 2)] for n in numbers("pix2seq", boxes, (1, 1))], wanted["bins"]
        elif name == "kosmos2.indices":
            boxes = [Box(*box) for box in given["boxes_0_1"]]
            got = [[y1 * 32 + x1, y2 * 32 + x2] for x1, y1, x2, y2 in numbers("kosmos2", boxes, (1, 1))]
        else:
            continue
        assert got == wanted, name
        done += 1
    assert done >= 8
