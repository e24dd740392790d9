"""Arrays of every library: the bins and numbers of numpy, to the last bit, in the kind that came in."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from rt2data.tokenizer import ActionError, ActionTokenizer, Dim

NAMES = [
    "rt2",
    "rt2-language-table",
    "rt1",
    "rt1x",
    "openvla",
    "octo-uniform",
    "octo-normal",
    "dexbotic-255",
    "gato",
    "vla0",
    "proprio-pi05",
    "proprio-opentau",
    "proprio-molmoact2",
    "spatialvla",
    "fast",
    "beast",
]
OF_CHUNKS = ("fast", "beast")  # sums over a chunk
LIBRARIES = ["torch", "jax", "jax-x64", "array_api_strict"]
# Compiling takes seconds for each scheme: these, which have little in common, and the others in `make test-slow`.
FIRST = ("rt2", "octo-normal", "vla0", "spatialvla", "fast")


def first(*names: str) -> list[Any]:
    return [pytest.param(name, marks=() if name in FIRST else pytest.mark.slow) for name in names]


def of_libraries(*names: str) -> list[Any]:
    """Each library with each scheme; with JAX in float64 too the first ones and `make test-slow`'s."""
    return [
        pytest.param(lib, name, marks=pytest.mark.slow if lib == "jax-x64" and name not in FIRST else ())
        for lib in LIBRARIES
        for name in names
    ]


class Library:
    """One array library: how to make its arrays and to bring them back."""

    def __init__(self, name: str) -> None:
        self.name = name
        for module in ("array_api_compat", name.split("-", maxsplit=1)[0]):
            pytest.importorskip(module, reason=f"{module} is not installed")
        self.float64 = name != "jax"
        if name == "torch":
            torch = importlib.import_module("torch")
            self.kind, self.make = torch.Tensor, torch.from_numpy
        elif name.startswith("jax"):
            jax = importlib.import_module("jax")
            self.kind, self.make = jax.Array, jax.numpy.asarray
        else:
            strict = importlib.import_module(name)
            self.kind, self.make = type(strict.asarray(0)), strict.asarray

    def back(self, x: Any) -> np.ndarray:
        assert isinstance(x, self.kind)
        return np.asarray(x)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Any:
    made = Library(request.param)
    if request.param == "jax-x64":
        jax = importlib.import_module("jax")
        before = jax.config.jax_enable_x64
        jax.config.update("jax_enable_x64", True)
        yield made
        jax.config.update("jax_enable_x64", before)
    else:
        yield made


