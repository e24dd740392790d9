"""From a dataset's stored fields to the canonical action: operations, rotations, kinematics, instructions.

`fields` has the types of a declaration's robot part, `actions` applies them to an episode, `match` holds them to a
schema. Canonical: metres, radians, gripper openness in [0, 1] (docs/format.md).

May import: `rlds`, `storage`, `errors`.
"""
