"""`rt2data datasets`: the declarations, as a table and one at a time."""

from __future__ import annotations

from collections.abc import Iterable

from rt2data.declaration import Declaration


def table(declared: Iterable[Declaration]) -> str:
    """One line each, at most 100 columns."""
    lines = [f"{'name':<28}{'kind':<9}{'format':<15}{'checked against':<18}licence"]
    for d in declared:
        licence = d.raw["licence"]
        lines.append(f"{d.name[:27]:<28}{d.kind:<9}{d.format[:14]:<15}{d.raw.get('verified', 'unverified'):<18}{licence if len(licence) <= 30 else licence[:27] + '...'}")
    return "\n".join(lines)


def page(d: Declaration) -> str:
    """Everything that is declared of one dataset, for a person."""
    raw = d.raw
    lines = [f"{d.name}: {raw.get('title', d.name)}", ""]

    def say(word: str, value: object) -> None:
        if value:
            lines.append(f"{word + ':':<18}{value}")

    say("kind", f"{d.kind}, format {d.format}")
    say("aliases", ", ".join(d.aliases))
    for word in ("robot", "licence", "homepage", "citation"):
        say(word, raw.get(word))
    say("looked for in", ", ".join(f"DATA/{path}" for path in d.paths))
    bucket = raw.get("bucket", {})
    say("published at", bucket.get("path"))
    say("version", bucket.get("version"))
    say("size", bucket.get("size", "not stated by its publisher" if bucket else None))
    say("copy it with", bucket.get("copy"))
    for word, counts in raw.get("published", {}).items():
        say(f"published {word}", ", ".join(f"{k} {v:,}" for k, v in counts.items()) if isinstance(counts, dict) else counts)
    if d.robot:
        for camera in d.robot.cameras:
            say(f"camera {camera.name}", camera.field + (" (padding)" if camera.padding else "") + (" (BGR)" if camera.colour == "bgr" else ""))
        say("instruction", d.robot.instruction)
        for term in d.robot.terms:
            columns = f"[{', '.join(map(str, term.columns))}]" if term.columns is not None else ""
            say("action", f"{term.field}{columns} -> {' '.join(term.to)}")
        say("meaning", f"{d.robot.kind} in the {d.robot.frame} frame, {raw['action']['unit'].replace('_', ' and ')}")
        say("gripper", raw["action"].get("gripper"))
        say("terminate", d.robot.terminate)
        say("control rate", f"{d.robot.control_hz:g} Hz" if d.robot.control_hz else None)
    if d.web:
        for split, roles in d.web.splits.items():
            say(f"split {split}", "; ".join(f"{role}: {' or '.join(names)}" for role, names in roles.items()))
        say("records", d.web.records if d.web.fields else "")
        for meaning, way in (d.web.fields | d.web.captions).items():
            say(meaning, way)
        for column, way in d.web.columns.items():
            say(f"column {column}", way)
        say("pictures", " or ".join(d.web.images) or "in the files themselves")
        say("picture ids", f"{d.web.image_namespace}:ID" if d.web.image_namespace else "by content")
    say("checked against", raw.get("verified", "unverified"))
    lines += ["", *(f"- {note}" for note in raw.get("notes", []))] if raw.get("notes") else []
    for conflict in raw.get("conflicts", []):
        lines.append(f"- on {conflict['about']}: {conflict['choice']}, because {conflict['evidence']}")
    return "\n".join(lines)
