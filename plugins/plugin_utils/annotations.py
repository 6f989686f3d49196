# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adds annotations to Grafana with the collection ``community.grafana``, if that is installed on the controller."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ansible.plugins.loader import callback_loader

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.plugin_utils.web import SECONDS, Server, within

SENDER = "community.grafana.grafana_annotations"
VARIABLE = "rotate_annotation"


@dataclasses.dataclass
class _Listener:
    """Replaces the display of that callback. It only records the error, because the callback raises none."""

    heard: list[str] = dataclasses.field(default_factory=list)

    def error(self, text: str, *_arguments: Any, **_keywords: Any) -> None:
        self.heard.append(text)

    def debug(self, *_arguments: Any, **_keywords: Any) -> None:
        """Ignored: it is the callback's debug output."""

    warning = error


def add(url: str, token: str, began: float, ended: float, text: str, tags: Sequence[str]) -> None:
    """Add an annotation to Grafana.

    :param began: start of the annotated time in seconds since the epoch; ``ended`` is its end.
    :raises TimesTenError: if the annotation was not added; the message begins with the variable.
    """
    address = url.rstrip("/") + "/api/annotations"
    listener = _Listener()
    annotation = {"time": int(began * 1000), "timeEnd": int(ended * 1000), "tags": list(tags), "text": text}
    try:
        sender = callback_loader.get(SENDER)
        if sender is None:
            raise TimesTenError(
                f"{VARIABLE}: the collection community.grafana is not installed on this controller; install it (ansible-galaxy collection install "
                "community.grafana), or leave the variable out"
            )
        server = Server(VARIABLE, url)
        # The sender would follow a redirection and send the token there too.
        status, _said = server.request("GET", "/api/health")
        if 300 <= status < 400:
            raise TimesTenError(
                f"{VARIABLE}: {url} redirects to another address (status {status}); name the one that answers"
            )
        sender.set_options(direct={"grafana_url": address, "grafana_api_key": token})
        sender._display = listener
        within(SECONDS, lambda: sender._send_annotation(annotation))
    except AttributeError as error:
        raise TimesTenError(
            f"{VARIABLE}: the community.grafana that is installed on this controller has no {SENDER} that this collection knows ({error}); "
            "it was tried with 2.3.0"
        ) from error
    except TimeoutError as error:
        raise TimesTenError(f"{VARIABLE}: {address} did not answer within {SECONDS:g} s") from error
    except TimesTenError:
        raise
    except Exception as error:
        # This is another project's code. Whatever it raises, the rotation is over and has to be reported.
        said = _told(url, token, str(error)) or type(error).__name__
        raise TimesTenError(f"{VARIABLE}: {SENDER} cannot be used: {said}") from error
    if listener.heard:
        said = _told(url, token, "; ".join(listener.heard))
        raise TimesTenError(f"{VARIABLE}: {address} has not taken the annotation: {said}")


def _told(url: str, token: str, text: str) -> str:
    return Server(VARIABLE, url, password=token).told(text)
