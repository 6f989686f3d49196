# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the diff of a change: lines of the configuration and facts of certificates, never a secret."""

from __future__ import annotations

import difflib
from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import redact
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.decide import Plan
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.observe import Context, Observation

_RULE_LINES = 60


def file_diff(path: str, before: bytes, after: bytes) -> str:
    """Return the changed lines of a configuration file, without context lines and with possible secrets hidden.

    :returns: a unified diff; "" if nothing differs.
    """
    if before == after:
        return ""
    old, new = (data.decode("utf-8", "replace").splitlines() for data in (before, after))
    shown_old, shown_new = (redact.lines(data, path) for data in (before, after))
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    matcher = difflib.SequenceMatcher(None, old[start : len(old) - end], new[start : len(new) - end])
    lines = [f"--- {path}", f"+++ {path}"]
    for kind, *at in matcher.get_opcodes():
        if kind == "equal":
            continue
        first, last, begin, stop = (start + number for number in at)
        lines.append(f"@@ -{_span(first, last)} +{_span(begin, stop)} @@")
        lines += [f"-{line}" for line in shown_old[first:last]]
        lines += [f"+{line}" for line in shown_new[begin:stop]]
    return "".join(f"{line}\n" for line in lines)


def _span(first: int, last: int) -> str:
    length = last - first
    number = first + 1 if length else first
    return str(number) if length == 1 else f"{number},{length}"


def certificate_diff(plan: Plan, seen: Observation) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the facts of the client certificates that change, before and after. Never a key."""
    before, after = {}, {}
    for name, delivery in plan.switch.items():
        stored = seen.deliveries[name].in_use if name in seen.deliveries else None
        facts = (
            None
            if stored is None
            else {"delivery": stored.delivery, "sha256": stored.sha256, **(stored.certificate or {})}
        )
        before[name] = facts
        after[name] = None if delivery is None else {"delivery": delivery, "sha256": plan.expected[name].sha256}
    if plan.deliver:
        from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates

        for name, item in plan.deliver.items():
            certificate = certificates.load_one(item["certificate"].encode("utf-8"), f"exporter {name}: certificate")
            after[name] = certificates.facts(certificate)
    return before, after


def _rules_diff(path: str, plan: Plan) -> str:
    """Return the first of the changed lines of our rule file."""
    lines = file_diff(path, plan.rules_source or b"", plan.rules or b"").splitlines(keepends=True)
    rest = len(lines) - _RULE_LINES
    return "".join(lines[:_RULE_LINES]) + (f" ({rest} more changed lines of {path})\n" if rest > 0 else "")


def diff(ctx: Context, plan: Plan, seen: Observation) -> list[dict[str, Any]]:
    """Return the changes in the form that Ansible shows."""
    text = file_diff(ctx.config.path, plan.source, plan.edit.config)
    if ctx.settings.layout == "files" or plan.edit.scrape_file is not None:
        text += file_diff(ctx.scrape_file.path, plan.scrape_source or b"", plan.edit.scrape_file or b"")
    text += _rules_diff(ctx.rules_file.path, plan)
    before, after = certificate_diff(plan, seen)
    shown: list[dict[str, Any]] = [{"prepared": text}] if text else []
    if before != after:
        header = f"certificates of client {ctx.settings.name}"
        shown.append({"before_header": header, "after_header": header, "before": before, "after": after})
    return shown
