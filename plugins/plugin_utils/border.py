# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The border between controller and managed host: makes one module call, and only the parser sees its raw answer.

A call never raises and never fails its task. A failure is an answer too, so one host's failure ends neither the run nor
the table at its end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from typing import Any, Callable, Iterator, Mapping, Sequence

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.timesten.monitoring.plugins.plugin_utils import answers, steps, words
from ansible_collections.timesten.monitoring.plugins.plugin_utils.inventory import Inventory
from ansible_collections.timesten.monitoring.plugins.plugin_utils.rotation import Clock

Step = Callable[[Any, dict[str, Any]], dict[str, Any]]

_TIME = re.compile(r"^(\d{1,12}\.\d{1,9})\s*$", re.MULTILINE)


def step_of(steps: Mapping[str, Step], option: str, value: Any) -> Step:
    """Return how a phase or state is carried out with arguments from the inventory.

    :raises AnsibleError: if it cannot be, because it needs arguments of its own.
    """
    if not isinstance(value, str) or value not in steps:
        raise AnsibleError(
            f"{option}: {str(value)[:40]!r} is none that from_inventory can do ({', '.join(steps)}); leave from_inventory out and give the "
            "module's own options"
        )
    return steps[value]


class HostAction(ActionBase):  # type: ignore[misc]
    """An action that calls modules on a managed host and trusts nothing in their answers."""

    inventory: Inventory
    _printed: str
    _answer: dict[str, Any] | None

    def call(self, module: str, arguments: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run a module on the host. Return its raw result or, if it could not run, the reason in the form of a result.

        :param module: name of a module of this collection, or a full name.
        """
        try:
            return self.call_or_raise(module, arguments, task_vars)
        except AnsibleConnectionFailure as error:
            return {"failed": True, "unreachable": True, "msg": str(error)}
        except AnsibleError as error:
            return {"failed": True, "msg": str(error)}
        finally:
            # The next call may run as another user, who cannot use this user's temporary directory.
            with contextlib.suppress(AnsibleError):
                self.cleanup(force=True)

    def call_or_raise(self, module: str, arguments: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run a module on the host and return its raw result.

        :raises AnsibleError: if the host cannot be reached, as for any module call.
        """
        name = module if "." in module else f"timesten.monitoring.{module}"
        self._printed, self._answer = "", None
        try:
            raw = dict(self._execute_module(module_name=name, module_args=dict(arguments), task_vars=task_vars))
        except answers.Nonsense as error:
            return {"failed": True, "msg": str(error)}
        # Where there is no answer, the reason why may stand anywhere in what was printed.
        return {**raw, "module_stdout": self._printed} if self._answer is None else self._answer

    def public(self, parse: Callable[[], Any]) -> dict[str, Any]:
        """Return the result of a task with plain arguments: only the documented return values."""
        try:
            answer = parse()
        except answers.Nonsense as error:
            return {"failed": True, "msg": str(error)}
        found: dict[str, Any] = answer.as_dict()
        if not self._task.diff:
            found.pop("diff", None)
        return found

    def registered(
        self, parsed: Sequence[Any], handed_on: Mapping[str, Any], clock: Clock | None = None
    ) -> dict[str, Any]:
        """Return the result of a task with arguments from the inventory: the values for the next step, and what people
        see.

        In this collection's playbooks the table at the end reports failures and fails the run. Elsewhere the task
        itself has to fail.
        """
        changed = any(answer.changed for answer in parsed)
        found: dict[str, Any] = {"changed": changed, "reading": steps.reading(), **handed_on}
        warnings = [
            words.in_words(text, words.EXPORTER if isinstance(answer, answers.ExporterHostAnswer) else words.PROMETHEUS)
            for answer in parsed
            for text in answer.warnings
        ]
        if warnings:
            found["warnings"] = list(dict.fromkeys(warnings))
        diff = [item for answer in parsed for item in answer.as_dict().get("diff") or []]
        if self._task.diff and diff:
            found["diff"] = diff
        if clock is not None:
            found["clock"] = dataclasses.asdict(clock)
        reasons = [answer.failed for answer in parsed if answer.failed is not None]
        if reasons and not self.inventory.is_reported:
            found.update(failed=True, msg="; ".join(dict.fromkeys(reasons)))
        return found

    def measured_clock(self) -> Clock:
        """Return how far the host's clock is off. If the host does not tell, its clock counts as the controller's."""
        try:
            return self.clock()
        except AnsibleError:
            return Clock()

    def _parse_returned_data(self, res: dict[str, Any], *arguments: Any, **keywords: Any) -> Any:
        """Keep the answer for the parser, and give Ansible an empty one.

        Ansible itself believes a lot: it shows warnings and what follows an answer as they are, and makes objects of its own of what names them.
        """
        self._printed = res.get("stdout", "")
        self._answer = answers.decoded(self._printed)
        # What is left finds the interpreter that is missing.
        left = self._printed.replace("{", "(") if self._answer is None else "{}"
        return super()._parse_returned_data({**res, "stdout": left}, *arguments, **keywords)

    @contextlib.contextmanager
    def as_user(self, user: str | None) -> Iterator[None]:
        """Run the calls inside as another user of the host; without a name, as the login user."""
        become = self._connection.become
        if become is None:
            yield
            return
        before = become.get_option("become_user", playcontext=self._play_context)
        try:
            if user is None:
                self._connection.set_become_plugin(None)
            else:
                become.set_option("become_user", user)
            yield
        finally:
            self._connection.set_become_plugin(become)
            become.set_option("become_user", before)

    def clock(self, rounds: int = 4) -> Clock:
        """Ask for the host's date several times; the fastest answer counts.

        :raises AnsibleError: if the host cannot be reached or returns no time.
        """
        measured = []
        for _round in range(max(1, rounds)):
            before, began = time.time(), time.monotonic()
            answer = self._low_level_execute_command("date +%s.%N", sudoable=False)
            took = time.monotonic() - began
            match = _TIME.search(str(answer.get("stdout", ""))[:1000])
            if answer.get("rc") != 0 or match is None:
                said = answers.plain(f"{answer.get('stdout', '')!r} {answer.get('stderr', '')!r}", 200)
                raise AnsibleError(
                    f"'date +%s.%N' answered {said} (status {answer.get('rc')}), no time with a fraction of a second"
                )
            measured.append(Clock(round(float(match.group(1)) - (before + took / 2), 4), round(took / 2, 4)))
        return min(measured, key=lambda clock: clock.uncertainty)
