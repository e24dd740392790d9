"""Other projects' standardisation where it reads every k-th step: what becomes of the steps, and of windows of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import openvla_octo, small_corpora
from support.builds import samples
from support.fake_datasets import fake, numbers, robot_of, same
from support.other_standardisation import other

from rt2data import sources, verify
from rt2data.declarations.declaration import Declaration
from rt2data.errors import Rt2dataError
from rt2data.pipeline import build as flow
from rt2data.pipeline import estimate
from rt2data.recipes import recipe
from rt2data.rlds.dataset import read_episodes
from rt2data.rlds.tfrecord import map_file

Build = Callable[..., dict[str, Any]]
Made = Callable[..., Any]  # values of a field, as `rt2data.testing.fake_dataset` takes them

LONG = openvla_octo.LONG
THINNED = ["aloha_static_dataset", f"berkeley_rpt{LONG}", "gnm_dataset"]


def built(build: Build, folder: Path, one: Declaration, **changes: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The manifest's entry of a mixture of the fake below ``folder/data`` as Octo reads it, and its samples."""
    options = {"compat": "octo", "sources": [{"source": one.name}], "splits": {"train": ["train"]}}
    path = small_corpora.write_recipe(folder / "r.yaml", **options | {"cameras": [next(iter(one.cameras))]} | changes)
    manifest = build(path, folder / "out", data_root=folder / "data", workers=1)
    report = verify.verify(folder / "out")
    assert report.ok, report.text()
    return manifest["sources"][0], list(samples(folder / "out"))


def episodes(one: Declaration, folder: Path) -> dict[str, tuple[int, openvla_octo.Rows, list[bytes]]]:
    """Length, numbers and first camera of each episode, by its id, without what makes an index."""
    source: Any = sources.load_format(one, one.file)(one, folder)
    camera, out = robot_of(one).cameras[0].field, {}
    for part in source.parts("train"):
        buffer = map_file(source.root / part.name)
        for number, episode in enumerate(
            read_episodes(buffer, part.name, source.fields, list(source.fields), check=True)
        ):
            refs = episode[camera]
            pictures = [bytes(buffer[o : o + n]) for o, n in zip(refs.offset, refs.length, strict=True)]
            rows = numbers(episode, source.fields, robot_of(one))
            out[f"train/{part.name}/{number}"] = episode.steps, rows, pictures
    return out


@pytest.mark.parametrize("name", THINNED)
def test_windows_are_of_the_steps_that_are_read(name: str, tmp_path: Path, build: Build) -> None:
    """Step j of a chunk, and image j of a history, are `every` steps of the dataset further on, or back."""
    one, act, every = other("octo", name), openvla_octo.MAPS["octo"][name], openvla_octo.EVERY[name]
    folder, horizon = fake(one, tmp_path / "data", episodes=3, steps=19), 3
    entry, found = built(build, tmp_path, one, history=3, tokenizer={"spec": "rt2", "horizon": horizon})
    assert entry["stride"] == every
    grippers = [i for i, dim in enumerate(robot_of(one).dims) if i in robot_of(one).held]
    seen, wanted = set(), set()
    for episode, (steps, rows, pictures) in episodes(one, folder).items():
        read = list(range(0, steps, every))
        acts = read[:-1] if ("octo", name) in openvla_octo.DROPPED else read
        wanted |= {(episode, t) for t in acts}
        for sample in (s for s in found if s["json"]["episode"] == episode):
            said, t = sample["json"], sample["json"]["step"]
            seen.add((episode, t))
            width = len(said["dims"])
            for j in range(horizon):
                action, at = said["action"][j * width : (j + 1) * width], t + j * every
                assert said["action_valid"][j] == (at in acts)
                if at in acts:
                    same(np.array([action], np.float32), [act(rows, at)], f"{episode} {t}+{j}")
                else:  # rest: what is held stays, what moves is 0
                    last = act(rows, acts[-1])
                    rest = [x if i in grippers else 0.0 for i, x in enumerate(last)]
                    same(np.array([action], np.float32), [rest], f"{episode} {t}+{j}")
            for back, suffix in enumerate(said["images"]):
                assert said["image_valid"][back] == (t >= back * every)
                assert sample[suffix] == pictures[max(t - back * every, 0)]
    assert seen == wanted
    assert entry["usable"]["train"] == len(wanted)


