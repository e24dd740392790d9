"""Mixtures with chunks relative to the state at their start: what is built, what `verify` says, what a robot gets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import fake_datasets, scalar_relative, small_corpora
from support.bounds_by_rule import scalar_robust
from support.builds import samples
from support.damaged_mixtures import edit_sample, failing

from rt2data.declarations.declaration import find_declaration
from rt2data.errors import Rt2dataError
from rt2data.pipeline import build as flow
from rt2data.pipeline import estimate
from rt2data.plan import text
from rt2data.recipes import recipe as recipes
from rt2data.samples import groups
from rt2data.tokenizer import ActionTokenizer
from rt2data.verify import verify
from rt2data.verify.reference.tokenizer import Reference

Build = Callable[..., dict[str, Any]]
H = 4
ROBOTS = ("bridge_dataset", "taco_play", "aloha_mobile")
PROMPTS = dict(zip(ROBOTS, ("Q: {instruction}? A:", "T: {instruction}? A:", "J: {instruction}? A:"), strict=True))


def recipe(path: Path, spec: str = "rt2", horizon: int = H, past_end: str = "pad", **actions: Any) -> Path:
    """A recipe of the three robots, each with the `action` that is given by its name, and of captions."""
    sources: list[dict[str, Any]] = [{"source": "coco_captions"}]
    for name in ROBOTS:
        own = {"source": name, "splits": {"train": ["train"]}, "prompts": {"robot": PROMPTS[name]}}
        sources.append(own | ({"action": actions[name]} if name in actions else {}))
    tokenizer = {"spec": spec, "horizon": horizon}
    return small_corpora.write_recipe(
        path, tokenizer=tokenizer, past_end=past_end, cameras=["primary"], sources=sources, holdout=None
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = small_corpora.write_corpora(tmp_path_factory.mktemp("data"))
    for name in ROBOTS[1:]:
        fake_datasets.fake(find_declaration(name, "test"), root, episodes=5)
    return root


def built(root: Path, path: Path) -> Any:
    """A mixture, in this process: its folder, and the JSON of its samples by episode and step of each source."""
    engine, flow.Engine = flow.Engine, small_corpora.in_process()  # type: ignore[misc]
    try:
        flow.build(path, path.parent / "out", data_root=root, progress=False)
    finally:
        flow.Engine = engine  # type: ignore[misc]
    found: dict[str, dict[tuple[str, int], Any]] = {}
    for one in (sample["json"] for sample in samples(path.parent / "out")):
        if one["kind"] == "robot":
            found.setdefault(one["source"], {})[one["episode"], one["step"]] = one
    return SimpleNamespace(out=path.parent / "out", recipe=path, samples=found)


@pytest.fixture(scope="module")
def plain(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return built(data, recipe(tmp_path_factory.mktemp("plain") / "recipe.yaml", horizon=1))


@pytest.fixture(scope="module")
def flat(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Poses, one set of bounds for all steps, padded."""
    actions = {"bridge_dataset": {"relative": "pose"}, "taco_play": {"relative": "pose"}}
    actions["aloha_mobile"] = {"relative": "subtract"}
    return built(data, recipe(tmp_path_factory.mktemp("flat") / "recipe.yaml", **actions))


