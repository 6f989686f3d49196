# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specs as typed objects, the options that several modules share, and the check of values before Ansible converts them.

The documentation fragments describe the shared options. The check is needed because Ansible converts a list to its text and true to 1, and
ends with a traceback on a whole number that is infinite.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from typing import Any, Mapping, Sequence, TypedDict

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError

SECRETS = ("environment", "extra", "url_password", "url_bearer_token", "url_headers", "public_key")
"""Options whose values are never shown."""

_OF_MANY_LINES = frozenset(("bundle", "ca_certificate", "certificate", "rendered", "rules"))
_LONGEST_TEXT = 4096
_LARGEST = 1e15
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


class Option(TypedDict, total=False):
    """The spec of one option, with Ansible's own keys; suboptions are an :class:`Options`."""

    type: str
    elements: str
    required: bool
    default: Any
    choices: Sequence[str]
    no_log: bool
    options: Options


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of a module, or the suboptions of one option, with the rules between them.

    ``a | b`` has the options and the rules of both. If both have an option of the same name, the one of ``b`` counts.
    """

    options: Mapping[str, Option]
    required_if: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """Each rule: an option, one of its values, and the options that this value requires."""
    used_by: Mapping[str, Mapping[str, tuple[str, ...]]] = dataclasses.field(default_factory=dict)
    """For a choosing option such as ``state``: the choices that use each other option. Every choice uses an option that
    is not listed.
    """

    def __or__(self, other: Options) -> Options:
        """Return an object with the options and the rules of both."""
        return Options(
            {**self.options, **other.options},
            (*self.required_if, *other.required_if),
            {
                chooser: {**self.used_by.get(chooser, {}), **other.used_by.get(chooser, {})}
                for chooser in (*self.used_by, *other.used_by)
            },
        )

    def only(self, *names: str) -> Options:
        """Return an object with only these options and no rules."""
        return Options({name: self.options[name] for name in names})

    def for_ansible(self) -> dict[str, Any]:
        """Return ``argument_spec`` and ``required_if`` for AnsibleModule. They are copies, because Ansible changes what it gets."""
        spec: dict[str, Any] = {}
        for name, option in self.options.items():
            spec[name] = {key: copy.deepcopy(value) for key, value in option.items() if key != "options"}
            if "options" in option:
                suboptions = option["options"].for_ansible()
                spec[name].update(options=suboptions["argument_spec"], required_if=suboptions["required_if"])
        return {
            "argument_spec": spec,
            "required_if": [[option, value, list(needed)] for option, value, needed in self.required_if],
        }

    def refuse_unused(self, params: Mapping[str, Any]) -> None:
        """Refuse an option that is set although the chosen phase, state or layout does not use it.

        :raises TimesTenError: naming the option.
        """
        for chooser, used_by in self.used_by.items():
            chosen = params[chooser]
            for name, choices in used_by.items():
                is_set = params[name] and params[name] != self.options[name].get("default")
                if is_set and chosen not in choices:
                    raise TimesTenError(
                        f"{name}: is not used by {chooser} {chosen}, only by {' and '.join(choices)}; leave it out"
                    )


UTILITY = Options(
    {
        "timesten_home": {"type": "path", "required": True},
        "certificate_directory": {"type": "path", "required": True},
        "environment": {"type": "dict", "default": {}},
    }
)

WALLET = Options(
    {
        "common_name": {"type": "str"},
        "alt_names": {"type": "list", "elements": "str"},
        "rsa_key_size": {"type": "int"},
        "renew_before": {"type": "str", "default": "30d"},
        "regenerate": {
            "type": "str",
            "choices": ["never", "when_due", "when_changed", "always"],
            "default": "when_due",
        },
        "allow_home": {"type": "bool", "default": False},
    }
)

PROCESS = Options(
    {
        "insecure": {"type": "bool", "default": False},
        "rate_limit": {"type": "int", "default": 15},
        "pid_file": {"type": "path"},
        "log_file": {"type": "path"},
        "stop_signal": {"type": "str", "choices": ["TERM", "INT"], "default": "TERM"},
        "stop_timeout": {"type": "int", "default": 10},
        "start_timeout": {"type": "int", "default": 30},
        "force_kill": {"type": "bool", "default": False},
        "boot": {"type": "str", "choices": ["none", "cron", "systemd"], "default": "none"},
        "takeover": {"type": "bool", "default": False},
    }
)

CLIENT = Options(
    {
        "name": {"type": "str", "required": True},
        "recipient": {"type": "str"},
    }
)

RUN = Options(
    {
        "run": {
            "type": "dict",
            "default": {},
            "options": Options(
                {
                    "name": {"type": "str", "default": ""},
                    "controller": {"type": "str", "default": ""},
                    "process": {"type": "str", "default": ""},
                    "running": {"type": "list", "elements": "str"},
                }
            ),
        }
    }
)


def fault(
    given: Mapping[str, Any], options: Mapping[str, Any], lenient: tuple[str, ...] = (), place: str = ""
) -> str | None:
    """Return what is wrong with the first value that its option cannot hold; None if Ansible may convert all values.

    :param options: the argument spec. Ansible itself refuses options that it does not have.
    :param lenient: lists of mappings whose texts, except the name, are checked later, one element at a time.
    :param place: prefix for messages, for example ``exporters[2].``.
    """
    for name, value in given.items():
        spec = options.get(name)
        found = None if spec is None or value is None else _fault_of(name, value, spec, lenient, place)
        if found is not None:
            return found
    return None


def _fault_of(name: str, value: Any, spec: Mapping[str, Any], lenient: tuple[str, ...], place: str) -> str | None:
    at = f"{place}{name}"
    shown = "" if name in SECRETS or spec.get("no_log") else f"{show(value)} "
    found = wrong_type(at, value, spec, shown)
    if found is None and spec.get("type") == "float" and _is_endless(value):
        found = f"{at}: {shown}is not a number"
    if found is None and name not in _OF_MANY_LINES and (name == "name" or place[: place.find("[")] not in lenient):
        found = _wrong_text(at, value, spec, shown)
    if found is not None:
        return found
    if spec.get("elements") == "dict" and not isinstance(value, list):
        return f"{at}: {shown}is not a list of mappings"
    if "options" not in spec:
        return None
    if isinstance(value, Mapping):
        return fault(value, spec["options"], lenient, f"{at}.")
    for index, element in enumerate(value if isinstance(value, list) else ()):
        if not isinstance(element, Mapping):
            return f"{at}[{index}] is not a mapping"
        found = fault(element, spec["options"], lenient, f"{at}[{index}].")
        if found is not None:
            return found
    return None


def wrong_type(name: str, value: Any, spec: Mapping[str, Any], shown: str) -> str | None:
    """Return what is wrong with a value that Ansible would silently convert, or that would end in a traceback; None if
    nothing is.

    :param name: the option, for the message.
    :param shown: the value for the message, followed by a blank; empty if the message must not show it.
    """
    kind = spec.get("type", "str")
    if kind in ("str", "path", "int", "float", "bool") and isinstance(value, (Mapping, list)):
        what = "a mapping" if isinstance(value, Mapping) else "a list"
        return f"{name}: {shown}is {what}; give one value"
    if kind in ("int", "float") and isinstance(value, bool):
        return f"{name}: {shown}is not a number"
    if kind in ("int", "str", "path") and isinstance(value, float) and not math.isfinite(value):
        return f"{name}: {shown}is not a number"
    if kind == "int" and isinstance(value, str) and _is_endless(value):
        return f"{name}: {shown}is not a whole number"
    if kind in ("str", "path") and isinstance(value, bool):
        return f"{name}: {shown}is no text; quote it if this is meant"
    if kind == "list" and isinstance(value, (Mapping, bool)):
        return f"{name}: {shown}is not a list"
    if kind == "dict" and not isinstance(value, Mapping) and not _is_mapping(value):
        return f"{name}: {shown}is not a mapping"
    if kind == "list" and isinstance(value, list) and spec.get("elements") != "dict":
        for index, item in enumerate(value):
            place = f"{name}[{index}]"
            found = wrong_type(place, item, {"type": spec.get("elements", "str")}, f"{show(item)} " if shown else "")
            if found is not None or item is None:
                return found or f"{place} is empty"
    return None


def _wrong_text(name: str, value: Any, spec: Mapping[str, Any], shown: str) -> str | None:
    if spec.get("elements") in ("str", "path") and isinstance(value, (list, str)):
        listed = value if isinstance(value, list) else value.split(",")
        items = ((f"{name}[{index}]", item) for index, item in enumerate(listed))
        return next(
            (text for text in (_wrong_text(at, item, {}, f"{show(item)} ") for at, item in items) if text), None
        )
    if spec.get("type", "str") not in ("str", "path") or not isinstance(value, str):
        return None
    if not value.strip() and spec.get("default") != value:
        return f"{name}: {shown}is empty; leave it out, or give it a value"
    if len(value) > _LONGEST_TEXT:
        return f"{name}: {shown}has {len(value)} characters, more than {_LONGEST_TEXT}"
    if CONTROL.search(value):
        return f"{name}: {shown}holds a control character; take it out"
    return None


def _is_mapping(value: Any) -> bool:
    """Tell whether this is a text that Ansible converts to a mapping: JSON, or ``key=value``."""
    if not isinstance(value, str):
        return False
    from ansible.module_utils.common.validation import check_type_dict

    try:
        return isinstance(check_type_dict(value), Mapping)
    except TypeError:
        return False


def check_order(order: Any, place: str) -> Mapping[str, Any]:
    """Return the order if it says when a rotation switches one exporter: ``moments`` and ``deadline``.

    :raises TimesTenError: naming the key.
    """
    if not isinstance(order, Mapping):
        raise TimesTenError(f"{place}: {show(order)} is not a mapping with moments and deadline")
    moments = order.get("moments")
    if not isinstance(moments, list) or not all(is_number(moment) for moment in moments):
        raise TimesTenError(f"{place}.moments: {show(moments)} is not a list of seconds since the epoch")
    if not is_number(order.get("deadline")):
        raise TimesTenError(f"{place}.deadline: {show(order.get('deadline'))} is no number of seconds since the epoch")
    return order


def is_number(value: Any) -> bool:
    """Tell whether this is a finite number and not a truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST


def _is_endless(value: Any) -> bool:
    """Tell whether this is inf, nan or a number too large for a float. Ansible's conversion to int ends in a traceback
    for these.
    """
    try:
        return not math.isfinite(float(value))
    except OverflowError:
        return True
    except ValueError:
        return False


def show(value: Any) -> str:
    """Return a value for a message: short, and without a password in an address."""
    text = re.sub(r"//[^/\s]*@", "//...@", repr(value))
    return text if len(text) <= 80 else text[:77] + "..."
