"""`rt2data.verify.reference.texts` against the code that writes prompts and targets: two programs, one answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data import prompts
from rt2data.recipes.recipe import PROMPTS
from rt2data.verify.reference import texts

OPERATIONS = sorted(prompts.OPERATIONS)
WRITTEN = st.text(alphabet=st.one_of(st.sampled_from(" ._\t\u2003aBUSB{}"), st.characters()), max_size=30)
TEMPLATE = st.lists(
    st.sampled_from(["{instruction}", "{proprio}", "{question}", "{", "}", " ", "x", "{other}"]), max_size=8
).map("".join)


@given(WRITTEN, st.lists(st.sampled_from(OPERATIONS), unique=True))
def test_operations(text: str, operations: list[str]) -> None:
    assert texts.cleaned(operations, text) == prompts.clean_text({"instruction": operations}, text)


@given(TEMPLATE, WRITTEN, st.sampled_from(["", "1 2 3", "{instruction}"]))
def test_robot_prompts(template: str, instruction: str, state: str) -> None:
    raw = PROMPTS | {"robot": template}
    wanted = prompts.format_robot_prompt(raw, instruction, "robot", state)
    assert texts.robot_prompt(template, PROMPTS["instruction"], instruction, state) == wanted


@given(TEMPLATE, WRITTEN, st.lists(st.tuples(WRITTEN, WRITTEN), max_size=3))
def test_vqa_prompts(template: str, question: str, pairs: list[tuple[str, str]]) -> None:
    turns = [text for pair in pairs for text in pair]
    assert texts.vqa_prompt(template, question, turns) == prompts.format_vqa_prompt({"vqa": template}, question, turns)


@pytest.mark.parametrize("lead", ["", " "])
@given(plan=WRITTEN)
def test_targets_with_reasoning(lead: str, plan: str) -> None:
    wanted = prompts.join_target(prompts.format_reasoning(PROMPTS, plan), f"{lead}1 2 3")
    found = texts.target_with_reasoning(PROMPTS["planned"], PROMPTS["instruction"], plan, f"{lead}1 2 3")
    assert found == wanted


def test_an_unknown_operation() -> None:
    with pytest.raises(ValueError, match='the operation "upper"'):
        texts.cleaned(["upper"], "text")