@pytest.fixture(scope="module")
def per_step(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Subtraction, bounds for each step; of Bridge single steps as ever."""
    how = {"relative": "subtract", "statistics": "per_step"}
    return built(data, recipe(tmp_path_factory.mktemp("steps") / "recipe.yaml", taco_play=how, aloha_mobile=how))


def expected(plain: Any, source: str, rules: list[str], key: tuple[str, int]) -> Any:
    """A chunk from single steps, by the second computation."""
    steps = plain.samples[source]
    first = steps[key]
    dims, kept = first["dims"], [name.endswith("gripper") for name in first["dims"]]
    rows = [steps[key[0], key[1] + k] for k in range(H) if (key[0], key[1] + k) in steps]
    actions = [[float(np.float32(x)) for x in row["action"]] for row in rows]
    rested = [*actions, *([[x if keep else 0.0 for x, keep in zip(actions[-1], kept, strict=True)]] * (H - len(rows)))]
    if source == "bridge_dataset":
        return scalar_relative.compose(rested, rules, dims)
    states = [[float(np.float32(x)) for x in row["proprio"]] for row in rows]
    if source == "taco_play":
        states = [[*state[:6], 0.0] for state in states]
        targets = [scalar_relative.target(s, a, dims, tool=False) for s, a in zip(states, actions, strict=True)]
    else:
        states, targets = [[*state, 0.0, 0.0] for state in states], actions
        kept = [True] * 14 + [False, False]  # the velocity of the base is 0 at rest
    last = [t if rule != "none" or keep else 0.0 for t, rule, keep in zip(targets[-1], rules, kept, strict=True)]
    return scalar_relative.make_relative([*targets, *([last] * (H - len(rows)))], states[0], rules, dims)


@pytest.mark.parametrize("source", ROBOTS)
def test_chunks_are_those_of_the_second_computation(plain: Any, flat: Any, per_step: Any, source: str) -> None:
    for mixture in (flat, per_step):
        assert mixture.samples[source].keys() == plain.samples[source].keys()
        for key, one in mixture.samples[source].items():
            if one["relative"] is None:
                assert (source, mixture) == ("bridge_dataset", per_step)
                continue
            wanted = expected(plain, source, one["relative"], key)
            np.testing.assert_allclose(np.reshape(one["action"], (H, -1)), wanted, rtol=0, atol=3e-7)


def test_a_sample_says_what_it_is(flat: Any, per_step: Any) -> None:
    first = {name: next(iter(flat.samples[name].values())) for name in ROBOTS}
    assert first["bridge_dataset"]["relative"] == ["pose_base"] * 6 + ["none"]
    assert first["bridge_dataset"]["origin"] is None
    taco = first["taco_play"]
    assert taco["origin"][:3] == taco["proprio"][:3]
    assert taco["origin"][6] == 0
    aloha = first["aloha_mobile"]
    assert [rule for rule in aloha["relative"] if rule != "subtract"] == ["none"] * 4  # two grippers, and the base
    assert aloha["origin"][0] == aloha["proprio"][0]
    captions = [one["json"] for one in samples(flat.out) if one["json"]["kind"] == "caption"]
    assert {(one["relative"], one["origin"]) for one in captions} == {(None, None)}
    assert next(iter(per_step.samples["bridge_dataset"].values()))["relative"] is None


def test_a_mixture_without_it_has_no_such_fields(plain: Any) -> None:
    assert not {"relative", "origin"} & next(samples(plain.out))["json"].keys()
    assert "relative" not in (plain.out / "tokenizer.json").read_text()
    assert "origin" not in (plain.out / "README.md").read_text()


@pytest.mark.parametrize("kind", ["flat", "per_step"])
def test_it_passes_verify(kind: str, request: pytest.FixtureRequest) -> None:
    report = verify(request.getfixturevalue(kind).out)
    assert failing(report) == set(), report.text()


@pytest.mark.parametrize("kind", ["flat", "per_step"])
def test_statistics_and_bounds_are_of_the_chunks(kind: str, request: pytest.FixtureRequest) -> None:
    mixture = request.getfixturevalue(kind)
    measured = json.loads((mixture.out / "statistics.json").read_bytes())["sources"]
    tok = ActionTokenizer.from_pretrained(str(mixture.out))
    for source in ("taco_play", "aloha_mobile"):
        own, train = tok.for_source(source), measured[source]["train"]
        chunks = np.array([one["action"] for one in mixture.samples[source].values()], np.float32).astype(np.float64)
        width = len(own.dims)
        table = chunks if kind == "per_step" else chunks.reshape(-1, width)
        assert (train["count"], train["dims"]) == (len(table), [dim.name for dim in own.dims])
        assert train.get("horizon") == (H if kind == "per_step" else None)
        np.testing.assert_array_equal(train["min"], table.min(axis=0))
        np.testing.assert_array_equal(train["q99"], np.quantile(table, 0.99, axis=0, method="linear"))
        assert np.sum(train["bins"], axis=1).tolist() == [len(chunks) * H] * (1 + width)
        moving = own.dims[0]
        assert moving.relative == ("subtract" if kind == "per_step" else moving.relative)
        if kind == "per_step":
            bounds = [scalar_robust(table[:, k * width].tolist()) for k in range(H)]
            assert [tuple(pair) for pair in moving.steps] == bounds
            assert (moving.low, moving.high) == (min(low for low, _ in bounds), max(high for _, high in bounds))
        gripper = next(dim for dim in own.dims if dim.name.endswith("gripper"))
        assert (gripper.low, gripper.high, gripper.relative, gripper.steps) == (0.0, 1.0, "", ())


@pytest.mark.parametrize("kind", ["flat", "per_step"])
def test_decoding_with_the_state_gives_the_absolute_action(kind: str, plain: Any, request: Any) -> None:
    mixture = request.getfixturevalue(kind)
    tok = ActionTokenizer.from_pretrained(str(mixture.out)).for_source("aloha_mobile")
    joints = [i for i, dim in enumerate(tok.dims) if dim.relative]
    half = np.array(
        [[(high - low) / 512 for low, high in (dim.steps or [(dim.low, dim.high)] * H)] for dim in tok.dims]
    )
    seen = 0
    for (episode, step), one in mixture.samples["aloha_mobile"].items():
        bins = tok.parse(one["target"])
        clipped = tok.encode(
            np.reshape(np.array(one["action"], np.float32), (H, -1)), np.array(one["terminate"]), return_clipped=True
        )[1]
        absolute = tok.decode(bins, state=np.array(one["origin"]), dtype="float64").actions
        for k in range(H):
            single = plain.samples["aloha_mobile"].get((episode, step + k))
            if single is None:
                continue
            for i in (i for i in joints if not clipped[k, i]):
                assert abs(absolute[k, i] - single["action"][i]) <= half[i, k] + 1e-6
                seen += 1
    assert seen > 300


def test_other_slices_give_the_same_bytes(
    flat: Any, data: Path, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slices of five rows cut every episode, so that chunks reach beyond their slice."""
    monkeypatch.setattr(groups, "GROUP_ROWS", 7)
    monkeypatch.setattr(flow, "exchange_limits", lambda recipe, parts, drawn, *_: [5] * len(drawn))
    build(flat.recipe, tmp_path / "out", data_root=data)
    assert small_corpora.tree(tmp_path / "out") == small_corpora.tree(flat.out)


def test_whole_windows_alone_where_the_end_is_dropped(plain: Any, build: Build, data: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path / "recipe.yaml", past_end="drop", taco_play={"relative": "subtract"})
    build(path, tmp_path / "out", data_root=data)
    assert failing(verify(tmp_path / "out")) == set()
    found = [one["json"] for one in samples(tmp_path / "out") if one["json"]["source"] == "taco_play"]
    assert found
    assert all(all(one["action_valid"]) for one in found)
    assert len(found) == sum(
        (key[0], key[1] + H - 1) in plain.samples["taco_play"] for key in plain.samples["taco_play"]
    )


def test_a_step_without_its_state_is_left_out(build: Build, tmp_path: Path) -> None:
    """It ends windows too: what begins less than a chunk before it is cut."""

    def state(rng: np.random.Generator, number: int, steps: int) -> Any:
        values = rng.normal(size=(steps, 14)).astype(np.float32)
        values[5, 3] = np.nan if number == 0 else 0.0
        return values

    declared = find_declaration("aloha_mobile", "test")
    fake_datasets.fake(declared, tmp_path, episodes=2, steps=9, values={"steps/observation/state": state})
    source = {"source": "aloha_mobile", "splits": {"train": ["train"]}, "action": {"relative": "subtract"}}
    options = {"tokenizer": {"spec": "rt2", "horizon": H}, "cameras": ["primary"], "sources": [source]}
    made = build(small_corpora.write_recipe(tmp_path / "r.yaml", **options), tmp_path / "out", data_root=tmp_path)
    assert made["sources"][0]["left_out"] == {"cut_window": H - 1, "no_state": 1}
    assert failing(verify(tmp_path / "out")) == set()


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda sample: sample["origin"].__setitem__(0, sample["origin"][0] + 0.01), "windows"),
        (lambda sample: sample["relative"].__setitem__(0, "none"), "actions"),
        (lambda sample: sample.__setitem__("origin", None), "actions"),
        (lambda sample: sample["origin"].__setitem__(6, 0.5), "actions"),
        (lambda sample: sample.pop("relative"), "schema"),
    ],
    ids=["another origin", "another rule", "no origin", "an origin of a gripper", "a field less"],
)
def test_verify_finds_faults(change: Any, check: str, per_step: Any, tmp_path: Path) -> None:
    shutil.copytree(per_step.out, tmp_path / "out")

    edit_sample(tmp_path / "out", change)
    assert check in failing(verify(tmp_path / "out"))


