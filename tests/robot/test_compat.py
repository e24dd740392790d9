"""OpenVLA's and Octo's standardisation: every map against a second one, and recipes that ask for them."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import openvla_octo, small_corpora
from support.fake_datasets import fake, numbers, published, robot_of, same
from support.other_standardisation import other

from rt2data import index, sources, verify
from rt2data.declarations import declaration
from rt2data.declarations.declaration import COMPAT
from rt2data.errors import Rt2dataError
from rt2data.plan import plan, warnings
from rt2data.recipes import recipe
from rt2data.rlds.dataset import read_episodes
from rt2data.rlds.tfrecord import map_file
from rt2data.robot import match

CASES = [(project, name) for project in COMPAT for name in openvla_octo.MAPS[project]]


@pytest.mark.parametrize(("project", "name"), CASES)
def test_each_map_is_that_of_the_project(project: str, name: str, tmp_path: Path) -> None:
    one = other(project, name)
    robot = robot_of(one)
    fields = published(one)
    assert fields is None or not [*match.find_mismatches(robot, fields, one.name, one.file)]
    act = openvla_octo.MAPS[project][name]
    every = openvla_octo.EVERY.get(name, 1) if project == "octo" else 1
    assert robot.every == every
    folder = fake(one, tmp_path, episodes=4, steps=9)
    source: Any = sources.load_format(one, one.file)(one, folder)
    blank = project == "octo" and name in openvla_octo.BLANK
    for part in source.parts("train"):
        table = source.index(part, check="quick")
        action, reject = index.matrix(table.column("action")), index.numbers(table, "reject")
        texts = table.column("instruction").to_pylist()
        assert not index.numbers(table, "terminate").any()  # neither keeps a flag
        row = 0
        wanted = list(source.fields)
        for episode in read_episodes(map_file(source.root / part.name), part.name, source.fields, wanted, check=True):
            values = numbers(episode, source.fields, robot)
            read = list(range(0, episode.steps, every))
            dropped = {read[n] for n in openvla_octo.DROPPED.get((project, name), ())}
            if name == "droid":
                dropped |= {t for t in read if not any(values["steps/action_dict/cartesian_velocity"][t])}
            if name in openvla_octo.QUATERNIONS:  # one of zeros is no rotation
                dropped |= {t for t in read if not any(values["steps/action"][t][3:7])}
            for t in range(episode.steps):
                reason = index.REASONS[reject[row + t]]
                if t not in read:
                    assert reason == "between_steps"
                elif t in dropped:
                    assert reason == "invalid_action"
                else:
                    assert reason in ("", "no_instruction")
                    same(action[row + t : row + t + 1], [act(values, t)], one.name)
                    assert not blank or texts[row + t] == ""
            row += episode.steps


@pytest.mark.slow
def test_every_dataset_of_their_mixtures(tmp_path: Path) -> None:
    """Each source of the published mixtures, and each mixture as a whole."""
    missing = set()
    for project, begins in (("openvla", ("oxe_", "bridge", "droid_", "libero_", "tdroid_")), ("octo", ("octo_",))):
        for path in sorted(recipe.resources.folder("mixtures").glob("*.yaml")):
            if not path.stem.startswith(begins) or path.stem == "bridge_coco_vqa":
                continue
            for source in recipe.read_recipe(path).sources:
                if project not in source.declaration.compat:
                    missing.add((project, source.declaration.name))
            (tmp_path / "r.yaml").write_text(f"name: r\ninclude: {path.stem}\ncompat: {project}\n")
            read = recipe.read_recipe(tmp_path / "r.yaml").sources
            assert {s.declaration.standardisation for s in read if s.declaration.robot} == {project}
    assert missing == set()


def test_a_page_says_what_they_do() -> None:
    from rt2data.cli import catalog

    page = catalog.page(declaration.find_declaration("kuka"))
    assert "as octo reads it" in page
    assert "blank" in page


BRIDGE = {"sources": [{"source": "bridge_dataset"}], "splits": {"train": ["train"]}, "cameras": ["primary"]}


def test_a_recipe_asks_for_it(tmp_path: Path, build: Callable[..., dict[str, Any]]) -> None:
    """Other steps, other numbers, another tokenizer, and the manifest says which."""
    small_corpora.write_bridge(tmp_path / "data")
    built = {}
    for name, more in (("own", {}), ("openvla", {"compat": "openvla"}), ("octo", {"compat": "octo"})):
        path = small_corpora.write_recipe(tmp_path / f"{name}.yaml", **BRIDGE | more)
        built[name] = build(path, tmp_path / name, data_root=tmp_path / "data", workers=1, work=tmp_path / "work")
        assert verify.verify(tmp_path / name).ok
    steps = [3 + n % 5 for n in range(12)]
    usable = {name: manifest["sources"][0]["usable"]["train"] for name, manifest in built.items()}
    assert usable == {"own": sum(steps), "openvla": sum(steps) - 24, "octo": sum(steps) - 12}
    assert len({manifest["tokenizer"] for manifest in built.values()}) == 3
    assert len({manifest["sources"][0]["declaration"] for manifest in built.values()}) == 3
    assert [manifest["recipe"]["sources"][0].get("compat") for manifest in built.values()] == [None, "openvla", "octo"]
    stats = {name: json.loads((tmp_path / name / "statistics.json").read_bytes()) for name in built}
    assert {name: s["sources"]["bridge_dataset"]["train"]["count"] for name, s in stats.items()} == usable
    # the manifest's recipe is the same recipe
    again = recipe.parse_recipe(built["octo"]["recipe"], "again")
    assert again.sources[0].declaration == other("octo", "bridge_dataset")
    assert again.resolved == built["octo"]["recipe"]


def test_a_source_may_differ_from_its_recipe(tmp_path: Path) -> None:
    kuka = {"source": "kuka", "compat": "none"}
    named = [{"source": "bridge"}, {"source": "fractal20220817_data", "compat": "octo"}, kuka, {"source": "vqav2"}]
    changes = {"compat": "openvla", "sources": named}
    found = recipe.read_recipe(small_corpora.write_recipe(tmp_path / "r.yaml", **BRIDGE | changes))
    assert [s.declaration.standardisation for s in found.sources] == ["openvla", "octo", None, None]
    assert [s.get("compat") for s in found.resolved["sources"]] == ["openvla", "octo", None, None]
    warned = warnings.warnings(found, plan.empty_plans(found, [{}] * 4), {})
    assert "fractal20220817_data: as octo reads it: The terminate flag is dropped." in warned


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"compat": "openvla", "sources": [{"source": "gnm_dataset"}]},
            r"how openvla standardises gnm_dataset; .*Take it as it is declared with compat: none, or",
        ),
        ({"sources": [{"source": "vqav2", "compat": "octo"}]}, r'"compat" for a vqa source; expected a robot source'),
        ({"compat": "rt1"}, "compat"),
    ],
)
def test_what_a_recipe_cannot_ask_for(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Rt2dataError, match=message):
        recipe.read_recipe(small_corpora.write_recipe(tmp_path / "r.yaml", **BRIDGE | changes))


def test_a_blank_instruction_is_one(tmp_path: Path, build: Callable[..., dict[str, Any]]) -> None:
    """Octo trains on these steps without words: they are samples, and none is lost."""
    one = declaration.find_declaration("roboturk")
    fake(one, tmp_path / "data", episodes=4, steps=4)
    path = small_corpora.write_recipe(
        tmp_path / "r.yaml", **BRIDGE | {"compat": "octo", "sources": [{"source": "roboturk"}]}
    )
    manifest = build(path, tmp_path / "out", data_root=tmp_path / "data", workers=1)
    assert manifest["sources"][0]["left_out"] == {}
    assert verify.verify(tmp_path / "out").ok
    shard = next((tmp_path / "out" / "train").glob("*.tar"))
    with tarfile.open(shard) as tar:
        found = [json.load(tar.extractfile(m)) for m in tar.getmembers() if m.name.endswith(".json")]  # type: ignore[arg-type]
    assert {sample["instruction"] for sample in found} == {""}
    assert {sample["prompt"] for sample in found} == {"Q: what action should the robot take to ? A:"}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"octo": {"like": "octo"}}, "like: octo; expected the other project, with an action of its own"),
        ({"octo": {"like": "openvla"}}, "like: openvla; expected the other project, with an action of its own"),
        ({"octo": {"quirks": ["x"]}}, "octo"),
        ({"octo": {"like": "openvla", "every": 1}, "openvla": {"like": "octo"}}, "every"),
    ],
)
def test_blocks_that_say_nothing(tmp_path: Path, block: dict[str, Any], message: str) -> None:
    raw = {k: v for k, v in declaration.find_declaration("bridge").raw.items() if k != "compat"}
    (tmp_path / "toy.yaml").write_text(json.dumps(raw | {"compat": block}))
    with pytest.raises(Rt2dataError, match=message):
        declaration.read_declaration(tmp_path / "toy.yaml")


def test_what_a_quirk_says_is_so() -> None:
    """Quirks are prose, and plans print them: those that a map can belie are held to it."""
    for one in declaration.list_declarations().values():
        for other_one in one.compat.values():
            said, own, robot = " ".join(other_one.raw["notes"]), robot_of(one), robot_of(other_one)
            if "poses" in said:
                poses = {term.field for term in own.terms if not any(op.name == "add" for op in term.ops)}
                assert own.kind == "pose", one.name
                assert next(term.field for term in robot.terms if "x" in term.to) in poses, one.name
            if "gripper is as stored" in said:
                assert all(not term.ops for term in robot.terms if "gripper" in term.to), one.name
            assert ("blank" in said) == (robot.instruction.text == ""), one.name
            assert ("Every third" in said or "Every fifth" in said) == (robot.every > 1), one.name


# What OpenVLA's and Octo's preparation (rlds_dataset_mod) swaps red and blue of.
SWAPPED = {
    "berkeley_autolab_ur5": {"wrist"},
    f"stanford_hydra_dataset{openvla_octo.LONG}": {"primary", "wrist"},
    "utaustin_mutex": {"primary", "wrist"},
    "berkeley_fanuc_manipulation": {"primary", "wrist"},
}


@pytest.mark.parametrize("project", COMPAT)
def test_red_and_blue_are_swapped_where_they_do(project: str) -> None:
    for one in declaration.list_declarations().values():
        if project in one.compat:
            swapped = {camera.name for camera in robot_of(one.compat[project]).cameras if camera.colour == "bgr"}
            assert swapped == SWAPPED.get(one.name, set()), one.name
