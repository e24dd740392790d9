"""Recipes: the text of every error, with its line, and the defaults that are filled in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from support import small_corpora

from rt2data import resources
from rt2data.declarations import declaration
from rt2data.errors import Rt2dataError
from rt2data.recipes import recipe
from rt2data.samples import selection

HEAD = "name: x\nsources:\n"


def read(tmp_path: Path, text: str) -> recipe.Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return recipe.read_recipe(path)


COUNT = len(declaration.list_declarations())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HEAD + "- source: brigde\n",
            f'r.yaml:3: unknown source "brigde"; expected one of {COUNT} declarations. Did you mean "bridge"?',
        ),
        (
            HEAD + "- source: bridge\n- source: bridge_orig\n  weight: 1\n",
            (
                'r.yaml:4: source "bridge_dataset" is given twice; expected each source once. '
                "Take more dataset splits with splits:, or more copies with repeat:."
            ),
        ),
        (
            HEAD + "- source: bridge\n  weight: 1\n  repeat: 2\n",
            "r.yaml:5: weight and repeat together; expected one of weight, repeat, samples.",
        ),
        (
            HEAD + "- {source: bridge, weight: 1}\n- {source: vqav2, samples: 5}\n",
            (
                "r.yaml:2: weight and samples mixed in one recipe; expected one of weight, repeat, samples for all "
                "sources. "
                "A source that names none of them has repeat: 1."
            ),
        ),
        (
            HEAD + "- {source: bridge, weight: 1}\n- {source: vqav2}\n",
            (
                "r.yaml:2: weight and repeat mixed in one recipe; expected one of weight, repeat, samples for all "
                "sources. "
                "A source that names none of them has repeat: 1."
            ),
        ),
        (
            "name: x\ntrain_samples: 5\nsources: [{source: bridge}]\n",
            'r.yaml:2: "train_samples" with repeat; expected sources with weights.',
        ),
        (
            "name: x\nweights: share\nsources: [{source: bridge, samples: 2}]\n",
            'r.yaml:2: "weights" with samples; expected sources with weights.',
        ),
        (HEAD + "- source: bridge\n  answers: all\n", 'r.yaml:4: "answers" for a robot source; expected a VQA source.'),
        (
            HEAD + "- source: vqav2\n  captions: all\n",
            'r.yaml:4: "captions" for a vqa source; expected a caption source.',
        ),
        (
            "name: x\nsplits: {train: 0.9, val: 0.2}\nsources: [{source: bridge}]\n",
            "r.yaml:2: shares that add up to 1.1; expected shares that add up to 1.",
        ),
        (
            "name: x\nsplits: {train: 1, val: [a]}\nsources: [{source: bridge}]\n",
            "r.yaml:2: shares and dataset splits mixed; expected either a share for each split or a list for each.",
        ),
        (
            HEAD + "- source: bridge\n  splits: {train: [a], val: [b, a]}\n",
            'r.yaml:4: the dataset split "a" is taken twice; expected each dataset split in one split.',
        ),
        (
            "name: x\nsplits: {val: 1}\nsources: [{source: bridge}]\n",
            'r.yaml:2: "splits" has no "train"; expected the field "train".',
        ),
        (
            'name: x\nprompts: {robot: "do it"}\nsources: [{source: bridge}]\n',
            (
                'r.yaml:2: prompt "do it" has no placeholder; expected the placeholder {instruction}, '
                "perhaps {proprio}, and no other."
            ),
        ),
        (
            'name: x\nprompts:\n  vqa: "{question} {answer}"\nsources: [{source: bridge}]\n',
            (
                'r.yaml:3: prompt "{question} {answer}" has answer, question; expected the placeholder {question} '
                "and no other."
            ),
        ),
        (
            'name: x\nprompts: {caption: "{instruction}"}\nsources: [{source: bridge}]\n',
            'r.yaml:2: prompt "{instruction}" has instruction; expected no placeholder.',
        ),
        (
            "name: x\nprompts: {instruction: [upper]}\nsources: [{source: bridge}]\n",
            (
                'r.yaml:2: "prompts.instruction.0" is "upper"; expected one of strip, lower, lower_first, '
                "no_final_stop, underscores_to_spaces, newlines_to_spaces, no_punctuation, collapse_whitespace."
            ),
        ),
        (
            HEAD
            + "- {source: vqav2, splits: {train: 0.9, val: 0.1}}\n- {source: coco, splits: {train: 0.8, val: 0.2}}\n",
            (
                "r.yaml:4: vqav2 and coco_captions share the pictures of coco but not the splits; expected the same "
                "shares for both. "
                "A picture could be in train through one and in val through the other."
            ),
        ),
        (
            "name: x\nimage: jpg\nsources: [{source: bridge}]\n",
            'r.yaml:2: "image" is "jpg"; expected the word keep, or a mapping of format, quality, size.',
        ),
        (
            "name: x\ncameras: []\nsources: [{source: bridge}]\n",
            'r.yaml:2: "cameras" is []; expected 1 or more entries.',
        ),
        (
            "name: x\ncameras: [a, a]\nsources: [{source: bridge}]\n",
            'r.yaml:2: "cameras" is ["a", "a"]; expected no entry twice.',
        ),
        (
            HEAD
            + "- source: bridge\n  kinds:\n    act:\n      turns: [{each: {frames: [-1, -1]}, turns: [{user: x}]}]\n",
            'r.yaml:6: "sources.0.kinds.act.turns.0.each.frames" is [-1, -1]; expected no entry twice.',
        ),
        (
            HEAD + "- source: bridge\n  kinds:\n    act:\n      turns: [{usr: x}]\n",
            (
                'r.yaml:6: unknown field "usr"; expected one of assistant, end, loss, missing, system, user. '
                'Did you mean "user"?'
            ),
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Rt2dataError) as caught:
        read(tmp_path, text)
    assert str(caught.value).replace(f"{tmp_path}/", "") == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokenizer: {spec: fst}\nsources: [{source: bridge}]\n", "r.yaml:2: fst: no such tokenizer"),
        ("actions: {more: {spec: fst}}\nsources: [{source: bridge}]\n", "r.yaml:2: fst: no such tokenizer"),
        (
            'sources:\n- source: bridge\n  kinds: {a: {turns: [{user: x}, {assistant: "{box|form(qwen)}"}]}}\n',
            r"r.yaml:4: form\(qwen\): no such grounding tokenizer",
        ),
    ],
)
def test_a_tokenizer_that_is_not_there_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Rt2dataError, match=rf'{message}; expected (say or )?one of .*Did you mean "[a-z-]*"\?$'):
        read(tmp_path, f"name: x\n{text}")


def test_a_turn_that_is_none_says_what_a_turn_is(tmp_path: Path) -> None:
    kinds = "{a: {turns: [{human: x}, {assistant: y}]}}"
    (tmp_path / "r.yaml").write_text(f"name: r\nsources:\n- {{source: bridge, kinds: {kinds}}}\n")
    with pytest.raises(Rt2dataError, match='unknown field "human"; expected one of assistant, end, loss, missing, sys'):
        recipe.read_recipe(tmp_path / "r.yaml")


def test_defaults(tmp_path: Path) -> None:
    found = read(tmp_path, "name: x\nsources: [{source: bridge}, {source: vqav2}, {source: coco}]\n")
    assert (found.seed, found.samples_per_shard, found.max_repeat, found.weights) == (0, 5000, 10, "share")
    assert (found.image, found.image_check, found.cameras) == (None, "header", ("primary",))
    assert (found.tokenizer, found.bounds.rule) == ("rt2", "robust")
    assert [(s.weight, s.repeat, s.samples) for s in found.sources] == [(None, 1, None)] * 3
    assert found.splits == ("train",)
    assert found.sources[1].answers == "majority"
    assert found.sources[2].captions == "all"


def test_images_are_counted_of_the_cameras_that_a_source_has(tmp_path: Path) -> None:
    """Of two cameras that the recipe names RT-1 has one."""
    text = "name: x\ncameras: [primary, wrist]\nhistory: 40\n"
    assert read(tmp_path, text + "sources: [{source: fractal}]\n").sources[0].sampling.history == 40
    with pytest.raises(Rt2dataError, match=r"r\.yaml:3: 40 images of 2 cameras; expected at most 64 images"):
        read(tmp_path, text + "sources: [{source: droid}]\n")


def test_train_is_the_first_split_whatever_the_order(tmp_path: Path) -> None:
    text = (
        HEAD
        + "- {source: bridge, splits: {test: 0.1, val: 0.2, train: 0.7}}\n"
        + "- {source: vqav2, splits: {train: [train], dev: [val]}}\n"
    )
    assert read(tmp_path, text).splits == ("train", "test", "val", "dev")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image": {"format": "png", "size": [64, 48]}, "image_check": "decode", "description": "d"},
        {"train_samples": 100, "weights": "times_size", "max_repeat": 3.5},
        {"prompts": {"robot": "do {instruction}", "instruction": []}},
        {
            "sources": [
                {"source": "bridge", "splits": {"val": ["a", "b"], "train": ["c"]}},
                {"source": "vqav2", "repeat": 0.5, "answers": "all"},
            ],
            "splits": None,
        },
    ],
)
def test_the_resolved_recipe_parses_to_the_same_recipe(tmp_path: Path, changes: dict[str, object]) -> None:
    """Workers read the recipe from its resolved form, and the manifest keeps it."""
    first = recipe.read_recipe(small_corpora.write_recipe(tmp_path / "r.yaml", **changes))
    again = recipe.parse_recipe(json.loads(json.dumps(first.resolved)), first.file)
    assert again.resolved == first.resolved
    for name in (
        "name",
        "seed",
        "samples_per_shard",
        "train_samples",
        "weights",
        "max_repeat",
        "cameras",
        "image",
        "image_check",
        "tokenizer",
        "bounds",
        "prompts",
        "splits",
    ):
        assert getattr(again, name) == getattr(first, name)
    for one, two in zip(again.sources, first.sources, strict=True):
        assert (one.declaration, one.weight, one.repeat, one.samples) == (
            two.declaration,
            two.weight,
            two.repeat,
            two.samples,
        )
        assert (one.splits, one.answers, one.captions) == (two.splits, two.answers, two.captions)


def test_no_path_is_in_the_resolved_recipe(tmp_path: Path) -> None:
    found = read(tmp_path, HEAD + "- {source: bridge, path: my/secret/place}\n")
    assert found.sources[0].path == "my/secret/place"
    assert "secret" not in json.dumps(found.resolved)
    assert str(tmp_path) not in json.dumps(found.resolved)


def test_recipes_that_come_with_rt2data_are_read() -> None:
    for path in resources.files("mixtures", ".yaml"):
        assert recipe.read_recipe(path).name == path.stem


def test_finding_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = resources.folder("mixtures") / "bridge_coco_vqa.yaml"
    monkeypatch.chdir(tmp_path)
    for name in ("bridge_coco_vqa", "bridge_coco_vqa.yaml", "mixtures/bridge_coco_vqa.yaml"):
        assert recipe.find_recipe(name) == bundled
    with pytest.raises(Rt2dataError) as caught:
        recipe.find_recipe("bridge_coco_vqe")
    assert str(caught.value).startswith("bridge_coco_vqe: no such recipe; expected a YAML file, or one of ")
    assert str(caught.value).endswith('Did you mean "bridge_coco_vqa"?')
    with pytest.raises(Rt2dataError, match="no such recipe"):
        recipe.find_recipe("elsewhere/bridge_coco_vqa")
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({"name": "own"}))
    assert recipe.find_recipe("own.yaml") == Path("own.yaml")


def test_a_threshold_for_a_dimension_that_no_source_has(tmp_path: Path) -> None:
    """It would leave nothing out, in silence; one that some of the sources have is fine."""
    read(tmp_path, "name: x\nno_op: {z: 0.1}\nsources: [{source: bridge}, {source: language_table}]\n")
    with pytest.raises(Rt2dataError) as caught:
        read(tmp_path, "name: x\nno_op: {x: 0.1, griper: 0.1}\nsources: [{source: bridge}]\n")
    assert str(caught.value).endswith(
        'r.yaml:2: no source has the dimension "griper"; expected one of x, y, z, roll, pitch, yaw, gripper. '
        'Did you mean "gripper"?'
    )


def test_cameras_of_a_source(tmp_path: Path) -> None:
    found = read(
        tmp_path, "name: x\ncameras: [tertiary, left, primary]\nsources: [{source: bridge}, {source: vqav2}]\n"
    )
    assert selection.cameras(found.sources[0]) == ("tertiary", "primary")
    assert selection.cameras(found.sources[1]) == ("image",)
    with pytest.raises(Rt2dataError) as caught:
        read(tmp_path, "name: x\ncameras: [left]\nsources:\n- source: bridge\n")
    assert str(caught.value).endswith(
        "r.yaml:4: none of the cameras left; expected one of primary, secondary, tertiary, fourth. Add it to "
        "cameras: in the recipe."
    )