def test_dct_chunks_are_relative_too(build: Build, data: Path, tmp_path: Path) -> None:
    actions = {"bridge_dataset": {"relative": "pose"}, "aloha_mobile": {"relative": "subtract"}}
    path = recipe(tmp_path / "recipe.yaml", "fast", **actions)
    build(path, tmp_path / "out", data_root=data)
    report = verify(tmp_path / "out")
    assert failing(report) == set(), report.text()


def test_recipes_that_cannot_be_followed(data: Path, tmp_path: Path) -> None:
    def refused(match: str, spec: str = "rt2", horizon: int = H, **actions: Any) -> None:
        path = recipe(tmp_path / "recipe.yaml", spec, horizon, **actions)
        with pytest.raises(Rt2dataError, match=match):
            recipes.read_recipe(path)

    refused("relative: subtract for bridge_dataset: .* no pose to subtract", bridge_dataset={"relative": "subtract"})
    refused("relative: pose for aloha_mobile: .* hold no pose", aloha_mobile={"relative": "pose"})
    refused('no dimension "grip"', bridge_dataset={"relative": "pose", "exempt": ["grip"]})
    per_step = {"relative": "pose", "statistics": "per_step"}
    refused("which has one set of bounds", "fast", bridge_dataset=per_step)
    refused("at most 4096 numbers in a chunk", horizon=600, bridge_dataset=per_step)
    path = small_corpora.write_recipe(tmp_path / "own.yaml", action={"relative": "pose", "exempt": ["grip"]})
    with pytest.raises(Rt2dataError, match="no source has the dimension"):
        recipes.read_recipe(path)
    sources = [{"source": "coco_captions", "action": {"relative": "pose"}}]
    path = small_corpora.write_recipe(tmp_path / "web.yaml", sources=sources)
    with pytest.raises(Rt2dataError, match='"action" for a caption source'):
        recipes.read_recipe(path)


