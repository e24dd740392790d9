"""Serving a model that writes actions: only action tokens where an action belongs, and from there to the robot.

A reply of the model is an action, or (`plan=True`, RT-2's chain of thought) free text up to ``Action:`` and then an
action; behind the action the sequence ends. `Constraint` knows which ids may come next; the rest puts that into the
form a server wants: a Hugging Face logits processor, `prefix_allowed_tokens_fn`, a numpy mask. For servers that
take a regular expression or a grammar there are `tokenizer.regex()` and `tokenizer.grammar()`.

    tok = ActionTokenizer.from_pretrained("rt2").with_vocabulary(hf_tokenizer)
    only_actions = ActionLogitsProcessor(Constraint(tok))
    ids = model.generate(**inputs, logits_processor=[only_actions], max_new_tokens=32)

Importing this needs numpy only; torch is used where the scores are torch tensors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rt2data.tokenizer import ActionError, ActionParseError, ActionTokenizer, Decoded
from rt2data.tokenizer.vocabulary.automata import Automaton
from rt2data.tokenizer.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy.typing as npt

MARKER = "Action:"


class Reply(NamedTuple):
    """What a model wrote: the plan (None where there is none) and the bins of the action, int32 (fields,)."""

    plan: str | None
    bins: npt.NDArray[np.int32]


def parse_reply(tokenizer: ActionTokenizer, text: str) -> Reply:
    """The plan and the action of a reply in text: ``1 128 91 ...`` or ``Plan: pick the can. Action: 1 128 91 ...``.

    One space before the action is accepted; the action itself is held to `tokenizer.parse`.

    Raises:
        ActionParseError: for a reply that is not an action, with the place counted in the action's part of the text.
    """
    before, marker, action = text.partition(MARKER)
    if not marker:
        before, action = "", text
    bins = tokenizer.parse(action if tokenizer.spec.lead else action.removeprefix(" "))
    return Reply(before.strip().removeprefix("Plan:").strip() if marker else None, bins)


class Constraint:
    """Which ids may come next in a reply, and what a complete reply says.

    `start`, `step` and `allowed` make an automaton without dead ends: from every state that it reaches, an action
    can be completed and the sequence ended. A state is a plain value.

    Args:
        tokenizer: an action tokenizer with a vocabulary.
        plan: whether free text up to ``Action:`` comes first. Needs the model's own tokenizer in `with_vocabulary`.
        max_plan_tokens: after so many ids of free text, ``Action:`` is written for the model.
        eos_token_id: the id that ends a sequence; by default the vocabulary's.
    """

    def __init__(
        self,
        tokenizer: ActionTokenizer,
        *,
        plan: bool = False,
        max_plan_tokens: int = 256,
        eos_token_id: int | None = None,
    ) -> None:
        model = tokenizer.vocabulary
        eos = eos_token_id if eos_token_id is not None or model is None else model.eos
        if eos is None:
            raise ActionError("eos_token_id", "neither given nor known", "the id that ends a sequence")
        self.tokenizer, self.eos = tokenizer, int(eos)
        self._action = tokenizer.automaton()
        if self.eos in self._action.ids:
            raise ActionError("eos_token_id", f"{self.eos}, which is an action token", "an id that no bin has")
        self._ending: dict[Any, npt.NDArray[np.int64]] = {}
        self._plan: _Plan | None = None
        if plan:
            if model is None:
                raise ActionError("plan", "a tokenizer without the model's own", "with_vocabulary(hf_tokenizer)")
            self._plan = _Plan(model, self._action, max_plan_tokens, self.eos)

    @property
    def start(self) -> Any:
        """The state before the first id."""
        return ("action", self._action.start) if self._plan is None else self._plan.start

    def step(self, state: Any, token: int) -> Any:
        """The state behind `token`, or None for an id that may not come. Behind the end anything may: it is padding."""
        kind, inner = state
        if kind == "end":
            return state
        if kind != "action":
            return self._plan.step(state, token) if self._plan else None
        if token == self.eos and self._action.complete(inner):
            return ("end", None)
        after = self._action.step(inner, token)
        return None if after is None else ("action", after)

    def allowed(self, state: Any) -> npt.NDArray[np.int64]:
        """The ids that may come. Behind the end of the sequence only its own id."""
        kind, inner = state
        if kind == "end":
            return np.array([self.eos])
        if kind != "action":
            return self._plan.allowed(state) if self._plan else np.empty(0, np.int64)
        if not self._action.complete(inner):
            return self._action.allowed(inner)
        if inner not in self._ending:
            self._ending[inner] = np.append(self._action.allowed(inner), self.eos)
        return self._ending[inner]

    def state(self, ids: Sequence[int]) -> Any:
        """The state behind `ids`, the ids of the reply so far.

        Raises:
            ActionParseError: for ids that cannot have been written under the constraint.
        """
        state = self.start
        for index, token in enumerate(ids):
            state = self.step(state, int(token))
            if state is None:
                raise _error(ids, index, f"id {int(token)} cannot stand here")
        return state

    def mask(self, ids: Sequence[int], size: int) -> npt.NDArray[np.bool_]:
        """Which of `size` ids may follow `ids`: bool (size,)."""
        mask = np.zeros(size, bool)
        mask[self.allowed(self.state(ids))] = True
        return mask

    def parse(self, ids: Sequence[int]) -> Reply:
        """The plan and the bins of a complete reply. What follows the end of the sequence is ignored.

        Raises:
            ActionParseError: for any other ids, such as a reply that a limit of length cut off.
        """
        state, begin, written = self.start, 0, list[int]()
        for index, token in enumerate(map(int, ids)):
            if state[0] == "end":
                break
            after = self.step(state, token)
            if after is None:
                raise _error(ids, index, f"id {token} cannot stand here")
            if after[0] != "end":
                written.append(token)
            if state[0] in ("plan", "marker"):
                begin = index + 1
            state = after
        if state[0] != "end" and not (state[0] == "action" and self._action.complete(state[1])):
            raise _error(ids, len(written), "the reply ends before its action does")
        if self._plan is not None and self.tokenizer.spec.vocabulary["place"] == "text":
            # The id that ends the marker may hold the beginning of the action.
            return parse_reply(self.tokenizer, self._plan.text(written))
        bins = np.asarray(self.tokenizer.from_token_ids(np.array(written[begin:])), np.int32)
        return Reply(self._plan.plan(written[:begin]) if self._plan else None, bins)


class _Plan:
    """Free text up to the marker. States: ("plan", (what of the marker the text ends with, ids so far)), and from
    the limit on ("marker", how many ids of the marker are written).
    """

    def __init__(self, model: Vocabulary, action: Automaton, limit: int, eos: int) -> None:
        self._model, self._action, self._limit = model, action, limit
        closed = model.special | {eos}
        free = [i for i, piece in enumerate(model.pieces) if piece and i not in closed]
        self._forced = model.encode([" " + MARKER])[0]
        if limit < 1 or not "".join(model.pieces[i] for i in self._forced).endswith(MARKER):
            found = f'ids {self._forced} for "{MARKER}", a limit of {limit}'
            raise ActionError("plan", found, "a vocabulary that can write it, a limit above 0")
        # Per beginning of the marker that the text may end with: the ids that may follow. Excluded are those that
        # finish the marker and go on into something that begins no action.
        self._open: dict[str, npt.NDArray[np.int64]] = {}
        self._masks: dict[str, npt.NDArray[np.bool_]] = {}
        for head in (MARKER[:k] for k in range(len(MARKER))):
            ids = [i for i in free if MARKER not in head + model.pieces[i] or self._behind(head + model.pieces[i])]
            self._open[head], self._masks[head] = np.array(ids, np.int64), np.zeros(model.total, bool)
            self._masks[head][ids] = True
        self.start = ("plan", ("", 0))

    def step(self, state: Any, token: int) -> Any:
        kind, inner = state
        if kind == "marker":
            if token != self._forced[inner]:
                return None
            return ("marker", inner + 1) if inner + 1 < len(self._forced) else ("action", self._action.start)
        head, count = inner
        if not 0 <= token < self._model.total or not self._masks[head][token]:
            return None
        text = head + self._model.pieces[token]
        if MARKER in text:
            return self._behind(text)
        return ("plan", (_begun(text), count + 1)) if count + 1 < self._limit else ("marker", 0)

    def allowed(self, state: Any) -> npt.NDArray[np.int64]:
        kind, inner = state
        return np.array([self._forced[inner]]) if kind == "marker" else self._open[inner[0]]

    def text(self, ids: Sequence[int]) -> str:
        return self._model.decode_after([ids])[0]

    def plan(self, ids: Sequence[int]) -> str:
        """The plan in the ids up to the marker."""
        return self.text(ids).partition(MARKER)[0].strip().removeprefix("Plan:").strip()

    def _behind(self, text: str) -> Any:
        """The state behind text with the marker in it, or None where what follows the marker begins no action."""
        inner = self._action.behind(text.partition(MARKER)[2])
        return None if inner is None else ("action", inner)


def _begun(text: str) -> str:
    """The longest beginning of the marker that `text` ends with."""
    return next((MARKER[:k] for k in range(len(MARKER) - 1, 0, -1) if text.endswith(MARKER[:k])), "")


def _error(ids: Sequence[int], index: int, reason: str) -> ActionParseError:
    numbers = [str(int(i)) for i in ids]
    return ActionParseError(" ".join(numbers), index + 1, len(" ".join(numbers[:index])) + (index > 0), reason)


class ActionLogitsProcessor:
    """For `generate(logits_processor=[...])` of transformers: whatever the logits, the reply is one that the
    constraint allows.

    Logits of other ids become -inf; among the allowed ones NaN and infinities become the lowest or highest finite
    number, so that there is always something to choose. One object serves one `generate` after another, and beam
    search.

    Args:
        constraint: what may be written.
        prompt_length: how many ids come before the reply; by default what the first call of a `generate` shows (with a
            decoder of its own, such as T5's, its start id).
    """

    def __init__(self, constraint: Constraint, prompt_length: int | None = None) -> None:
        self.constraint, self._given = constraint, prompt_length
        self._prompt, self._width = 0, -1
        self._states: dict[tuple[int, ...], Any] = {}

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """`input_ids` (batch, length) and `scores` (batch, vocabulary), both torch or both numpy; returns new
        scores.
        """
        width = int(input_ids.shape[1])
        if self._given is not None:
            self._prompt = self._given
        elif width != self._width + 1:
            self._prompt, self._states = width, {}
        self._width = width
        rows = [tuple(row) for row in input_ids[:, self._prompt :].tolist()]
        states = {}
        for row in rows:
            before = self._states.get(row[:-1]) if row else None
            after = None if before is None else self.constraint.step(before, row[-1])
            states[row] = self.constraint.state(row) if after is None else after
        self._states = states
        allowed = [self.constraint.allowed(states[row]) for row in rows]
        highest = max(int(ids.max()) for ids in allowed)
        if highest >= scores.shape[1]:
            raise ActionError(
                "scores", f"{scores.shape[1]} logits", f"one for each id of the vocabulary, {highest} included"
            )
        return _keep_torch(scores, allowed) if hasattr(scores, "new_full") else _keep(scores, allowed)


def _keep(scores: npt.NDArray[np.floating[Any]], allowed: Sequence[npt.NDArray[np.int64]]) -> Any:
    out = np.full_like(scores, -np.inf)
    limit = np.finfo(scores.dtype)
    least, most = float(limit.min), float(limit.max)
    for row, ids in enumerate(allowed):
        out[row, ids] = np.nan_to_num(np.asarray(scores[row, ids]), nan=least, posinf=most, neginf=least)
    return out


def _keep_torch(scores: Any, allowed: Sequence[npt.NDArray[np.int64]]) -> Any:
    torch = sys.modules["torch"]
    limit = torch.finfo(scores.dtype)
    out = torch.full_like(scores, -torch.inf)
    for row, ids in enumerate(allowed):
        index = torch.as_tensor(ids, device=scores.device)
        out[row, index] = torch.nan_to_num(scores[row, index], nan=limit.min, posinf=limit.max, neginf=limit.min)
    return out


def prefix_allowed_tokens_fn(constraint: Constraint, prompt_length: int) -> Callable[[int, Any], list[int]]:
    """For `generate(prefix_allowed_tokens_fn=...)` of transformers: the ids that may follow, by the ids so far."""

    def allowed(batch_id: int, input_ids: Any) -> list[int]:
        del batch_id
        ids: list[int] = constraint.allowed(constraint.state(input_ids[prompt_length:].tolist())).tolist()
        return ids

    return allowed


def to_simpler(actions: Any, terminate: Any = False) -> dict[str, npt.NDArray[np.float64]]:
    """Canonical arm actions in the fields of SimplerEnv and other users of ManiSkill2 (float64, numpy).

    Args:
        actions: (..., 7): x y z in metres, roll pitch yaw in radians, gripper openness in [0, 1].
        terminate: bool (...).

    Returns:
        ``world_vector`` (..., 3) in metres; ``rot_axangle`` (..., 3), the axis times the angle in radians of
        Rz(yaw) Ry(pitch) Rx(roll); ``gripper`` (..., 1) from -1 (closed) to 1 (open); ``terminate_episode`` (...,
        1), 0 or 1. WidowX environments take `gripper` as it is. Google Robot environments take changes instead,
        positive to close: the difference of the openness before and now.

    Source: simpler-env/SimplerEnv, simpler_env/policies/openvla/openvla_model.py, which rounds the gripper to -1 or 1.
    """
    x = np.asarray(actions, np.float64)
    if x.ndim == 0 or x.shape[-1] != 7:
        raise ActionError("actions", f"shape {x.shape}", "(..., 7): x y z roll pitch yaw gripper")
    flags = np.broadcast_to(np.asarray(terminate, np.float64), x.shape[:-1])
    return {
        "world_vector": x[..., :3].copy(),
        "rot_axangle": _axangle(x[..., 3:6]),
        "gripper": 2 * x[..., 6:7] - 1,
        "terminate_episode": flags[..., None].copy(),
    }


def from_simpler(fields: Mapping[str, Any]) -> Decoded:
    """The inverse of `to_simpler`: actions (..., 7) float64 and terminate (...) bool. Pitch comes back in [-pi/2,
    pi/2].

    Raises:
        ActionError: a field that is missing or has another width.
    """
    parts = {}
    for name, width in (("world_vector", 3), ("rot_axangle", 3), ("gripper", 1), ("terminate_episode", 1)):
        if name not in fields or np.shape(fields[name])[-1:] != (width,):
            found = f"shape {np.shape(fields[name])}" if name in fields else "missing"
            raise ActionError(name, found, f"(..., {width})")
        parts[name] = np.asarray(fields[name], np.float64)
    euler = _euler(parts["rot_axangle"])
    actions = np.concatenate([parts["world_vector"], euler, (parts["gripper"] + 1) / 2], axis=-1)
    return Decoded(actions, parts["terminate_episode"][..., 0] > 0.5)


def _axangle(euler: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Roll, pitch, yaw to axis times angle, the angle in [0, pi], through the unit quaternion."""
    (cr, cp, cy), (sr, sp, sy) = (f(np.moveaxis(euler, -1, 0) / 2) for f in (np.cos, np.sin))
    w = cr * cp * cy + sr * sp * sy
    v = np.stack([sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy], axis=-1)
    v = np.where(w[..., None] < 0, -v, v)
    size = np.linalg.norm(v, axis=-1, keepdims=True)
    angle = 2 * np.arctan2(size, np.abs(w)[..., None])
    # sin(a/2) / a is 1/2 at 0: no quotient of two zeros.
    return v * np.where(size > 0, angle / np.where(size > 0, size, 1), 2.0)


def _euler(axangle: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Axis times angle to roll, pitch, yaw of Rz(yaw) Ry(pitch) Rx(roll); at a pitch of pi/2, where only yaw - roll is
    determined, roll is 0.
    """
    angle = np.linalg.norm(axangle, axis=-1)
    w = np.cos(angle / 2)
    x, y, z = np.moveaxis(axangle * (np.sinc(angle / (2 * np.pi)) / 2)[..., None], -1, 0)
    sine = np.clip(2 * (w * y - x * z), -1, 1)
    locked = np.abs(sine) > 1 - 1e-12
    roll = np.where(locked, 0.0, np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)))
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    yaw = np.where(locked, np.arctan2(-2 * (x * y - w * z), 1 - 2 * (x * x + z * z)), yaw)
    return np.stack([roll, np.arcsin(sine), yaw], axis=-1)
