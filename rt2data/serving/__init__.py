"""Serving a model that writes actions: only action tokens where an action belongs, and from there to the robot.

A reply of the model is an action, or (`plan=True`, RT-2's chain of thought) free text up to ``Action:`` and then an
action; behind the action the sequence ends. `Constraint` knows which ids may come next; the rest puts that into the
form a server wants: a Hugging Face logits processor, `prefix_allowed_tokens_fn`, a numpy mask. For servers that
take a regular expression or a grammar there are `tokenizer.regex()` and `tokenizer.grammar()`.

    tok = ActionTokenizer.from_pretrained("rt2").with_vocabulary(hf_tokenizer)
    only_actions = ActionLogitsProcessor(Constraint(tok))
    ids = model.generate(**inputs, logits_processor=[only_actions], max_new_tokens=32)

Needs numpy only; torch is used where the scores are torch tensors. May import: `tokenizer`, `mixture`,
`robot.rotation`.
"""

from __future__ import annotations

from rt2data.serving.constraint import Constraint
from rt2data.serving.logits import ActionLogitsProcessor, prefix_allowed_tokens_fn
from rt2data.serving.robot_prompt import RobotPrompt
from rt2data.serving.simpler import from_simpler, to_simpler
from rt2data.tokenizer.text.reply import Reply, parse_reply

__all__ = [
    "ActionLogitsProcessor",
    "Constraint",
    "Reply",
    "RobotPrompt",
    "from_simpler",
    "parse_reply",
    "prefix_allowed_tokens_fn",
    "to_simpler",
]
