"""What OpenVLA and Octo make of each dataset, in plain Python and apart from any declaration.

Written after what their public loaders do with a step's fields (the facts, not the code). A map takes the fields of an
episode, as flat rows per step, and a step that has an action; it gives the numbers of the action.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from support.scalar_actions import binarized, opened, quaternion, rpy

Rows = dict[str, list[list[float]]]
Map = Callable[[Rows, int], list[float]]

LONG = "_converted_externally_to_rlds"


def shut(x: float) -> float:
    """A command that closes above 0, as openness: limited to 0..1, then turned round."""
    return 1 - min(max(x, 0.0), 1.0)


def unit(x: float) -> float:
    return min(max(x, 0.0), 1.0)


def first(n: int, last: Callable[[float], float] = float, six: int = 0) -> Map:
    """Six numbers of ``action`` from column `six`, and a gripper in column `n`."""

    def act(v: Rows, t: int) -> list[float]:
        row = v["steps/action"][t]
        return [*row[six : six + 6], last(row[n])]

    return act


def trigger(v: Rows) -> list[float]:
    return [row[0] for row in v["steps/action/gripper_closedness_action"]]


def google(gripper: Callable[[Rows, int], float], turn: bool = True) -> Map:
    """The action of Google's robots: world_vector, rotation_delta and a gripper."""

    def act(v: Rows, t: int) -> list[float]:
        rotation = v["steps/action/rotation_delta"][t] if turn else [0.0, 0.0, 0.0]
        return [*v["steps/action/world_vector"][t], *rotation, gripper(v, t)]

    return act


def field(name: str) -> Callable[[Rows, int], float]:
    return lambda v, t: v[f"steps/action/{name}"][t][0]


def absolute(v: Rows, t: int) -> float:
    return opened(trigger(v), t)


def closed_above_0(v: Rows, t: int) -> float:
    return shut(trigger(v)[t])


def turned(gripper: Callable[[float], float]) -> Map:
    """Three numbers, a quaternion (x, y, z, w) and a gripper."""

    def act(v: Rows, t: int) -> list[float]:
        row = v["steps/action"][t]
        return [*row[:3], *rpy(quaternion(row[3:7], "xyzw")), gripper(row[7])]

    return act


def planar(v: Rows, t: int) -> list[float]:
    """x, y, z, a turn in the place of roll, and a gripper."""
    x, y, z, turn, grip = v["steps/action"][t]
    return [x, y, z, turn, 0.0, 0.0, grip]


def point(v: Rows, t: int) -> list[float]:
    """x, y, z and a gripper."""
    x, y, z, grip = v["steps/action"][t]
    return [x, y, z, 0.0, 0.0, 0.0, grip]


def base(v: Rows, t: int) -> list[float]:
    return [*v["steps/action"][t], 0.0, 0.0, 0.0, 0.0, 0.0]


def bc_z(v: Rows, t: int) -> list[float]:
    move, turn, shut_ = (
        v[f"steps/action/future/{name}"][t] for name in ("xyz_residual", "axis_angle_residual", "target_close")
    )
    return [*move[:3], *turn[:3], 1 - shut_[0]]


def relabelled(gripper: Callable[[Rows, int], float]) -> Map:
    def act(v: Rows, t: int) -> list[float]:
        state = v["steps/observation/state"]
        return [*(b - a for a, b in zip(state[t][:6], state[t + 1][:6], strict=True)), gripper(v, t)]

    return act


def bridge_gripper(v: Rows, t: int) -> float:
    return binarized([row[6] for row in v["steps/action"]], t)


def droid(v: Rows, t: int) -> list[float]:
    return [*v["steps/action_dict/cartesian_velocity"][t][:6], 1 - v["steps/action_dict/gripper_position"][t][0]]


def tdroid(v: Rows, t: int) -> list[float]:
    return [*v["steps/action"][t][:6], bridge_gripper(v, t)]


def joints(last: Callable[[float], float]) -> Map:
    return lambda v, t: [*v["steps/action"][t][:7], last(v["steps/action"][t][7])]


def whole(v: Rows, t: int) -> list[float]:
    return list(v["steps/action"][t])


def rpt_octo(v: Rows, t: int) -> list[float]:
    """Every third step: the change of the joints over three steps."""
    now, then = v["steps/observation/joint_pos"][t], v["steps/observation/joint_pos"][t + 3]
    return [*(b - a for a, b in zip(now[:7], then[:7], strict=True)), 1 - v["steps/action"][t][7]]


def gnm_octo(v: Rows, t: int) -> list[float]:
    """Every third step: the way over three steps as the robot sees it, by the scale that the first step shows."""
    place, (heading,) = v["steps/observation/position"], v["steps/observation/yaw"][t]
    ahead, left = (math.cos(heading), math.sin(heading)), (-math.sin(heading), math.cos(heading))
    way = [b - a for a, b in zip(place[t], place[t + 3], strict=True)]
    factor = math.dist(v["steps/action"][0], (0.0, 0.0)) / math.dist(place[0], place[1])
    return [factor * (way[0] * axis[0] + way[1] * axis[1]) for axis in (ahead, left)]


