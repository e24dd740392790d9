"""Constrained decoding where the scores are: tables that say what the constraint says, and no copy to the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support import vocabularies

from rt2data.serving import ActionLogitsProcessor, Constraint, GroundingConstraint, tables
from rt2data.serving.constraint import ReplyConstraint
from rt2data.serving.tables import REFUSED, DeviceTables, make_tables
from rt2data.tokenizer import ActionError, ActionParseError, ActionTokenizer, Dim, GroundingTokenizer

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

# What a program cannot do on a GPU without waiting for it and copying to the host.
COPIES = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal", "unique", "item", "argwhere")


def actions(name: str, kind: str, horizon: int = 1, **options: Any) -> Constraint:
    raw = getattr(vocabularies, kind)()
    eos = next(i for i in (raw.token_to_id("</s>"), raw.token_to_id("<|endoftext|>")) if i is not None)
    tok = ActionTokenizer.from_pretrained(name)
    if tok.spec.vocabulary["place"] == "from":  # from 0 on; here behind the special ids
        tok = ActionTokenizer.from_dict(tok.to_dict() | {"vocabulary": {"place": "from", "first": 100}})
    if horizon > 1:
        tok = tok.with_horizon(horizon)
    return Constraint(tok.with_vocabulary(raw), eos_token_id=eos, **options)


def chunks() -> Constraint:
    """Ids of merged codes, of which each expands to another number of codes."""
    tok = ActionTokenizer.from_pretrained("fast-bpe").with_dims([Dim("x", -1, 1), Dim("y", -1, 1)]).with_horizon(4)
    return Constraint(tok.with_vocabulary(40_000), eos_token_id=2)


def objects() -> GroundingConstraint:
    raw = vocabularies.byte_level()
    raw.add_special_tokens(["<|box_start|>", "<|box_end|>"])
    tok, eos = GroundingTokenizer.from_pretrained("paligemma"), raw.token_to_id("<|endoftext|>")
    return GroundingConstraint(tok, raw, eos_token_id=eos, labels=["cup", "lid"], size=(640, 480), most=2)


CASES = {
    "an id a field": lambda: actions("openvla", "byte_level"),
    "ids of different fields": lambda: actions("rt1", "byte_level"),
    "least used ids": lambda: actions("rt2-palme", "byte_level"),
    "ids of several digits": lambda: actions("rt2", "byte_level"),
    "an id an integer": lambda: actions("rt2", "integers"),
    "an id a digit, chunks": lambda: actions("rt2", "digits", 3),
    "negative numbers": lambda: actions("rt2-language-table", "byte_level"),
    "reasoning": lambda: actions("rt2", "byte_level", plan=True, max_plan_tokens=5),
    "reasoning before fixed ids": lambda: actions("openvla", "byte_level", plan=True, max_plan_tokens=4),
    "merged ids": chunks,
}


@pytest.fixture(scope="module", params=CASES)
def constraint(request: pytest.FixtureRequest) -> ReplyConstraint:
    return CASES[request.param]()  # type: ignore[no-any-return]


def walk(constraint: ReplyConstraint, rng: np.random.Generator, most: int = 200) -> list[int]:
    """A reply of ids that may come; those of the action rather than free text, every other time."""
    state, ids = constraint.start, list[int]()
    while state[0] != "end" and len(ids) < most:
        ids.append(int(rng.choice(constraint.allowed(state))))
        state = constraint.step(state, ids[-1])
    return ids


def test_tables_say_what_the_constraint_says(constraint: ReplyConstraint) -> None:
    found = constraint.tables("cpu")
    assert isinstance(found, DeviceTables)
    assert constraint.tables("cpu") is found
    rng = np.random.default_rng(1)
    rows = [walk(constraint, rng) for _ in range(12)]
    length = max(map(len, rows)) + 2
    padded = torch.tensor([row + [constraint.eos] * (length - len(row)) for row in rows])
    size = found.last + 1
    for end in range(length + 1):
        mask = constraint.mask(padded[:, :end], size).numpy()
        for row, ids in zip(mask, padded[:, :end].tolist(), strict=True):
            np.testing.assert_array_equal(row, constraint.mask(ids, size))
    # And an id that may not come, at any place.
    for ids in rows:
        place = int(rng.integers(len(ids)))
        closed = np.flatnonzero(~constraint.mask(ids[:place], size))
        wrong = [*ids[:place], int(rng.choice([*closed, size, 10**9, -1])), *ids[place:]]
        with pytest.raises(ActionParseError):
            constraint.state(wrong)
        assert found.states(torch.tensor([wrong])).tolist() == [REFUSED]
        assert np.flatnonzero(constraint.mask(torch.tensor([wrong]), size)[0]).tolist() == [constraint.eos]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_scores_are_those_of_numpy(dtype: str) -> None:
    constraint = actions("rt2", "byte_level")
    rng = np.random.default_rng(2)
    rows = np.array([walk(constraint, rng)[:7] for _ in range(9)])
    logits = rng.normal(size=(9, 900)).astype(np.float32) * 10
    for wild in (np.nan, np.inf, -np.inf):
        logits[rng.random(logits.shape) < 0.2] = wild
    scores = torch.from_numpy(logits).to(getattr(torch, dtype))
    before = scores.clone()
    kept = ActionLogitsProcessor(constraint, 0)(torch.from_numpy(rows), scores)
    assert (kept.dtype, kept.shape) == (scores.dtype, scores.shape)
    assert torch.equal(scores.nan_to_num(), before.nan_to_num())
    if dtype in ("float32", "float64"):
        np.testing.assert_array_equal(kept.numpy(), ActionLogitsProcessor(constraint, 0)(rows, scores.numpy()))
    for row, ids in zip(kept, rows, strict=True):
        assert np.flatnonzero((row > -torch.inf).numpy()).tolist() == sorted(constraint.allowed(constraint.state(ids)))
        assert bool(torch.isfinite(row[row > -torch.inf]).all())


def no_copies() -> Any:
    """A mode of torch in which every operation that a GPU would have to wait for fails."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class NoCopies(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            del types
            name, kwargs = func.overloadpacket.__name__, kwargs or {}
            assert name not in COPIES, f"{name} copies to the host"
            assert name != "_to_copy" or str(kwargs.get("device", "meta")) == "meta", "a copy to another device"
            out = func(*args, **kwargs)
            if name == "index":
                assert all(i is None or i.dtype != torch.bool for i in args[1]), (
                    "an index of flags has as many as are set"
                )
            return out

    return NoCopies()