@pytest.mark.parametrize("name", THINNED[:2])
def test_a_stride_counts_the_steps_that_are_read(name: str, tmp_path: Path, build: Build) -> None:
    """Two steps of Octo as one: changes are added, commanded values and grippers are those of the second."""
    one, act, every = other("octo", name), openvla_octo.MAPS["octo"][name], openvla_octo.EVERY[name]
    folder = fake(one, tmp_path / "data", episodes=3, steps=19)
    entry, found = built(build, tmp_path, one, stride=2)
    assert entry["stride"] == 2 * every
    robot, seen, wanted = robot_of(one), set(), set()
    for episode, (steps, rows, _) in episodes(one, folder).items():
        read = list(range(0, steps, every))
        acts = read[:-1] if ("octo", name) in openvla_octo.DROPPED else read
        groups = [acts[i : i + 2] for i in range(0, len(acts), 2)]
        wanted |= {(episode, group[0]) for group in groups}
        for group in groups:
            (said,) = (s["json"] for s in found if (s["json"]["episode"], s["json"]["step"]) == (episode, group[0]))
            seen.add((episode, said["step"]))
            parts = [act(rows, t) for t in group]
            action = [sum(x) if i not in robot.held else x[-1] for i, x in enumerate(zip(*parts, strict=True))]
            np.testing.assert_allclose(said["action"], action, atol=1e-6)
    assert seen == wanted
    assert len(found) == len(wanted)


def test_an_estimate_counts_the_steps_that_are_read(tmp_path: Path) -> None:
    """Of 19, 20 and 21 steps Octo reads 4, 4 and 5; of those that a publisher states, a fifth or a third."""
    one = other("octo", THINNED[0])
    fake(one, tmp_path / "data", episodes=3, steps=19)
    named = [{"source": one.name}, {"source": THINNED[1], "prompts": {"robot": "{instruction}"}}]
    options = {"compat": "octo", "sources": named, "splits": {"train": ["train"]}, "cameras": ["primary", "wrist"]}
    read = recipe.read_recipe(small_corpora.write_recipe(tmp_path / "r.yaml", **options))
    made = estimate.make(read, tmp_path / "data", tmp_path / "work", index=False, check=False)
    assert [found.estimated for found in made.sources] == [True, True]
    assert made.sources[0].samples["train"] == 4 + 4 + 5
    assert made.sources[1].samples["train"] == pytest.approx(392578 / 3, rel=0.01)


def test_a_base_without_its_turn_cannot_be_composed(tmp_path: Path) -> None:
    """Octo's two numbers of GNM are ahead and to the left of a robot that turns meanwhile."""
    options = {"compat": "octo", "sources": [{"source": "gnm_dataset"}], "stride": 2, "cameras": ["primary"]}
    with pytest.raises(
        Rt2dataError, match="base_forward, base_left are seen from a base whose turn the action does not hold"
    ):
        recipe.read_recipe(small_corpora.write_recipe(tmp_path / "r.yaml", **options))


# GNM: the factor that the first step of each episode tells


def along(*places: float) -> Made:
    """The position of a robot that is at these places of the x axis, then 1 further with each step."""

    def make(_: Any, __: int, steps: int) -> Any:
        row = [*places, *(places[-1] + 1.0 + t for t in range(steps))]
        return np.array([[x, 0.0] for x in row[:steps]], np.float32)

    return make


def first_action(*numbers: float) -> Made:
    """The action of the first step; those of the others are of no consequence."""
    return lambda _, __, steps: np.array([list(numbers)] + [[7.0, 7.0]] * (steps - 1), np.float32)


def still(_: Any, __: int, steps: int) -> Any:
    return np.zeros((steps, 1), np.float32)


