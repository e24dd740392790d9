"""Serve a model that writes actions: constrain decoding to actions, parse replies, hand actions to the robot.

A reply is an action and the end of the sequence. With `plan=True` reasoning comes first (RT-2's chain of thought): free
text up to ``Action:``. `Constraint` says which ids may come next; `ActionLogitsProcessor` and
`prefix_allowed_tokens_fn` hand that to transformers, `Constraint.mask` to others. Servers that take a regular
expression or a grammar get `tokenizer.regex()` or `tokenizer.grammar()`.

    tok = ActionTokenizer.from_pretrained("rt2").with_vocabulary(hf_tokenizer)
    only_actions = ActionLogitsProcessor(Constraint(tok))
    ids = model.generate(**inputs, logits_processor=[only_actions], max_new_tokens=32)

Needs numpy only; torch is used where the scores are torch tensors. May import: `tokenizer`, `mixture`,
`robot.rotation`, `turns`, `images.drawing`.
"""

from __future__ import annotations

from rt2data.serving.chunks import RecedingHorizon, TemporalEnsemble
from rt2data.serving.constraint import Constraint, GroundingConstraint
from rt2data.serving.drawing import draw_objects
from rt2data.serving.environments import (
    GoogleRobot,
    from_google_robot,
    from_libero,
    from_maniskill,
    from_widowx,
    to_libero,
    to_maniskill,
    to_widowx,
)
from rt2data.serving.kind_prompt import KindPrompt, KindReply
from rt2data.serving.logits import ActionLogitsProcessor, prefix_allowed_tokens_fn
from rt2data.serving.robot_prompt import RobotPrompt
from rt2data.serving.rotation_6d import from_rotation_6d, rotation_6d_dims, to_rotation_6d
from rt2data.tokenizer.text.reply import Replies, Reply, parse_replies, parse_reply
from rt2data.turns.chat_templates import ChatTemplate, ChatText, load_chat_template, write_chat

__all__ = [
    "ActionLogitsProcessor",
    "ChatTemplate",
    "ChatText",
    "Constraint",
    "GoogleRobot",
    "GroundingConstraint",
    "KindPrompt",
    "KindReply",
    "RecedingHorizon",
    "Replies",
    "Reply",
    "RobotPrompt",
    "TemporalEnsemble",
    "draw_objects",
    "from_google_robot",
    "from_libero",
    "from_maniskill",
    "from_rotation_6d",
    "from_widowx",
    "load_chat_template",
    "parse_replies",
    "parse_reply",
    "prefix_allowed_tokens_fn",
    "rotation_6d_dims",
    "to_libero",
    "to_maniskill",
    "to_rotation_6d",
    "to_widowx",
    "write_chat",
]