def generate(processor: ActionLogitsProcessor, device: str, size: int, steps: int) -> Iterator[Any]:
    ids = torch.ones((3, 4), dtype=torch.int64, device=device)
    for _ in range(steps):
        scores = processor(ids, torch.zeros((3, size), device=device))
        yield scores
        ids = torch.cat([ids, scores.argmax(1, keepdim=True)], 1)


def test_nothing_is_copied_to_the_host(constraint: ReplyConstraint) -> None:
    """On "meta" there are no numbers: what reads one, or moves it, fails. On the CPU each operation is looked at."""
    found = constraint.tables("cpu")
    assert found is not None
    constraint.tables("meta")
    with no_copies():
        for device in ("meta", "cpu"):
            for scores in generate(ActionLogitsProcessor(constraint, check=False), device, found.last + 5, 5):
                assert (scores.device.type, scores.shape) == (device, (3, found.last + 5))
            assert constraint.mask(torch.ones((2, 3), dtype=torch.int64, device=device), found.last + 1).shape[0] == 2
    with pytest.raises(AssertionError, match="_local_scalar_dense"), no_copies():  # the mode sees what it is for
        list(generate(ActionLogitsProcessor(constraint, check=True), "cpu", found.last + 5, 2))


@pytest.mark.parametrize("name", ["rt2", "openvla", "octo-uniform", "octo-normal", "dexbotic-255", "rt1"])
def test_actions_and_ids_are_not_copied_either(name: str) -> None:
    """With validate=False; with it, encode and decode copy one flag."""
    tok = ActionTokenizer.from_pretrained(name)
    placed = tok.spec.vocabulary["place"] in ("tail", "from")
    tok = tok.with_vocabulary(32_000) if placed else tok
    for device in ("meta", "cpu"):
        x = torch.zeros((4, len(tok.dims)), device=device)
        flags = None if tok.terminate is None else torch.zeros(4, dtype=torch.bool, device=device)
        tok.decode(tok.encode(x, flags, validate=False), validate=False)  # makes the tables
        with no_copies():
            bins = tok.encode(x, flags, validate=False)
            decoded = tok.decode(bins, validate=False)
            assert decoded.actions.device.type == device
            if placed:
                ids = tok.token_ids(bins, validate=False)
                assert tok.from_token_ids(ids, validate=False).device.type == ids.device.type == device


