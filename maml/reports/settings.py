"""The table of all settings in docs/settings.md, made from what `Config` declares."""

from __future__ import annotations

from maml.config import FIELDS, users

MARKER = "settings"
DOCUMENT = "docs/settings.md"


def format_settings() -> str:
    """Return a Markdown table of the settings for each group of `train.py --help`."""
    groups: dict[str, list[str]] = {}
    for f in FIELDS.values():
        meaning = f.metadata["help"]
        if f.metadata["choices"] and not all(c in meaning for c in f.metadata["choices"]):
            meaning += f" (one of {', '.join(f.metadata['choices'])})"
        cells = [
            f"`{f.name}`",
            f"`{f.metadata['alias']}`" if f.metadata["alias"] else "",
            f"`{f.default!r}`".replace("'", "") if f.default != "" else "",
            users(f) or "all",
            meaning,
        ]
        groups.setdefault(f.metadata["group"], []).append(f"| {' | '.join(cells)} |")
    header = "| setting | other name | default | for | meaning |\n| --- | --- | --- | --- | --- |"
    return "\n\n".join(
        "\n".join([f"## Group: {group}", "", header, *lines]) for group, lines in groups.items()
    )
