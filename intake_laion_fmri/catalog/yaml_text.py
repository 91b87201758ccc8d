"""YAML of catalogs: short mappings on one line, help once per file, common metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from intake_laion_fmri import layout

CATALOG_METADATA = {"version": 1, "title": "LAION-fMRI", "license": layout.LICENSE, "references": layout.REFERENCES}


class Flow(dict[str, Any]):
    """A mapping written on one line."""


class FlowList(list[str]):
    """A list written on one line."""


class Arguments(dict[str, str]):
    """A mapping written once per file and then referred to by name."""

    def __init__(self, name: str, arguments: Mapping[str, str]) -> None:
        super().__init__(arguments)
        self.name = name


class _Dumper(yaml.SafeDumper):
    """Dumper for the classes above."""

    def generate_anchor(self, node: Any) -> str:
        return f"{node.anchor_name}_arguments"


def _represent_arguments(dumper: _Dumper, data: Arguments) -> yaml.Node:
    node = dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=False)
    node.anchor_name = data.name  # type: ignore[attr-defined]
    return node


_Dumper.add_representer(Arguments, _represent_arguments)
_Dumper.add_representer(
    Flow, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=True)
)
_Dumper.add_representer(
    FlowList, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
)


def yaml_text(content: Mapping[str, Any]) -> str:
    """Return a catalog as YAML."""
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=116)
    return text