def test_ids_that_may_not_come() -> None:
    """On the CPU an error; on a GPU, which would have to be asked, a reply that ends and is none."""
    constraint = actions("openvla", "byte_level")
    wrong, scores = torch.tensor([[7, 7], [7, 8]]), torch.zeros((2, 900))
    for check in (None, True):
        with pytest.raises(ActionParseError, match="id 7 cannot stand here"):
            ActionLogitsProcessor(constraint, 0, check=check)(wrong, scores)
    kept = ActionLogitsProcessor(constraint, 0, check=False)(wrong, scores)
    assert (kept > -torch.inf).nonzero().tolist() == [[0, constraint.eos], [1, constraint.eos]]
    with pytest.raises(ActionError, match="one for each id"):
        ActionLogitsProcessor(constraint)(wrong, torch.zeros((2, 10)))
    with pytest.raises(ActionError, match="a size of 10"):
        constraint.mask(wrong, 10)


def test_what_is_too_large_for_tables_is_followed_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, scores = torch.tensor([[1], [1]]), torch.randn(2, 900)
    whole = actions("rt2", "byte_level")
    kept = ActionLogitsProcessor(whole)(rows, scores)
    for limit in ("MAX_CELLS", "MAX_MOVES", "MAX_KINDS"):
        with monkeypatch.context() as patch:
            patch.setattr(tables, limit, 200)
            large = actions("rt2", "byte_level")
            assert large.tables("cpu") is None
            assert torch.equal(ActionLogitsProcessor(large)(rows, scores), kept)
            with pytest.raises(ActionError, match="too large"):
                large.mask(rows, 900)


def test_objects() -> None:
    constraint = objects()
    assert constraint.tables("cpu") is not None
    test_tables_say_what_the_constraint_says(constraint)


def test_kinds_do_not_grow_with_the_vocabulary() -> None:
    """The 256 ids of bins are a few kinds, and so are the words of a plan, whatever the vocabulary."""
    found = make_tables(actions("openvla", "byte_level"))
    assert found is not None
    assert found.after.shape[1] <= 4
    found = make_tables(actions("openvla", "byte_level", plan=True, max_plan_tokens=3))
    assert found is not None
    assert found.after.shape[1] < 40
    # Of a number, what may go on alike is one state: 8 fields have some 6 each, not 256.
    found = make_tables(actions("rt2", "byte_level"))
    assert found is not None
    assert found.after.shape[0] < 60


def test_ids_that_may_come_are_those_with_which_an_action_can_go_on() -> None:
    """Against a plain reading of the text so far: what stands for several beginnings takes what they take."""
    constraint = actions("rt2", "byte_level")
    model = constraint.tokenizer.vocabulary
    assert model is not None
    tables_of = [{"0", "1"}, *[{str(n) for n in range(256)}] * 7]
    beginnings = [{one[:i] for one in table for i in range(len(one) + 1)} for table in tables_of]

    def begins(text: str) -> bool:
        *whole, last = text.removeprefix(" ").split(" ")
        if len(whole) >= len(tables_of) or any(one not in table for one, table in zip(whole, tables_of, strict=False)):
            return False
        return last in beginnings[len(whole)]

    rng = np.random.default_rng(4)
    for _ in range(5):
        ids = walk(constraint, rng)
        for end in range(len(ids)):
            text = "".join(model.pieces[one] for one in ids[:end])
            wanted = [i for i, piece in enumerate(model.pieces) if piece and begins(text + piece)]
            whole = text.removeprefix(" ").split(" ")
            if len(whole) == len(tables_of) and whole[-1] in tables_of[-1]:
                wanted.append(constraint.eos)
            assert sorted(constraint.allowed(constraint.state(ids[:end])).tolist()) == sorted(wanted)


@CUDA
def test_on_a_gpu(constraint: ReplyConstraint) -> None:
    """With every wait for the device made an error."""
    found = constraint.tables("cuda")
    assert found is not None
    processor = ActionLogitsProcessor(constraint)
    size = found.last + 5
    list(generate(processor, "cuda", size, 2))
    processor = ActionLogitsProcessor(constraint)
    torch.cuda.set_sync_debug_mode("error")
    try:
        on_gpu = list(generate(processor, "cuda", size, 5))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for there, here in zip(on_gpu, generate(ActionLogitsProcessor(constraint), "cpu", size, 5), strict=True):
        assert torch.equal(there.cpu(), here)