@pytest.mark.parametrize(
    ("places", "action", "wanted"),
    [
        ((0.0, 0.25), (0.375, 0.5), [5.625, 7.5]),  # 0.625 over 0.25: 2.5 times the ways 0 -> 2.25 -> 5.25
        ((0.0, 0.25), (0.0, 0.0), [0.0, 0.0]),  # an action of no length makes all of them 0
        ((0.0, 0.0), (0.3, 0.4), None),  # infinite
        ((0.0, 0.0), (0.0, 0.0), None),  # 0 / 0
        ((0.0, 1e-45), (3e38, 0.0), None),  # more than float32 holds
    ],
)
def test_the_factor_of_an_episode(
    places: tuple[float, float], action: tuple[float, float], wanted: list[float] | None, tmp_path: Path, build: Build
) -> None:
    """Octo divides by the length of the first way; what that makes of no number is no sample, and is counted."""
    one = other("octo", "gnm_dataset")
    values = {"steps/observation/position": along(*places), "steps/action": first_action(*action)}
    fake(one, tmp_path / "data", episodes=1, steps=8, values=values | {"steps/observation/yaw": still})
    if wanted is None:
        with pytest.raises(Rt2dataError, match="2 not_finite"):
            built(build, tmp_path, one)
        return
    entry, found = built(build, tmp_path, one)
    assert entry["left_out"] == {"between_steps": 5, "invalid_action": 1}
    assert [s["json"]["action"] for s in sorted(found, key=lambda s: s["json"]["step"])] == [[x, 0.0] for x in wanted]


def test_an_episode_that_stands_at_first_is_counted_beside_others(tmp_path: Path, build: Build) -> None:
    one, stand, go = other("octo", "gnm_dataset"), along(0.0, 0.0), along(0.0, 0.5)
    position = {"steps/observation/position": lambda rng, n, steps: (stand if n == 1 else go)(rng, n, steps)}
    fake(one, tmp_path / "data", episodes=3, steps=7, values=position)
    entry, found = built(build, tmp_path, one)
    # of 7, 8 and 9 steps the steps 0, 3 and 6 are read, and the last of these has no action
    assert entry["left_out"] == {"between_steps": 4 + 5 + 6, "invalid_action": 3, "not_finite": 2}
    assert len(found) == entry["usable"]["train"] == 4


@pytest.mark.parametrize(("steps", "samples_of"), [(1, [0, 0, 0]), (4, [1, 1, 1]), (6, [1, 2, 2])])
def test_episodes_of_few_steps(steps: int, samples_of: list[int], tmp_path: Path, build: Build) -> None:
    """Episodes of `steps` to `steps` + 2 steps: one of fewer than four has no second step that is read."""
    one = other("octo", "gnm_dataset")
    fake(one, tmp_path / "data", episodes=3, steps=steps)
    if not any(samples_of):
        with pytest.raises(Rt2dataError, match="3 invalid_action, 3 between_steps"):
            built(build, tmp_path, one)
        return
    entry, found = built(build, tmp_path, one)
    read = [-(-n // 3) for n in range(steps, steps + 3)]
    assert entry["left_out"] == {"between_steps": entry["rows"] - sum(read), "invalid_action": 3}
    assert [sum(s["json"]["steps"] == n for s in found) for n in range(steps, steps + 3)] == samples_of


@pytest.mark.slow
def test_all_of_octo(tmp_path: Path) -> None:
    """Octo's mixture of every dataset, as Octo reads each of them: it is read, planned, built and read back."""
    (tmp_path / "r.yaml").write_text("name: r\ninclude: octo_full\ncompat: octo\nsamples_per_shard: 100\n")
    for source in recipe.read_recipe(tmp_path / "r.yaml").sources:
        assert source.declaration.standardisation == "octo"
        fake(source.declaration, tmp_path / "data", episodes=4, steps=7)
    manifest = flow.build(tmp_path / "r.yaml", tmp_path / "out", data_root=tmp_path / "data", workers=2, progress=False)
    entries = {entry["source"]: entry for entry in manifest["sources"]}
    assert {s["source"] for s in manifest["recipe"]["sources"]} == set(entries)
    assert all(entry["usable"]["train"] for entry in entries.values())
    assert entries["gnm_dataset"]["left_out"] == {"between_steps": 4 + 5 + 6 + 4, "invalid_action": 4}
    report = verify.verify(tmp_path / "out")
    assert report.ok, report.text()
