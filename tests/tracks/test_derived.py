"""Motions in words and gripper events, from the actions of an index, against the scalar rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support import scalar_tracks

from rt2data import index
from rt2data.recipes.tracks import GripperEvents, Motions
from rt2data.robot.fields import ARM
from rt2data.tracks.store import TrackStore
from rt2data.tracks.times import Binding

RULE = {"window": 4, "translation": 0.03, "rotation": 0.15, "closed": 0.4, "open": 0.6}
MOTIONS = Motions("motion", **RULE, dims=ARM)  # type: ignore[arg-type]
EVENTS = GripperEvents("gripper_event", 0.4, 0.6, ARM)


def part(*episodes: Any, reject: dict[int, str] | None = None) -> pa.Table:
    """The index of a part with the actions of episodes."""
    units = [index.digest(f"e{n}") for n, actions in enumerate(episodes) for _ in actions]
    actions = np.concatenate([np.asarray(one, np.float32) for one in episodes])
    codes = np.zeros(len(actions), np.uint8)
    for row, reason in (reject or {}).items():
        codes[row] = index.CODE[reason]
    raw = pa.FixedSizeBinaryArray.from_buffers(pa.binary(10), len(units), [None, pa.py_buffer(b"".join(units))])
    return pa.table(
        {
            "unit": raw, "step": pa.array([s for one in episodes for s in range(len(one))], pa.int32()),
            "episode": [f"e{n}" for n, one in enumerate(episodes) for _ in one],
            "action": index.fixed(actions), "reject": codes,
        }
    )  # fmt: skip


def said(table: pa.Table, track: Any = MOTIONS, **binding: Any) -> list[str | None]:
    store = TrackStore([], [track])
    found = store.resolve(table, Binding(track.track, **binding))
    there = np.flatnonzero(found >= 0)
    known = dict(zip(there.tolist(), store.texts(found[there]).to_pylist(), strict=True))
    return [known.get(row) for row in range(table.num_rows)]


def step(**values: float) -> list[float]:
    return [{"gripper": 1.0, **values}.get(name, 0.0) for name in ARM]


def test_the_words() -> None:
    """Each direction alone and several together; a gripper that closes is said while the window holds the event."""
    ways = {"x": "move arm forward", "y": "move arm left", "z": "move arm up",
            "roll": "roll arm right", "pitch": "tilt arm down", "yaw": "rotate arm left"}  # fmt: skip
    back = {"x": "move arm backward", "y": "move arm right", "z": "move arm down",
            "roll": "roll arm left", "pitch": "tilt arm up", "yaw": "rotate arm right"}  # fmt: skip
    for name, words in ways.items():
        assert said(part([step(**{name: 0.2})])) == [words]
        assert said(part([step(**{name: -0.2})])) == [back[name]]
    assert said(part([step(x=0.03, y=0.04, yaw=-0.15)])) == ["move arm forward and left, rotate arm right"]
    assert said(part([step(x=0.02)] * 2 + [step(z=-0.02)])) == ["move arm forward", "stop", "stop"]
    closing = [step()] * 5 + [step(gripper=0.5), step(gripper=0.3), step(gripper=0.5), step(gripper=0.0)]
    assert said(part(closing)) == ["stop"] * 3 + ["close gripper"] * 4 + ["stop"] * 2


def test_random_episodes_are_described_as_by_the_scalar_rule() -> None:
    rng = np.random.default_rng(0)
    episodes = []
    for steps in (1, 2, 3, 40, 80):
        actions = rng.normal(scale=0.02, size=(steps, 7)).astype(np.float32)
        actions[:, 3:6] *= 5
        actions[:, 6] = rng.uniform(size=steps).round(1)
        episodes.append(actions)
    for window in (1, 4, 50):
        rule = Motions("motion", **{**RULE, "window": window}, dims=ARM)  # type: ignore[arg-type]
        wanted = []
        for actions in episodes:
            named = [dict(zip(ARM, one.astype(float).tolist(), strict=True)) for one in actions]
            wanted += [scalar_tracks.motion(named, n, {**RULE, "window": window}) for n in range(len(named))]
        assert said(part(*episodes), rule) == wanted
    events = [word for one in episodes for word in scalar_tracks.gripper_events(one[:, 6].astype(float).tolist())]
    found = said(part(*episodes), EVENTS, rule="emitted")
    assert found == [f"{word} gripper" if word else None for word in events]
    assert len(set(found)) == 3


def test_times_of_derived_rows() -> None:
    """A row begins where the words change, so that the previous one is the motion before."""
    actions = [step(x=0.1)] * 2 + [step(y=0.1)] * 3
    rule = Motions("motion", **{**RULE, "window": 1}, dims=ARM)  # type: ignore[arg-type]
    table = part(actions, actions)
    assert said(table, rule) == (["move arm forward"] * 2 + ["move arm left"] * 3) * 2
    assert said(table, rule, rule="previous") == ([None] * 2 + ["move arm forward"] * 3) * 2
    assert said(table, rule, rule="next") == (["move arm left"] * 2 + [None] * 3) * 2
    assert said(table, rule, rule="emitted")[:5] == ["move arm forward", None, "move arm left", None, None]
    assert said(table, rule, role="user") == [None] * 10
    store = TrackStore([], [rule, EVENTS])
    assert store.names() == {"motion": "text", "gripper_event": "text"}
    assert (store.rows, store.unmatched([table])) == (0, 0)
    which = store.resolve(table, Binding("motion"))
    assert store.values(which[:1]).to_pylist() == ['"move arm forward"']


def test_an_episode_is_described_alike_wherever_it_stands() -> None:
    """Sums do not depend on what lies before an episode in its part."""
    rng = np.random.default_rng(1)
    episodes = [rng.normal(scale=0.015, size=(30, 7)) for _ in range(4)]
    alone = [word for one in episodes for word in said(part(one))]
    assert said(part(*episodes)) == alone


def test_steps_without_an_action_are_passed_over() -> None:
    actions = [step(x=0.01), step(x=9.0, gripper=0.0), step(x=0.01), step(x=0.01), step()]
    for reason in ("composed", "between_steps", "invalid_action"):
        table = part(actions, reject={1: reason})
        assert said(table) == ["move arm forward"] * 2 + ["stop"] * 3
        assert said(table, EVENTS, rule="emitted") == [None] * 5
    assert said(part(actions, reject={1: "missing_image"}))[0] == "move arm forward, open gripper"


def test_two_arms_have_their_names() -> None:
    dims = tuple(f"{arm}_{name}" for arm in ("left", "right") for name in ("x", "yaw", "gripper"))
    rule = Motions("motion", **RULE, dims=dims)  # type: ignore[arg-type]
    actions = [[0.1, 0, 1, 0, -0.2, 1], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    assert said(part(actions), rule) == [
        "move left arm forward, close left gripper, rotate right arm right, close right gripper",
        "close left gripper, close right gripper", "close left gripper",
    ]  # fmt: skip


@pytest.mark.parametrize("rule", [MOTIONS, EVENTS])
def test_an_empty_part(rule: Any) -> None:
    assert said(part([step()]).slice(0, 0), rule, rule="emitted") == []
