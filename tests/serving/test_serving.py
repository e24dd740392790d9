"""Serving: whatever the logits, what comes out is an action."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import vocabularies

from rt2data import resources
from rt2data.serving.constraint import Constraint, GroundingConstraint
from rt2data.serving.logits import ActionLogitsProcessor, prefix_allowed_tokens_fn
from rt2data.tokenizer import ActionError, ActionParseError, ActionTokenizer, Dim, GroundingTokenizer, Parsed
from rt2data.tokenizer.text.reply import parse_reply
from rt2data.tokenizer.vocabulary.regular import RegularText
from rt2data.tokenizer.vocabulary.vocabulary import Vocabulary

TRIES = int(os.environ.get("RT2DATA_TRIES", "200"))


def bound(name: str, kind: str) -> tuple[ActionTokenizer, int, int]:
    """A tokenizer bound to a trained vocabulary, the id that ends a sequence, and the number of ids."""
    raw = getattr(vocabularies, kind)()
    eos = next(i for i in (raw.token_to_id("</s>"), raw.token_to_id("<|endoftext|>")) if i is not None)
    tok = ActionTokenizer.from_pretrained(name)
    if name == "rt1":  # ids of its own from 0 on; here behind the special ones
        tok = ActionTokenizer.from_dict(tok.to_dict() | {"vocabulary": {"place": "from", "first": 100}})
    return tok.with_vocabulary(raw), eos, raw.get_vocab_size()


def sample(constraint: Constraint, size: int, rng: np.random.Generator, batch: int) -> list[list[int]]:
    """Sample a batch of replies from logits as wild as they come, through the numpy form of the logits processor."""
    processor = ActionLogitsProcessor(constraint)
    ids = np.full((batch, 3), 1)  # a prompt
    for _ in range(600):
        logits = rng.normal(size=(batch, size)).astype(np.float32) * 10
        logits[rng.random(logits.shape) < 0.05] = np.nan
        logits[rng.random(logits.shape) < 0.05] = np.inf
        logits[rng.random(logits.shape) < 0.05] = -np.inf
        scores = processor(ids, logits)
        noise = scores.astype(np.float64) - np.log(-np.log(rng.random(scores.shape)))
        ids = np.concatenate([ids, noise.argmax(axis=1)[:, None]], axis=1)
        if (ids[:, 3:] == constraint.eos).any(axis=1).all():
            break
    return ids[:, 3:].tolist()


CASES = [
    ("rt2", "byte_level"),
    ("rt2", "integers"),
    ("rt2", "digits"),
    ("rt2", "unigram"),
    ("rt2", "words"),
    ("rt2-palme", "byte_level"),
    ("rt2-language-table", "byte_level"),
    ("dexbotic-255", "integers"),
    ("openvla", "byte_level"),
    ("rt1", "byte_level"),
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_any_logits_give_an_action(name: str, kind: str) -> None:
    """1,000 replies each for ten pairs of a scheme and a vocabulary: 10,000 in all."""
    tok, eos, size = bound(name, kind)
    constraint = Constraint(tok, eos_token_id=eos)
    for reply in sample(constraint, size, np.random.default_rng(2), 1000):
        plan, bins = constraint.parse(reply)
        assert plan is None
        tok.decode(bins)
        end = reply.index(eos)
        np.testing.assert_array_equal(tok.from_token_ids(reply[:end]), bins)


PLAN_CASES = [("rt2", "byte_level"), ("rt2", "integers"), ("rt2-palme", "byte_level"), ("openvla", "byte_level")]


@pytest.mark.parametrize(("name", "kind"), PLAN_CASES)
def test_a_plan_then_an_action(name: str, kind: str) -> None:
    tok, eos, size = bound(name, kind)
    constraint = Constraint(tok, plan=True, max_plan_tokens=12, eos_token_id=eos)
    seen = set()
    for reply in sample(constraint, size, np.random.default_rng(3), 300):
        plan, bins = constraint.parse(reply)
        assert plan is not None
        assert "Action:" not in plan
        tok.decode(bins)
        seen.add(plan)
        if tok.spec.vocabulary["place"] == "text":
            assert tok.vocabulary is not None
            text = tok.vocabulary.decode_after([reply[: reply.index(eos)]])[0]
            assert parse_reply(tok, text).bins.tolist() == bins.tolist()
    assert len(seen) > 250


def test_the_marker_is_found_however_it_is_cut() -> None:
    """The model may write "Action:" itself, cut in any way; from there on only an action follows."""
    raw = vocabularies.byte_level()
    tok = ActionTokenizer.from_pretrained("rt2").with_vocabulary(raw)
    constraint = Constraint(tok, plan=True, eos_token_id=0)
    letters = [raw.token_to_id(c) for c in "Action:"]
    whole = raw.encode("Plan: Anna Acts. Action:").ids
    for marker in (letters, whole, raw.encode("AAction:").ids, [raw.token_to_id("A"), *letters]):
        state = constraint.state(marker)
        assert state[0] == "action", marker
        # An action begins with a space and a 0 or 1, or without the space.
        texts = {raw.decode([i]) for i in constraint.allowed(state).tolist()}
        assert texts <= {" ", " 0", " 1", "0", "1"}
        reply = [*marker, *raw.encode(" 1 128 91 241 5 101 127 217").ids, 0, 7, 7]
        assert constraint.parse(reply).bins.tolist() == [1, 128, 91, 241, 5, 101, 127, 217]
    assert constraint.parse([*whole, *raw.encode(" 1 128 91 241 5 101 127 217").ids]).plan == "Anna Acts."
    # The sequence cannot end before the action.
    assert 0 not in constraint.allowed(constraint.start)
    with pytest.raises(ActionParseError, match="before its action does"):
        constraint.parse([*whole, *raw.encode(" 1 128 91").ids])
    with pytest.raises(ActionParseError, match="cannot stand here"):
        constraint.parse([*whole, *raw.encode(" can").ids])


def test_masks_and_prefix_function_agree() -> None:
    tok, eos, size = bound("rt2", "byte_level")
    constraint = Constraint(tok, eos_token_id=eos)
    ids = tok.token_ids(np.array([1, 128, 91, 241, 5, 101, 127, 217])).tolist()
    allowed = prefix_allowed_tokens_fn(constraint, 4)
    for count in range(len(ids) + 1):
        mask = constraint.mask(ids[:count], size)
        assert np.flatnonzero(mask).tolist() == sorted(allowed(0, np.array([9, 9, 9, 9, *ids[:count]])))
    assert mask[eos]
    with pytest.raises(ActionError, match="logits"):
        ActionLogitsProcessor(constraint)(np.array([[1]]), np.zeros((1, 10), np.float32))
    with pytest.raises(ActionError, match="eos_token_id"):
        Constraint(tok)
    with pytest.raises(ActionError, match="0, which is an action token"):
        Constraint(ActionTokenizer.from_pretrained("rt1").with_vocabulary(256), eos_token_id=0)
    with pytest.raises(ActionError, match="without the model's own"):
        Constraint(ActionTokenizer.from_pretrained("openvla").with_vocabulary(32000), plan=True, eos_token_id=2)


def tiny_model(size: int, eos: int) -> Any:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=eos,
    )
    return transformers.LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("plan", [False, True])
@pytest.mark.parametrize("kwargs", [{"do_sample": True, "temperature": 2.0}, {"do_sample": False, "num_beams": 3}])
def test_a_transformer_with_random_weights(kwargs: dict[str, Any], plan: bool) -> None:
    raw = vocabularies.byte_level()
    hf = vocabularies.transformers_of(raw, "<|endoftext|>")
    model = tiny_model(raw.get_vocab_size(), hf.eos_token_id)
    import torch

    tok = ActionTokenizer.from_pretrained("rt2").with_vocabulary(hf)
    constraint = Constraint(tok, plan=plan, max_plan_tokens=10)
    only_actions = ActionLogitsProcessor(constraint)
    prompt = torch.tensor([raw.encode("Q: what action should the robot take to open the drawer? A:").ids] * 8)
    for _ in range(2):  # one object serves one generate after another
        out = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), logits_processor=[only_actions], max_new_tokens=80, **kwargs
        )
        for row in out[:, prompt.shape[1] :].tolist():
            reply = constraint.parse(row)
            assert reply.bins.shape == (8,)
            assert (reply.plan is not None) == plan
    if not plan:
        fn = prefix_allowed_tokens_fn(constraint, prompt.shape[1])
        out = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), prefix_allowed_tokens_fn=fn, max_new_tokens=80, **kwargs
        )
        for row in out[:, prompt.shape[1] :].tolist():
            constraint.parse(row)


def test_parse_reply() -> None:
    tok = ActionTokenizer.from_pretrained("rt2")
    action = "1 128 91 241 5 101 127 217"
    bins = tok.parse(action).tolist()
    for text, plan in [
        (action, None),
        (" " + action, None),
        (f"Plan: pick 7up can. Action: {action}", "pick 7up can."),
        (f" Plan: pick it. Action:{action}", "pick it."),
        (f"Action: {action}", ""),
    ]:
        reply = parse_reply(tok, text)
        assert (reply.plan, reply.bins.tolist()) == (plan, bins)
    for text in (
        "",
        "Plan: pick it.",
        f"Plan: a {action}",
        f"  {action}",
        f"{action} ",
        f"Action: Action: {action}",
        f"Action: {action} Action: {action}",
    ):
        with pytest.raises(ActionParseError):
            parse_reply(tok, text)


PLANS = st.text(alphabet="Action: xA\u00e9.", max_size=30)


@settings(max_examples=TRIES, deadline=None)
@given(PLANS, PLANS)
def test_plan_in_regex_and_grammar(before: str, after: str) -> None:
    """The regular expression takes any plan without the marker and a line break, and then exactly an action."""
    tok = ActionTokenizer.from_pretrained("rt2-language-table")
    pattern = re.compile(tok.regex(plan=True))
    text = f"Plan: {before} Action: 3 -7"
    wanted = "Action:" not in before and "Action:" not in f"{before} Action"
    assert bool(pattern.fullmatch(text)) == wanted
    assert not pattern.fullmatch(text + after) or (wanted and re.fullmatch("[0-9]*", after))
    if wanted:
        assert parse_reply(tok, text).bins.tolist() == [13, 3]


def test_plan_grammar_is_the_regex() -> None:
    """Read the rules as an automaton and compare it with the regular expression."""
    tok = ActionTokenizer.from_pretrained("rt2-language-table")
    rules = dict(line.split(" ::= ", 1) for line in tok.grammar("gbnf", plan=True).strip().splitlines())
    assert rules["root"].startswith('"Plan: " plan ')

    def plan(text: str, rule: str, depth: int = 0) -> bool:
        """Whether `rule` can write exactly `text`."""
        for alternative in rules[rule].split(" | "):
            head, _, rest = (
                alternative.rpartition(" ") if alternative.endswith(tuple("n123456")) else (alternative, "", "")
            )
            if head.startswith("["):
                excluded = head[2:-1].replace("\\n", "\n")
                if text and text[0] not in excluded and plan(text[1:], rest, depth + 1):
                    return True
            else:
                literal = head.strip()[1:-1]
                if text.startswith(literal) and (
                    plan(text[len(literal) :], rest, depth + 1) if rest else text == literal
                ):
                    return True
        return False

    body = re.compile(tok.regex(plan=True))
    rng = np.random.default_rng(5)
    for _ in range(2000):
        text = "".join(rng.choice(list("Action: x\n"), size=int(rng.integers(12))))
        text = text if rng.random() < 0.5 else text + "Action:"[: int(rng.integers(8))]
        assert plan(text + " Action: ", "plan") == bool(body.fullmatch(f"Plan: {text} Action: 3 -7")), text


@pytest.mark.parametrize("name", ["rt2", "rt2-language-table", "dexbotic-255"])
@pytest.mark.parametrize("plan", [False, True])
def test_engines_of_servers(name: str, plan: bool) -> None:
    """xgrammar, outlines-core and llguidance read what `grammar` and `regex` write."""
    tok = ActionTokenizer.from_pretrained(name)
    rng = np.random.default_rng(0)
    bins = rng.integers(0, tok.bins, (20, tok.fields))
    if tok.terminate is not None:
        bins[:, 0] %= 2
    head = "Plan: move to the Act. Action:" + ("" if tok.spec.lead else " ") if plan else ""
    good = [head + line for line in tok.format(bins)]
    bad = [
        good[0] + " ",
        good[0] + " 1",
        good[0].rsplit(" ", 1)[0],
        good[0].replace(" ", "  ", 1) if not plan else head + head,
        "no",
    ]
    tried = 0
    try:
        import xgrammar
        from xgrammar.testing import _is_grammar_accept_string as accepts
    except ImportError:
        pass
    else:
        tried += 1
        for grammar in (
            xgrammar.Grammar.from_ebnf(tok.grammar("ebnf", plan=plan)),
            xgrammar.Grammar.from_regex(tok.regex(plan=plan)),
        ):
            assert all(accepts(grammar, text) for text in good)
            assert not any(accepts(grammar, text) for text in bad)
    try:
        import llguidance
    except ImportError:
        pass
    else:
        tried += 1
        byte_tokens = llguidance.LLTokenizer("byte")
        for grammar in (
            llguidance.LLMatcher.grammar_from_lark(tok.grammar("lark", plan=plan)),
            llguidance.LLMatcher.grammar_from_regex(tok.regex(plan=plan)),
        ):
            for texts, wanted in ((good, True), (bad, False)):
                for text in texts:
                    matcher = llguidance.LLMatcher(byte_tokens, grammar)
                    tokens = byte_tokens.tokenize_str(text)
                    taken = (
                        matcher.validate_tokens(tokens) == len(tokens)
                        and matcher.consume_tokens(tokens)
                        and matcher.is_accepting()
                    )
                    assert bool(taken) == wanted, (text, matcher.get_error())
    try:
        import outlines_core
    except ImportError:
        pass
    else:
        tried += 1
        letters = sorted({*"0123456789 -Plan: move to the Act. Action:", "x"})
        vocabulary = outlines_core.Vocabulary(0, {c: [i + 1] for i, c in enumerate(letters)})
        index = outlines_core.Index(tok.regex(plan=plan), vocabulary)

        def walks(text: str) -> bool:
            state: int | None = index.get_initial_state()
            for c in text:
                if c not in letters:
                    return False
                state = index.get_next_state(state, letters.index(c) + 1)
                if state is None:
                    return False
            return index.is_final_state(state)

        assert all(map(walks, good))
        assert not any(map(walks, bad))
    if not tried:
        pytest.skip("none of xgrammar, llguidance, outlines_core is installed")


def test_serving_needs_numpy_and_nothing_else() -> None:
    code = "import sys, numpy; before = set(sys.modules); import rt2data.serving; print(*(set(sys.modules) - before))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout
    roots = {m.split(".")[0] for m in out.split()}
    assert roots - sys.stdlib_module_names - {"numpy"} == {"rt2data"}


def test_constraint_for_chunks_of_joints() -> None:
    raw = vocabularies.byte_level()
    joints = [Dim(f"joint_{i}", -3, 3, "rad") for i in range(6)]
    tok = ActionTokenizer.from_pretrained("rt2").with_dims(joints).with_horizon(4).with_vocabulary(raw)
    constraint = Constraint(tok, eos_token_id=0)
    for reply in sample(constraint, raw.get_vocab_size(), np.random.default_rng(0), 50):
        assert constraint.parse(reply).bins.shape == (28,)


FORMS = [path.stem for path in sorted(resources.folder("tokenizers/grounding").glob("*.json"))]


@pytest.mark.parametrize("name", FORMS)
def test_any_logits_give_objects(name: str) -> None:
    """Whatever a model would write, ids under the constraint are a text that parses."""
    tok, raw = GroundingTokenizer.from_pretrained(name), vocabularies.byte_level()
    raw.add_special_tokens(["<|box_start|>", "<|box_end|>"])
    eos = raw.token_to_id("<|endoftext|>")
    labels = ["cup", "a lid"] if tok.labels != "none" and tok.form.labels.classes is None else None
    constraint = GroundingConstraint(tok, raw, eos_token_id=eos, labels=labels, size=(640, 480))
    rng = np.random.default_rng(5)
    for _ in range(10):
        state, reply = constraint.start, list[int]()
        while state[0] != "end":
            allowed = constraint.allowed(state)
            assert len(allowed)
            ends = eos in allowed and (len(reply) > 200 or rng.random() < 0.3)
            reply.append(eos if ends else int(rng.choice(allowed)))
            state = constraint.step(state, reply[-1])
        tok.decode(constraint.parse(reply), (640, 480))


def test_labels_of_any_text() -> None:
    """Without a list of labels any text is one; a number ends before it is too large."""
    tok, raw = GroundingTokenizer.from_pretrained("florence2"), vocabularies.byte_level()
    constraint = GroundingConstraint(tok, raw, eos_token_id=raw.token_to_id("<|endoftext|>"))
    ids = raw.encode("pick up the can<loc_1><loc_2><loc_3><loc_99").ids
    assert constraint.parse([*ids, *raw.encode("9>").ids])[0].label == "pick up the can"
    after = {raw.decode([int(i)]) for i in constraint.allowed(constraint.state([*ids, raw.token_to_id("9")]))}
    assert after == {">"}


def test_a_constraint_on_objects() -> None:
    tok, raw = GroundingTokenizer.from_pretrained("qwen2-vl"), vocabularies.byte_level()
    raw.add_special_tokens(["<|box_start|>", "<|box_end|>", "<|im_end|>"])
    eos = raw.token_to_id("<|im_end|>")
    constraint = GroundingConstraint(tok, raw, eos_token_id=eos, kinds=["point"])
    begin, end = raw.token_to_id("<|box_start|>"), raw.token_to_id("<|box_end|>")
    assert begin in constraint.allowed(constraint.start)  # a special id that the form writes
    assert eos not in constraint.allowed(constraint.start)
    ids = [begin, *raw.encode("(12,500)").ids, end]
    assert constraint.parse([*ids, eos, 7]) == [Parsed("point", (12, 500), "")]
    assert eos in constraint.allowed(constraint.state(ids))
    processor = ActionLogitsProcessor(constraint, prompt_length=1)
    scores = processor(np.array([[0, *ids]]), np.zeros((1, raw.get_vocab_size())))
    assert np.isfinite(scores[0, eos])
    assert not np.isfinite(scores[0, end])
    with pytest.raises(ActionParseError, match="the answer ends before its objects do"):
        constraint.parse(ids[:-1])
    with pytest.raises(ActionParseError, match="cannot stand here"):
        constraint.parse([begin, end])
    with pytest.raises(ActionError, match="neither given nor known"):
        GroundingConstraint(tok, raw)
    with pytest.raises(ActionError, match="no sequence of its tokens writes such a text"):
        GroundingConstraint(tok, vocabularies.words(), eos_token_id=0)


def test_tokens_that_lead_nowhere_are_closed() -> None:
    """Of a vocabulary without single digits, only what can be completed is allowed: 12 and 130, but not 7."""
    raw = vocabularies.library()
    pieces = [("<unk>", 0.0), *((piece, -1.0) for piece in ["12", "130", "7", "a", "b"])]
    model = raw.Tokenizer(raw.models.Unigram(pieces, unk_id=0))
    model.decoder = raw.decoders.Fuse()
    model.add_special_tokens(["<unk>"])
    text = RegularText("(12|130|70)a|b", Vocabulary(model))
    names = {model.id_to_token(int(i)) for i in text.allowed(text.start)}
    assert names == {"12", "130", "b"}
    assert text.step(text.start, model.token_to_id("7")) is None
    assert text.complete(text.state_after("12a"))
    assert text.state_after("7") is None
    assert not text.complete(text.state_after("12"))