BOTH: dict[str, Map] = {
    f"asu_table_top{LONG}": first(6),
    f"austin_buds_dataset{LONG}": first(6, shut),
    f"austin_sailor_dataset{LONG}": first(6, shut),
    f"austin_sirius_dataset{LONG}": first(6, shut),
    "bc_z": bc_z,
    "berkeley_autolab_ur5": google(absolute),
    "berkeley_cable_routing": google(lambda v, t: 0.0),
    "berkeley_fanuc_manipulation": lambda v, t: [*v["steps/action"][t], 1 - v["steps/observation/state"][t][6]],
    "bridge_dataset": relabelled(bridge_gripper),
    f"cmu_franka_exploration_dataset{LONG}": first(6),
    "cmu_play_fusion": lambda v, t: [*v["steps/action"][t][:3], *v["steps/action"][t][-4:]],
    "cmu_playing_with_food": turned(float),
    "cmu_stretch": first(6),
    "columbia_cairlab_pusht_real": google(field("gripper_closedness_action")),
    f"dlr_edan_shared_control{LONG}": first(6, lambda x: 1 - x),
    f"dlr_sara_grid_clamp{LONG}": first(6),
    f"dlr_sara_pour{LONG}": first(6),
    "dobbe": first(6),
    "fmb": first(6),
    "fractal20220817_data": google(absolute),
    f"furniture_bench_dataset{LONG}": turned(shut),
    f"iamlab_cmu_pickup_insert{LONG}": turned(float),
    "imperialcollege_sawyer_wrist_cam": first(6),
    "jaco_play": google(absolute, turn=False),
    f"kaist_nonprehensile{LONG}": lambda v, t: [*v["steps/action"][t][:6], 0.0],
    "kuka": google(absolute),
    "language_table": lambda v, t: [*v["steps/action"][t], 0.0, 0.0, 0.0, 0.0, 1.0],
    f"maniskill_dataset{LONG}": first(6),
    "nyu_door_opening_surprising_effectiveness": google(absolute),
    f"nyu_franka_play_dataset{LONG}": first(13, unit, six=7),
    f"nyu_rot_dataset{LONG}": first(6),
    "robo_net": planar,
    "robo_set": joints(shut),
    "roboturk": google(closed_above_0),
    f"stanford_hydra_dataset{LONG}": first(6, lambda x: 1 - x),
    f"stanford_kuka_multimodal_dataset{LONG}": point,
    f"stanford_mask_vit{LONG}": planar,
    f"stanford_robocook{LONG}": first(6),
    "taco_play": lambda v, t: [
        *v["steps/action/rel_actions_world"][t][:6],
        unit(v["steps/action/rel_actions_world"][t][6]),
    ],
    f"tokyo_u_lsmo{LONG}": first(6),
    "toto": google(field("open_gripper")),
    f"ucsd_kitchen_dataset{LONG}": first(6),
    f"ucsd_pick_and_place_dataset{LONG}": point,
    "uiuc_d3field": lambda v, t: [*v["steps/action"][t], 0.0, 0.0, 0.0, 0.0],
    "utaustin_mutex": first(6, shut),
    f"utokyo_pr2_opening_fridge{LONG}": first(6),
    f"utokyo_pr2_tabletop_manipulation{LONG}": first(6),
    f"utokyo_xarm_bimanual{LONG}": first(13, six=7),
    f"utokyo_xarm_pick_and_place{LONG}": first(6),
    "viola": google(closed_above_0),
}
OPENVLA: dict[str, Map] = {
    "berkeley_gnm_cory_hall": base,
    "berkeley_gnm_recon": base,
    "berkeley_gnm_sac_son": base,
    f"berkeley_mvp{LONG}": joints(float),
    f"berkeley_rpt{LONG}": joints(float),
    "bridge_oxe": relabelled(field("open_gripper")),
    "droid": droid,
    "droid_wipe": droid,
    **dict.fromkeys(("libero_spatial_no_noops", "libero_object_no_noops"), first(6, shut)),
    **dict.fromkeys(("libero_goal_no_noops", "libero_10_no_noops"), first(6, shut)),
    **dict.fromkeys(("tdroid_carrot_in_bowl", "tdroid_pour_corn_in_pot", "tdroid_flip_pot_upright"), tdroid),
    **dict.fromkeys(("tdroid_move_object_onto_plate", "tdroid_knock_object_over"), tdroid),
    "tdroid_cover_object_with_towel": tdroid,
}
OCTO: dict[str, Map] = {
    "aloha_dagger_dataset": whole,
    "aloha_mobile": whole,
    "aloha_static_dataset": whole,
    f"berkeley_mvp{LONG}": joints(lambda x: 1 - x),
    f"berkeley_rpt{LONG}": rpt_octo,
    "gnm_dataset": gnm_octo,
    "mujoco_manip": first(6, lambda x: 1 - x / 255),
}
MAPS = {"openvla": BOTH | OPENVLA, "octo": BOTH | OCTO}

# Datasets whose texts Octo replaces by nothing, and of which it reads every so manieth step.
BLANK = {
    "kuka", "berkeley_cable_routing", "roboturk", "nyu_door_opening_surprising_effectiveness", "viola", "toto",
    f"stanford_hydra_dataset{LONG}", f"austin_buds_dataset{LONG}", f"nyu_franka_play_dataset{LONG}",
    f"austin_sailor_dataset{LONG}", f"austin_sirius_dataset{LONG}", "utaustin_mutex",
}  # fmt: skip
EVERY = {
    "aloha_dagger_dataset": 5,
    "aloha_mobile": 5,
    "aloha_static_dataset": 5,
    f"berkeley_rpt{LONG}": 3,
    "gnm_dataset": 3,
}
QUATERNIONS = {name for name, act in BOTH.items() if act.__qualname__.startswith("turned.")}
# Steps of an episode that have no action, of those that are read.
DROPPED = {
    ("openvla", "bridge_dataset"): {0, -1},
    ("octo", "bridge_dataset"): {-1},
    ("openvla", "bridge_oxe"): {0, -1},
    ("octo", f"berkeley_rpt{LONG}"): {-1},
    ("octo", "gnm_dataset"): {-1},
}
