"""Declarations: those that come with rt2data, and what is refused of others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rt2data import declaration, recipe, resources, robot, sources
from rt2data.errors import Rt2dataError

ROBOT: dict[str, Any] = {
    "name": "toy", "id": "toy", "kind": "robot", "format": "rlds", "paths": ["toy"], "licence": "none",
    "cameras": {"front": {"field": "steps/observation/image"}}, "instruction": "steps/language_instruction",
    "action": {
        "dims": ["x", "y", "z", "roll", "pitch", "yaw", "gripper"], "kind": "displacement", "frame": "base", "unit": "m_rad",
        "gripper": "1 = open",
        "terms": [{"field": "steps/action", "columns": [0, 1, 2, 3, 4, 5, 6], "to": ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]}],
    },
    "terminate": "is_last", "valid_action": "all",
}  # fmt: skip
WEB: dict[str, Any] = {
    "name": "web", "id": "web", "kind": "vqa", "format": "vqa_json", "paths": ["web"], "licence": "none",
    "splits": {"train": {"questions": ["q.json"], "annotations": ["a.json"]}}, "images": ["{image_id}.jpg"], "image_namespace": "web",
}  # fmt: skip


def written(tmp_path: Path, content: dict[str, Any]) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def refused(tmp_path: Path, content: dict[str, Any]) -> str:
    with pytest.raises(Rt2dataError) as caught:
        declaration.read(written(tmp_path, content))
    return str(caught.value).replace(f"{tmp_path}/", "")


def action(**changes: Any) -> dict[str, Any]:
    return ROBOT | {"action": ROBOT["action"] | changes}


def test_every_declaration_that_comes_with_rt2data_is_read() -> None:
    found = declaration.declared()
    assert {"bridge_dataset", "vqav2", "coco_captions"} <= set(found)
    files = {Path(one.file) for one in found.values()}
    assert files == {path for path in resources.files("builders", ".yaml") if path.name != declaration.UNDECLARED}
    for one in found.values():
        assert (one.robot is None) == (one.kind != "robot")
        assert (one.web is None) == (one.kind == "robot")
        assert sources.of_format(one, one.file)
        if one.robot:
            assert sorted(name for term in one.robot.terms for name in term.to) == sorted(one.robot.dims)


def test_the_prompt_templates_of_a_recipe_do_not_reach_into_the_declarations() -> None:
    assert set(recipe.PROMPTS) == {"robot", "vqa", "caption", "instruction"}


def test_a_robot_is_read(tmp_path: Path) -> None:
    one = declaration.read(written(tmp_path, ROBOT))
    assert one.robot is not None
    assert one.cameras == ("front",)
    assert one.robot.cameras == (robot.Camera("front", "steps/observation/image", padding=False, colour="rgb"),)
    assert one.robot.terms[0].columns == tuple(range(7))
    assert one.robot.proprio == ()
    assert one.robot.instruction == robot.Instruction(("steps/language_instruction",), False, (), None, None)
    assert one.robot.control_hz is None


def test_the_digest_is_of_what_is_declared_not_of_prose(tmp_path: Path) -> None:
    first = declaration.read(written(tmp_path, ROBOT)).digest
    assert declaration.read(written(tmp_path, ROBOT | {"notes": ["seen"], "citation": "x", "paths": ["elsewhere"]})).digest == first
    assert declaration.read(written(tmp_path, dict(reversed(ROBOT.items())))).digest == first
    assert declaration.read(written(tmp_path, ROBOT | {"terminate": "is_terminal"})).digest != first
    assert declaration.read(written(tmp_path, ROBOT | {"id": "other"})).digest != first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({k: v for k, v in ROBOT.items() if k != "cameras"}, 'toy.yaml:1: the file has no "cameras"; expected the field "cameras".'),
        ({k: v for k, v in WEB.items() if k != "images"}, 'toy.yaml:1: the file has no "images"; expected the field "images".'),
        (ROBOT | {"id": "Toy-1"}, 'toy.yaml:2: "id" is "Toy-1"; expected The short id that begins each sample\'s key: '
         "at most 40 lower-case letters, digits and underscores."),
        (ROBOT | {"kind": "robots"}, 'toy.yaml:3: "kind" is "robots"; expected one of robot, vqa, caption. Did you mean "robot"?'),
        (ROBOT | {"cameras": {"Front": {"field": "a"}}}, None),
        (ROBOT | {"cameras": {"json.x": {"field": "a"}}}, None),
        (ROBOT | {"paths": ["/etc"]}, None),
        (ROBOT | {"code": "import os"}, 'toy.yaml:36: unknown field "code"; expected one of '),
        (action(dims=["x", "y"]), "toy.yaml:18: the terms give x, y, z, roll, pitch, yaw, gripper; expected each of x, y once."),
        (action(terms=[{"field": "a", "columns": [0, 1], "to": list(robot.ARM)}]),
         "toy.yaml:25: 2 columns for 7 dimensions; expected as many columns as dimensions."),
        (WEB | {"splits": {"train": {"annotations": ["a.json"]}}},
         'toy.yaml:9: split "train" has no "questions"; expected question files of a VQA corpus.'),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, content: dict[str, Any], message: str | None) -> None:
    found = refused(tmp_path, content)
    assert re.match(r"toy\.yaml:\d+: .*; expected ", found)
    if message is not None:
        assert re.sub(r":\d+:", ":", found).startswith(re.sub(r":\d+:", ":", message))
        line = int(found.split(":")[1])
        assert 1 <= line <= len(written(tmp_path, content).read_text().splitlines())


def test_lines_of_errors(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    text = yaml.safe_dump(ROBOT, sort_keys=False).replace("terminate: is_last", "terminate: never")
    path.write_text(text)
    line = 1 + text.splitlines().index("terminate: never")
    with pytest.raises(Rt2dataError, match=f'toy.yaml:{line}: "terminate" is "never"; expected One of is_terminal, is_last, last_step, none'):
        declaration.read(path)


@pytest.mark.parametrize("claim", [{"name": "toy"}, {"id": "toy"}, {"aliases": ["toy"]}])
def test_two_declarations_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claim: dict[str, Any]) -> None:
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    files[0].write_text(yaml.safe_dump(ROBOT))
    files[1].write_text(yaml.safe_dump(ROBOT | {"name": "other", "id": "other"} | claim))
    monkeypatch.setattr(resources, "files", lambda *_: iter(files))
    with pytest.raises(Rt2dataError, match=r'b\.yaml: (name|id) "toy" is also that of .*a\.yaml; expected a name of its own'):
        declaration.declared.__wrapped__()


def test_names_and_aliases() -> None:
    assert declaration.find("bridge").name == "bridge_dataset"
    assert declaration.find("bridge_orig") is declaration.find("bridge_dataset")
    with pytest.raises(Rt2dataError, match=r'^r\.yaml:9: unknown source "brigde"; expected one of \d+ declarations\. Did you mean "bridge"\?$'):
        declaration.find("brigde", "r.yaml:9")


def test_a_format_is_looked_up_or_imported(tmp_path: Path) -> None:
    one = declaration.read(written(tmp_path, ROBOT | {"format": "rt2data.sources.rlds:Rlds"}))
    assert sources.of_format(one, "w").__name__ == "Rlds"
    for text, message in [
        ("rldz", f'w: unknown format "rldz"; expected one of {", ".join(sources.FORMATS)}, or module:Class. Did you mean "rlds"?'),
        ("no_such_module:Class", "w: format \"no_such_module:Class\": No module named 'no_such_module'; expected a class that can be imported."),
    ]:
        one = declaration.read(written(tmp_path, ROBOT | {"format": text}))
        with pytest.raises(Rt2dataError) as caught:
            sources.of_format(one, "w")
        assert str(caught.value) == message


def test_a_dataset_that_is_not_there(tmp_path: Path) -> None:
    one = declaration.find("bridge")
    with pytest.raises(Rt2dataError) as caught:
        sources.open_source(one, tmp_path, where="r.yaml:3")
    places = ", ".join(str(tmp_path / p) for p in one.paths)
    assert str(caught.value) == (
        f'r.yaml:3: dataset "bridge_dataset" is not on disk; expected a folder at one of {places}. '
        "`rt2data datasets bridge_dataset` prints the command that copies it."
    )
    with pytest.raises(Rt2dataError, match=r"^r\.yaml:3: no data root; expected the folder that holds bridge_dataset\. Give it with --data-root\.$"):
        sources.open_source(one, None, where="r.yaml:3")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a\0b", "..", ".", "", "a/../.."])
def test_names_that_leave_a_folder(tmp_path: Path, name: str) -> None:
    assert sources.safe_join(tmp_path, name) is None


@pytest.mark.parametrize("name", ["x", "a/b", "a/../x", "ünï/代.jpg", "..a", "a..b/c"])
@pytest.mark.parametrize("root", ["relative", ".", "/", "{tmp}", "{tmp}/../{name}"])
def test_names_that_stay_in_a_folder(tmp_path: Path, root: str, name: str) -> None:
    folder = Path(root.format(tmp=tmp_path, name=tmp_path.name))
    joined = sources.safe_join(folder, name)
    assert joined is not None
    assert joined.resolve() == (folder / name).resolve()
