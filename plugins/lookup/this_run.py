# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup that says who runs this playbook and where, and which other runs are active on this controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: this_run
short_description: Who runs this playbook
version_added: 1.0.0
description:
  - Says who runs the playbook, so that a second run on the same host can be told. Also says which runs of Ansible are
    active on the controller, so that a later run can take over what a killed run left.
options:
  running:
    description: Whether to list the active runs. This reads every process of the controller.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Who am I?
  ansible.builtin.debug:
    msg: "{{ lookup('timesten.monitoring.this_run').name }}"
"""

RETURN = r"""
_raw:
  description:
    - One element with C(name) (user, controller and process, for people), C(controller) and C(process). If
      O(running=true) and the controller's system tells, also C(running) (the C(process) of each run).
  type: list
  elements: dict
  sample:
    - name: "alice@ctl1 (process 4242)"
      controller: ctl1/4026531836
      process: 4242/981234
      running: [4242/981234]
"""

import getpass
import multiprocessing
import os
import platform
from typing import Any

from ansible.plugins.lookup import LookupBase


def _process(pid: int) -> str | None:
    """Return an id of a process that a later process with the same number does not have; None if there is no process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name in parentheses may hold anything; the start in clock ticks is the 20th field after it (proc_pid_stat(5)).
            return f"{pid}/{file.read().rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return None


def _controller() -> str:
    """Return an id of the controller. A container with the same host name has its own process numbers, so the id
    includes that.
    """
    try:
        return f"{platform.node()}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return platform.node()


def _running() -> list[str] | None:
    """Return the processes that look like Ansible; None if the system does not tell."""
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return None
    found = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"ansible" in file.read():
                    found.append(_process(pid))
        except OSError:
            continue
    return [process for process in found if process is not None]


def this_run(running: bool = False) -> dict[str, Any]:
    """Return who runs this playbook."""
    # A worker process may template a task's arguments; its parent is the run.
    parent = multiprocessing.parent_process()
    pid = os.getpid() if parent is None else parent.pid or os.getpid()
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = str(os.getuid())
    found: dict[str, Any] = {
        "name": f"{user}@{platform.node()} (process {pid})",
        "controller": _controller(),
        "process": _process(pid) or str(pid),
    }
    if running:
        others = _running()
        if others is not None:
            found["running"] = sorted({*others, found["process"]})
    return found


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup plugin."""

    def run(self, terms: Any, variables: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Return a list with one element."""
        self.set_options(var_options=variables, direct=kwargs)
        return [this_run(self.get_option("running"))]
