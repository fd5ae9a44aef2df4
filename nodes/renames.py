"""Nodes that had other names in earlier releases, so that saved workflows still load.

ComfyUI puts the node of today in place of the old one, from 0.14 on. Before that, it shows the old one as missing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfy_api.latest import ComfyAPI, io

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rename:
    """A node, and what it was called in an earlier release.

    Attributes:
        old: The id in saved workflows.
        new: The id today.
        inputs: The inputs that had another name, ``{today: old}``.
        added: The inputs that the old node did not have. They must be optional.
    """

    old: str
    new: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    added: tuple[str, ...] = ()


RENAMES: tuple[Rename, ...] = ()
"""All of them, since the first release. None is ever taken out."""


async def register_renames(nodes: Sequence[type[io.ComfyNode]], renames: Sequence[Rename] = RENAMES) -> None:
    """Tell ComfyUI what the nodes were called. Without a server, or before ComfyUI 0.14, this does nothing."""
    replacements = getattr(ComfyAPI(), "node_replacement", None)
    if replacements is None:
        return
    schemas = {schema.node_id: schema for schema in (node.GET_SCHEMA() for node in nodes)}
    try:
        for rename in renames:
            await replacements.register(io.NodeReplace(**replacement(rename, schemas[rename.new])))
    except AttributeError:  # ComfyUI's nodes are used from a script
        log.debug("GVM: without a server, nodes are not known by their earlier names")


def replacement(rename: Rename, schema: io.Schema) -> dict[str, Any]:
    """The arguments of ``io.NodeReplace``. They name every input and output: ComfyUI drops what they do not name.

    Widgets are named in the order in which a workflow stores their values: required ones first.
    """
    inputs = sorted(
        (each for each in schema.inputs if each.id not in rename.added), key=lambda each: bool(each.optional)
    )
    old = {each.id: rename.inputs.get(each.id, each.id) for each in inputs}
    widgets = []
    for each in inputs:
        if isinstance(each, io.WidgetInput):
            widgets.append(old[each.id])
            if getattr(each, "control_after_generate", None):
                widgets.append("control_after_generate")  # the choice below a seed is stored, too
    return {
        "old_node_id": rename.old,
        "new_node_id": rename.new,
        "old_widget_ids": widgets,
        "input_mapping": [{"new_id": today, "old_id": was} for today, was in old.items()],
        "output_mapping": [{"old_idx": index, "new_idx": index} for index in range(len(schema.outputs))],
    }
