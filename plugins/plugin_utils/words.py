# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Translates between a user's variables and a module's options, also in a host's messages."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

EXPORTER = "exporter_host"
PROMETHEUS = "prometheus_host"
ROLES = (EXPORTER, PROMETHEUS)

# Options whose name is not the variable's without its prefix.
_RENAMED = {
    EXPORTER: {
        "certificate_directory": "exporter_host_directory",
        "after": "exporter_host_boot_after",
        "only_due": "rotate_only_due",
        "strategy": "rotate_strategy",
        "since": "rotate_since",
        "optional": "rotate_optional",
        "evict": "evict",
    },
    PROMETHEUS: {"prometheus_running": "prometheus_host_running"},
}
# Variables that are no option, or are passed under another name.
_NO_OPTION = {
    EXPORTER: {"directory", "become", "make_directory", "boot_after", "prometheus_hosts"},
    PROMETHEUS: {
        "become",
        "instances",
        "running",
        "template",
        "exporter_hosts",
        "rules",
        "alerts",
        "alert_thresholds",
    },
}
# Options of exporters that tt_prometheus_host gets too; the exporter's host defines them.
_OF_EXPORTERS = ("address", "port", "insecure", "alt_names", "common_name", "spare_port")
# Option names that are also ordinary words. They count as options only at certain places: at the beginning of a
# statement and before a colon, or after "set".
_ORDINARY = frozenset(
    (
        "address",
        "after",
        "boot",
        "environment",
        "evict",
        "extra",
        "fleet",
        "exporters",
        "group",
        "insecure",
        "labels",
        "layout",
        "optional",
        "owner",
        "port",
        "promtool",
        "purge",
        "readmit",
        "regenerate",
        "reload",
        "remove",
        "since",
        "state",
        "store",
        "strategy",
        "url",
        "user",
    )
)
_ELEMENT = re.compile(r"(?<!the answer's )\bexporters\[(\d+)\](?:\.|: )(\w+)")
_IMPOSSIBLE = re.compile(r",? or set allow_home: true")


@functools.lru_cache(maxsize=None)
def specs(role: str) -> Mapping[str, Any]:
    """Return the options of a role's main entry point, by variable. Defaults that are templates are left out."""
    path = Path(__file__).resolve().parents[2] / "roles" / role / "meta" / "argument_specs.yml"
    # Use libyaml's loader if PyYAML has it: our specifications are large, and every run reads them.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - a safe loader
    options: dict[str, Any] = found["argument_specs"]["main"]["options"]
    for option in options.values():
        if "{{" in str(option.get("default")):
            del option["default"]
    return options


def variable(role: str, option: str) -> str | None:
    """Return the variable that sets an option of the role's module, or None."""
    renamed = _RENAMED[role].get(option)
    if renamed:
        return renamed
    name = f"{role}_{option}"
    if name in specs(role) and option not in _NO_OPTION[role]:
        return name
    if role == PROMETHEUS and option in _OF_EXPORTERS:
        return f"{EXPORTER}_{option}"
    # These keys of an element have no variable of their own.
    listed: Mapping[str, Any] = specs(role).get(f"{role}_exporters", {}).get("options", {})
    return f"{role}_exporters" if option in listed and option != "instance" else None


def option(role: str, name: str) -> str | None:
    """Return the option of the role's module that a variable sets; None if the module does not get it."""
    for module_option, renamed in _RENAMED[role].items():
        if renamed == name:
            return module_option
    short = name[len(role) + 1 :]
    return short if name in specs(role) and short not in _NO_OPTION[role] else None


def in_words(message: str, role: str) -> str:
    """Return a message of the role's module with variables instead of options, for example ``set
    prometheus_host_reload_unit``.

    Names that are not ordinary words are replaced wherever they stand alone; the others only where an option is meant.
    """
    message = _IMPOSSIBLE.sub("", message)
    message = _ELEMENT.sub(functools.partial(_element, role), message)
    for pattern in _patterns(role):
        message = pattern.sub(functools.partial(_replace, role), message)
    return message


def _element(role: str, found: re.Match[str]) -> str:
    number, word = found.groups()
    if role == EXPORTER:
        key = "directory" if word == "certificate_directory" else "instance" if word == "name" else word
        return f"{EXPORTER}_exporters[{number}].{key}"
    return variable(role, word) or found.group()


def _replace(role: str, found: re.Match[str]) -> str:
    return variable(role, found.group()) or found.group()


@functools.lru_cache(maxsize=None)
def _patterns(role: str) -> tuple[re.Pattern[str], ...]:
    names = {name[len(role) + 1 :] for name in specs(role)} | set(_RENAMED[role]) | set(_OF_EXPORTERS)
    known = sorted((name for name in names if variable(role, name)), key=len, reverse=True)
    plain = "|".join(name for name in known if name in _ORDINARY or "_" not in name)
    telling = "|".join(name for name in known if name not in _ORDINARY and "_" in name)
    return (
        re.compile(rf"(?<![\w./$'\"{{=-])(?:{telling})(?![\w/-]|\.\w)"),
        # "user: there is", "exporter exp1: port: 0 is", "set boot to cron", "set force_kill: true".
        re.compile(rf"(?:(?<=^)|(?<=: )|(?<=; )|(?<=\. ))(?:{plain})(?=: )"),
        re.compile(rf"(?<=\bset )(?:{plain})(?= to\b|: |=)"),
    )


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that is most similar to an unknown one."""
    folded = {str(item).lower(): str(item) for item in sorted(known, reverse=True)}
    wanted = name.lower()
    scored = [(difflib.SequenceMatcher(None, item, wanted).ratio(), item) for item in folded]
    # If several are equally similar, take the one with the same beginning: exp1 for exp12, not exp2.
    best = max(scored, key=lambda pair: (pair[0], _alike(pair[1], wanted)), default=(0.0, ""))
    return folded[best[1]] if best[0] >= cutoff else None


def _alike(one: str, other: str) -> int:
    return next((index for index, pair in enumerate(zip(one, other)) if pair[0] != pair[1]), min(len(one), len(other)))


def one_letter_away(one: str, other: str) -> bool:
    """Tell whether two names differ by one letter added, removed or changed, or by two letters exchanged."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    left, right = one[start : len(one) - end], other[start : len(other) - end]
    return max(len(left), len(right)) == 1 or (len(left) == len(right) == 2 and left == right[::-1])