def numbers(tok: ActionTokenizer, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """Actions inside, on and outside the bounds, and every bin's number with its neighbours."""
    dims = len(tok.dims)
    low, high = np.array([d.low for d in tok.dims]), np.array([d.high for d in tok.dims])
    x = [
        # As many rows for all up to 1,024 bins: XLA compiles each operation for each shape anew.
        rng.uniform(low, high, (max(400, 1424 - tok.bins), dims)),
        rng.uniform(2 * low - high, 2 * high - low, (100, dims)),
        low[None],
        high[None],
    ]
    x += [np.linspace(low, high, tok.bins + 1), rng.normal(size=(100, dims)) * 1e3, np.zeros((1, dims))]
    out = np.concatenate(x).astype(dtype)
    out = np.concatenate([out, np.nextafter(out, out.dtype.type(np.inf)), np.nextafter(out, out.dtype.type(-np.inf))])
    # XLA takes numbers below the smallest normal one for 0, so that -1e-45 is not seen to be clipped at 0. Not tested.
    out[np.abs(out) < np.finfo(out.dtype).smallest_normal] = 0
    if tok.horizon > 1:
        out = out[: len(out) // tok.horizon * tok.horizon].reshape(-1, tok.horizon, dims)
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize(("library", "name"), of_libraries(*NAMES), indirect=["library"])
def test_the_same_as_numpy(library: Library, name: str, dtype: str) -> None:
    if dtype == "float64" and not library.float64:
        pytest.skip("no float64 without x64")
    if dtype == "float16" and library.name == "array_api_strict":
        pytest.skip("the standard has no float16")
    tok, rng = ActionTokenizer.from_pretrained(name), np.random.default_rng(4)
    x = numbers(tok, dtype, rng)
    flags = None if tok.terminate is None else rng.random(x.shape[:-1]) < 0.5
    given = None if flags is None else library.make(flags)
    bins, clipped = tok.encode(x, flags, return_clipped=True)
    ours, our_clipped = tok.encode(library.make(x), given, return_clipped=True)
    ours = library.back(ours)
    assert ours.dtype == np.int32
    if name in OF_CHUNKS and library.name == "jax":  # float32 all the way: a coefficient near a half may go either way
        assert (np.abs(ours - bins) <= 1).all()
        assert (ours != bins).mean() < 0.01
    else:
        np.testing.assert_array_equal(ours, bins)
        np.testing.assert_array_equal(library.back(our_clipped), clipped)
    for out in ("float32", "float64") if library.float64 else ("float32",):
        decoded = tok.decode(library.make(bins), dtype=out)
        wanted = tok.decode(bins, dtype=out)
        if name in OF_CHUNKS:
            np.testing.assert_allclose(
                library.back(decoded.actions), wanted.actions, atol=2e-5 if not library.float64 else 1e-6
            )
        else:
            np.testing.assert_array_equal(library.back(decoded.actions), wanted.actions)
        assert library.back(decoded.actions).dtype == out
        if flags is not None:
            np.testing.assert_array_equal(library.back(decoded.terminate), wanted.terminate)


@pytest.mark.parametrize(
    ("library", "name"),
    of_libraries("rt2", "rt2-language-table", "octo-uniform", "octo-normal", "dexbotic-255", "gato", *OF_CHUNKS),
    indirect=["library"],
)
def test_every_bin_survives(library: Library, name: str) -> None:
    tok = ActionTokenizer.from_pretrained(name)
    bins = np.repeat((np.arange(1024, dtype=np.int32) % tok.bins)[:, None], tok.fields, axis=1)  # see `numbers`
    assert len(np.unique(bins)) == tok.bins
    if tok.terminate is not None:
        bins[:, 0] %= 2
    for dtype in ("float32", "float64") if library.float64 else ("float32",):
        decoded = tok.decode(library.make(bins), dtype=dtype)
        again = tok.encode(decoded.actions, decoded.terminate)
        np.testing.assert_array_equal(library.back(again), bins)


def test_what_is_refused(library: Library) -> None:
    tok = ActionTokenizer.from_pretrained("rt2")
    x = np.zeros((2, 7), np.float32)
    x[1, 3] = np.nan
    with pytest.raises(ActionError, match=r"first at \(1, 3\) \(roll\)"):
        tok.encode(library.make(x), False)
    assert tok.encode(library.make(x), False, validate=False).shape == (2, 8)
    with pytest.raises(ActionError, match="int32"):
        tok.encode(library.make(np.zeros((2, 7), np.int32)), False)
    bins = np.ones((2, 8), np.int32)
    bins[1, 4] = 256
    with pytest.raises(ActionError, match=r"field 5 \(roll\): 256"):
        tok.decode(library.make(bins))
    with pytest.raises(ActionError, match="shape"):
        tok.decode(library.make(bins[:, :7]))
    bins[1, 4], bins[0, 0] = 3, 2
    with pytest.raises(ActionError, match=r"field 1 \(terminate\): 2"):
        tok.format(library.make(bins))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64"])
def test_decode_takes_any_integers(library: Library, dtype: str) -> None:
    if dtype == "int64" and library.name == "jax":
        pytest.skip("no int64 without x64")
    tok = ActionTokenizer.from_pretrained("rt2")
    bins = np.random.default_rng(0).integers(0, 256, (50, 8))
    bins[:, 0] %= 2
    decoded = tok.decode(library.make(bins.astype(dtype)))
    np.testing.assert_array_equal(library.back(decoded.actions), tok.decode(bins).actions)


def test_a_plain_bool_and_text(library: Library) -> None:
    tok = ActionTokenizer.from_pretrained("rt2")
    x = np.linspace(-1, 1, 14, dtype=np.float32).reshape(2, 7)
    bins = tok.encode(library.make(x), True)
    assert tok.format(bins) == tok.format(tok.encode(x, True))
    assert tok.format(bins)[0].startswith("0 ")


def test_token_ids(library: Library) -> None:
    bins = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.int32)
    for tok in (
        ActionTokenizer.from_pretrained("openvla").with_vocabulary(32000),
        ActionTokenizer.from_pretrained("gato").with_vocabulary(33024),
    ):
        ids = tok.token_ids(library.make(bins))
        np.testing.assert_array_equal(library.back(ids), tok.token_ids(bins))
        np.testing.assert_array_equal(library.back(tok.from_token_ids(ids)), bins)
        wrong = library.make(np.where(np.arange(7) == 3, 2, library.back(ids)))
        with pytest.raises(ActionError, match="id 2 is not an action token"):
            tok.from_token_ids(wrong)


def test_bfloat16_is_taken_as_the_number_it_holds() -> None:
    tok = ActionTokenizer.from_pretrained("rt2")
    for name in ("torch", "jax"):
        library = Library(name)
        x = library.make(np.linspace(-1, 1, 7, dtype=np.float32))
        half = x.to(importlib.import_module("torch").bfloat16) if name == "torch" else x.astype("bfloat16")
        exact = half.to(x.dtype) if name == "torch" else half.astype("float32")
        np.testing.assert_array_equal(library.back(tok.encode(half, False)), library.back(tok.encode(exact, False)))


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("name", first(*(name for name in NAMES if name != "spatialvla")))  # it is numpy's alone
def test_jit(name: str, x64: bool) -> None:
    library = Library("jax")
    jax = importlib.import_module("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", x64)
    try:
        tok = ActionTokenizer.from_pretrained(name)
        rng = np.random.default_rng(0)
        x = numbers(tok, "float64" if x64 else "float32", rng)
        flags = None if tok.terminate is None else rng.random(x.shape[:-1]) < 0.5

        @jax.jit
        def there(x: Any, flags: Any) -> Any:
            return tok.encode(x, flags, validate=False, return_clipped=True)

        @jax.jit
        def back(bins: Any) -> Any:
            return tok.decode(bins, validate=False)

        bins, clipped = tok.encode(x, flags, return_clipped=True)
        ours, our_clipped = there(jax.numpy.asarray(x), flags)
        if name in OF_CHUNKS:
            assert (np.abs(np.asarray(ours) - bins) <= 1).all()
        else:
            np.testing.assert_array_equal(library.back(ours), bins)
            np.testing.assert_array_equal(library.back(our_clipped), clipped)
            np.testing.assert_array_equal(library.back(back(jax.numpy.asarray(bins)).actions), tok.decode(bins).actions)
        # Eager calls after a trace: nothing of the trace was kept.
        tok.encode(jax.numpy.asarray(x), None if flags is None else jax.numpy.asarray(flags))
    finally:
        jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("name", first(*NAMES))
def test_torch_compile(name: str) -> None:
    library = Library("torch")
    torch = importlib.import_module("torch")
    tok = ActionTokenizer.from_pretrained(name)
    x = numbers(tok, "float32", np.random.default_rng(0))
    flags = None if tok.terminate is None else np.random.default_rng(1).random(x.shape[:-1]) < 0.5

    def there(x: Any, flags: Any) -> Any:
        return tok.encode(x, flags, validate=False)

    def back(bins: Any) -> Any:
        return tok.decode(bins, validate=False).actions

    torch._dynamo.reset()
    bins = ActionTokenizer.from_pretrained(name).encode(x, flags)
    given = None if flags is None else library.make(flags)
    # The first use of `tok` is inside the compiled function.
    ours = torch.compile(there, fullgraph=True, backend="aot_eager")(library.make(x), given)
    actions = torch.compile(back, fullgraph=True, backend="aot_eager")(library.make(bins))
    np.testing.assert_array_equal(library.back(ours), bins)
    np.testing.assert_allclose(
        library.back(actions), tok.decode(bins).actions, rtol=0, atol=1e-6 if name in OF_CHUNKS else 0
    )


def test_compiled_for_one_tokenizer_used_with_another() -> None:
    """A compiled function must not keep the bounds of the first tokenizer it met."""
    Library("torch")
    torch = importlib.import_module("torch")
    torch._dynamo.reset()
    there = torch.compile(lambda tok, x: tok.encode(x, validate=False), fullgraph=True, backend="aot_eager")
    back = torch.compile(lambda tok, b: tok.decode(b, validate=False).actions, fullgraph=True, backend="aot_eager")
    x = torch.linspace(-1, 1, 70).reshape(10, 7)
    names = [Dim(f"d{i}", -0.1 * (i + 1), 0.2) for i in range(7)]
    base = ActionTokenizer.from_pretrained("openvla")
    made = base.with_sources({"a": names, "b": [Dim(d.name, 3 * d.low, d.high) for d in names]})
    toks = [base, made.for_source("a"), made.for_source("b"), ActionTokenizer.from_pretrained("octo-normal"), base]
    for tok in toks:
        bins = tok.encode(x.numpy())
        np.testing.assert_array_equal(there(tok, x).numpy(), bins)
        np.testing.assert_array_equal(back(tok, torch.from_numpy(bins)).numpy(), tok.decode(bins).actions)


def test_torch_stays_on_its_device() -> None:
    Library("torch")
    torch = importlib.import_module("torch")
    device = "cuda" if torch.cuda.is_available() else "meta"
    tok = ActionTokenizer.from_pretrained("rt2")
    x = torch.zeros((4, 7), device=device)
    flags = torch.zeros(4, dtype=torch.bool, device=device)
    # On "meta" there are no numbers, so anything that reads one, or moves to the host, fails.
    bins, clipped = tok.encode(x, flags, validate=False, return_clipped=True)
    decoded = tok.decode(bins, validate=False)
    assert {t.device.type for t in (bins, clipped, decoded.actions, decoded.terminate)} == {device}
    assert tok.encode(x, True, validate=False).device.type == device


def test_torch_leaves_its_input_alone() -> None:
    Library("torch")
    torch = importlib.import_module("torch")
    x = torch.rand((4, 7), dtype=torch.float64, requires_grad=True)
    before = x.detach().clone()
    ActionTokenizer.from_pretrained("rt2").encode(x, False)
    assert torch.equal(x, before)


def test_one_tokenizer_serves_several_dtypes_and_threads() -> None:
    Library("torch")
    torch = importlib.import_module("torch")
    from concurrent.futures import ThreadPoolExecutor

    tok = ActionTokenizer.from_pretrained("octo-normal").with_dims([Dim("a", -1, 1), Dim("b", 0, 2)])
    x = np.random.default_rng(0).normal(size=(1000, 2))

    def run(dtype: Any) -> Any:
        return tok.encode(torch.from_numpy(x).to(dtype), None).numpy()

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, [torch.float32, torch.float64] * 20))
    for got, dtype in zip(results, [np.float32, np.float64] * 20, strict=True):
        np.testing.assert_array_equal(got, tok.encode(x.astype(dtype)))


def test_without_array_api_compat(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    class Tensor:
        dtype = "float32"
        shape = (7,)

    monkeypatch.setitem(sys.modules, "array_api_compat", None)
    with pytest.raises(ActionError, match=r"Install rt2data\[arrays\]"):
        ActionTokenizer.from_pretrained("rt2").encode(Tensor(), False)