def test_a_source_may_leave_out_what_the_recipe_asks_for(tmp_path: Path) -> None:
    sources = [{"source": "bridge_dataset"}, {"source": "aloha_mobile", "prompts": {"robot": "J: {instruction}? A:"}}]
    path = small_corpora.write_recipe(tmp_path / "a.yaml", action={"relative": "pose"}, sources=sources)
    with pytest.raises(Rt2dataError, match="action: null"):
        recipes.read_recipe(path)
    sources[1]["action"] = None  # type: ignore[assignment]
    parsed = recipes.read_recipe(small_corpora.write_recipe(path, action={"relative": "pose"}, sources=sources))
    assert [bool(source.sampling.relative) for source in parsed.sources] == [True, False]
    again = recipes.parse_recipe(parsed.resolved, "manifest.json")
    assert again.sources[0].sampling == parsed.sources[0].sampling
    assert again.resolved == parsed.resolved


def test_one_prompt_does_not_stand_for_two_meanings(tmp_path: Path) -> None:
    sources = [{"source": "bridge_dataset"}, {"source": "taco_play", "action": {"relative": "pose"}}]
    with pytest.raises(Rt2dataError, match="have the same prompt"):
        recipes.read_recipe(small_corpora.write_recipe(tmp_path / "a.yaml", sources=sources))


def test_the_plan_says_it(flat: Any, data: Path) -> None:
    parsed = recipes.read_recipe(flat.recipe)
    plan = estimate.make(parsed, data, flat.out.with_name("out.work"), index=False, check=False)
    shown = " ".join(text.plan_text(parsed, plan, 1, None).split())
    assert "relative to the state at the chunk's start (pose_base), but for gripper" in shown
    assert "(subtract), but for left_gripper, right_gripper, base_linear, base_angular" in shown


def test_bounds_per_step_are_those_of_the_reference(per_step: Any) -> None:
    raw = json.loads((per_step.out / "tokenizer.json").read_bytes())
    tok = ActionTokenizer.from_pretrained(str(per_step.out)).for_source("aloha_mobile")
    reference = Reference(raw, "aloha_mobile")
    rng = np.random.default_rng(3)
    for _ in range(50):
        chunk = rng.normal(scale=0.1, size=(H, 16)).astype(np.float32)
        ends = rng.integers(0, 2, H).astype(bool)
        bins = tok.encode(chunk, ends)
        assert reference.encode([float(x) for x in chunk.reshape(-1)], [bool(e) for e in ends]) == bins.tolist()
        values = tok.decode(bins, dtype="float64").actions
        assert reference.decode(bins.tolist())[0] == values.reshape(-1).tolist()
        assert (tok.encode(values, ends) == bins).all()
