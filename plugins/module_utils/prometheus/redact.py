# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration as it may be shown: without what may be a secret, however it is written.

A YAML parser finds the values; a second look, line by line, is for comments and for what is no YAML.
"""

from __future__ import annotations

import re
from typing import Any, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config_source

HIDDEN = "(hidden)"

_NAME = (
    r"[\w-]*(?:passw|passphrase|secret|token|credential|private_key|access_key|api_?key|signature)[\w-]*|ca|cert|key"
    # Whatever stands in these may be a secret, under any name.
    r"|params|endpoint_params|headers|http_headers|proxy_connect_header|basic_auth|authorization"
)
_SECRET_KEY = re.compile(rf"(?!\w+_file\Z)(?:{_NAME})\Z", re.IGNORECASE)
_SECRET_LINE = re.compile(
    rf"""(?<![\w-])["']?(?<![\w-])(?![\w-]+_file["']?[ \t]*:)(?:{_NAME})["']?[ \t]*:[ \t]*""", re.IGNORECASE
)
_KEY_MATERIAL = re.compile(r"^[ \t#]*(?!/)[A-Za-z0-9+/=]{40,}[ \t]*$|-----BEGIN")
# The last @ before the path ends a login; a query may hold anything.
_LOGIN = re.compile(r"(//)[^/\s?#]*@")
_MISPLACED = re.compile(r"(cannot unmarshal !!\S+ )`[^`]*`")
_QUERY = re.compile(r"((?:://|(?<![^\s'\"])/)[^\s?]*\?)[^\s'\"]+")


def url(text: str) -> str:
    """A text whose URLs have neither login nor query."""
    return _QUERY.sub(rf"\1{HIDDEN}", _LOGIN.sub(rf"\1{HIDDEN}@", text))


def said(text: str) -> str:
    """What a program said about a configuration: it may repeat a URL that cannot be taken apart, or a value of the wrong type."""
    text = _QUERY.sub(rf"\1{HIDDEN}", re.sub(r"//\S*@", f"//{HIDDEN}@", text))
    return _MISPLACED.sub(rf"\1{HIDDEN}", text)


def lines(data: bytes, path: str) -> list[str]:
    """The lines of a configuration file with everything hidden that may be a secret.

    A whole file is needed: what a line belongs to may stand far above it.
    """
    text = data.decode("utf-8", "replace")
    try:
        source = config_source.parsed(data, path)
    except TimesTenError:
        # Nobody can tell where a secret is.
        return [HIDDEN] * len(text.splitlines())
    text = source.text
    for start, end in reversed(_secret_places(source)):
        # A block scalar ends where the next line begins; every line stays a line.
        value = text[start:end].rstrip()
        hidden = "\n".join([HIDDEN] * (value.count("\n") + 1))
        text = text[:start] + hidden + text[start + len(value) :]
    return _look_again(text.splitlines())


def _secret_places(source: config_source.Source) -> list[tuple[int, int]]:
    """Where the values stand that may be secret, in order; none of them overlap."""
    import yaml

    places: dict[int, int] = {}
    seen: set[tuple[int, bool]] = set()
    stack: list[tuple[Any, bool]] = [(source.root, False)]
    while stack:
        node, secret = stack.pop()
        if node is None or (id(node), secret) in seen:
            continue
        seen.add((id(node), secret))
        if isinstance(node, yaml.ScalarNode):
            if secret or url(node.value) != node.value or any(map(_KEY_MATERIAL.search, node.value.splitlines())):
                places[node.start_mark.index] = node.end_mark.index
        elif isinstance(node, yaml.SequenceNode):
            stack += [(item, secret) for item in node.value]
        else:
            for key, value in node.value:
                stack.append((key, secret))
                named = isinstance(key, yaml.ScalarNode) and _SECRET_KEY.match(key.value) is not None
                # What an alias leads to is hidden where it stands, whatever it is called there.
                stack.append((value, secret or named))
    return sorted((start, end) for start, end in places.items() if end > start)


def _look_again(shown: Sequence[str]) -> list[str]:
    result = []
    column: int | None = None
    switched_off = False
    for line in shown:
        # Keys that were switched off by comments belong together as those that were not.
        is_comment = line.lstrip().startswith("#")
        content = line.lstrip(" \t#" if switched_off else " \t")
        # The dashes of a list may stand below the first letter of its key.
        depth = len(line) - len(content) + content.startswith("-")
        if column is not None and is_comment >= switched_off and (not content or depth > column):
            result.append(HIDDEN)
            continue
        match = _SECRET_LINE.search(line)
        column, switched_off = (match.start(), is_comment) if match else (None, False)
        if match:
            result.append(url(line[: match.end()]).rstrip() + f" {HIDDEN}")
        else:
            result.append(HIDDEN if _KEY_MATERIAL.search(line) else url(line))
    return result
