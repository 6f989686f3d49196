# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Prometheus host's side of a rotation: a detached process makes current whichever delivery matches the certificate
that the exporter serves.

It watches the port, so the clocks need not agree: the moments only say when to look more often. Both sides therefore
end in the same state, whether the exporter switches, stays or goes back, and even if the controller is gone.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import FILES
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.store import Store
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe

if TYPE_CHECKING:
    from ansible_collections.timesten.monitoring.plugins.module_utils.machine.detached import Record

FOLLOWING, RELEASED, ENDED, FAILED = "following", "released", "ended", "failed"

_AWAY = 0.02
"""Seconds between two looks while nothing listens, which costs the exporter nothing."""
_NEAR = 0.05
"""Seconds between two looks around a moment; each look is a handshake."""
_SLOW = 0.25
_AROUND = 1.0
"""Look more often from so many seconds before a moment on; the clocks may differ by so much."""
_AFTER = 10.0
_GRACE = 60.0
"""Go on for so many seconds after the deadline, because an exporter without confirmation goes back then."""
_TIMEOUT = 1.0


def record_of(store: Store) -> Record:
    """Return the record of the process that follows for one client."""
    # This import stands here because Ansible compiles everything that a module imports at every call, and most calls
    # follow nothing.
    from ansible_collections.timesten.monitoring.plugins.module_utils.machine.detached import Record

    return Record(store.follow_file)


def refuse_while_following(store: Store, run: Mapping[str, Any]) -> None:
    """End a following process whose run is gone.

    :param run: the run that asks.
    :raises TimesTenError: if a process of another run follows in this store.
    """
    if not os.path.lexists(store.follow_file):
        return
    record = record_of(store)
    if record.is_alive():
        from ansible_collections.timesten.monitoring.plugins.module_utils.machine import lease as _lease

        values = record.read() or {}
        left = {"run": values.get("run"), "until": values.get("deadline", 0) + _GRACE}
        hindered = _lease.hindrance(left, run, time.time())
        if hindered is not None:
            raise TimesTenError(
                f"process {values.get('pid')} follows in {store.path} a rotation of {hindered}; wait until it has ended"
            )
        _end(record)


def follow(
    store: Store,
    exporters: Sequence[Mapping[str, Any]],
    orders: Mapping[str, Mapping[str, Any]],
    run: Mapping[str, Any],
    rename: Callable[[str, str, str], None] | None = None,
) -> dict[str, Any]:
    """Start the process that follows the exporters.

    :param exporters: elements with ``name``, ``address``, ``port`` and the staged ``delivery``.
    :param orders: by exporter, ``moments`` (this host's clock, seconds since the epoch) and ``deadline``.
    :param rename: called with exporter, old and new delivery before the new one becomes current, if the jobs name
        deliveries.
    :raises TimesTenError: if another run's process still follows, or a delivery does not exist.
    """
    refuse_while_following(store, run)
    record = record_of(store)
    followers, faults = [], {}
    for item in exporters:
        name, order = item["name"], orders.get(item["name"])
        if order is None:
            continue
        try:
            if not item.get("delivery") or store.facts(name, item["delivery"]) is None:
                raise TimesTenError(
                    f"exporter {name}: delivery {item.get('delivery')} is not in {store.path} any more; run the rotation again"
                )
            followers.append(_Follower(store, item, order, rename))
        except (KeyError, TypeError, ValueError) as error:
            faults[name] = f"exporter {name}: its element or its order in switch cannot be used ({error!r})"
        except TimesTenError as error:
            faults[name] = error.message
    following = [follower.name for follower in followers]
    if not followers:
        return _with(faults, {"changed": False, "following": following})

    def work(token: str) -> None:
        _follow_all(record, token, followers)

    deadline = max(follower.deadline for follower in followers)
    record.launch(work, status=FOLLOWING, deadline=deadline, exporters={}, run=dict(run, running=None))
    return _with(faults, {"changed": True, "following": following})


def _with(faults: Mapping[str, str], result: dict[str, Any]) -> dict[str, Any]:
    """:raises TimesTenError: with the result, if an exporter has failed; the others are not affected."""
    if faults:
        rows = [{"name": name, "failed": True, "msg": text} for name, text in faults.items()]
        raise TimesTenError("; ".join(faults.values()), **result, exporters=rows)
    return result


def release(store: Store, exporters: Sequence[Mapping[str, Any]], keep: int, check_mode: bool) -> dict[str, Any]:
    """End the following process, and remove the deliveries that are not kept. The caller holds the store's lock.

    :param exporters: elements with ``name`` and the staged ``delivery``, which is removed if it did not become current.
    """
    record = record_of(store)
    seen: dict[str, Any] = {}
    if record.is_alive() and not check_mode:
        seen = _end(record)
    faults = {}
    for item in exporters:
        name, delivery = item["name"], item.get("delivery")
        if check_mode or delivery is None:
            continue
        try:
            if store.current(name) == delivery:
                store.prune(name, keep)
            else:
                store.drop(name, delivery)
        except TimesTenError as error:
            faults[name] = error.message
    return _with(faults, {"changed": False, "followed": seen.get("exporters", {})})


def _end(record: Record) -> dict[str, Any]:
    """End the following process and return its last record."""
    record.ask("release")
    return record.wait(lambda values: values.get("status") != FOLLOWING, 10 * _TIMEOUT)


def _follow_all(record: Record, token: str, followers: Sequence[_Follower]) -> None:
    over = threading.Event()
    threads = [threading.Thread(target=follower.run, args=(over,), daemon=True) for follower in followers]
    for thread in threads:
        thread.start()
    status = ENDED
    while any(thread.is_alive() for thread in threads):
        if record.asked(token) == "release":
            status = RELEASED
            over.set()
            break
        time.sleep(0.05)
    for thread in threads:
        thread.join(5 * _TIMEOUT)
    record.write(status=status, exporters={follower.name: follower.events for follower in followers})


class _Follower:
    """Follows one exporter.

    :ivar events: what it did: moment, delivery made current, and the seconds for which the exporter had been away.
    """

    def __init__(
        self,
        store: Store,
        item: Mapping[str, Any],
        order: Mapping[str, Any],
        rename: Callable[[str, str, str], None] | None,
    ) -> None:
        self.name = item["name"]
        self.deadline = float(order["deadline"])
        self.events: list[dict[str, Any]] = []
        self._store = store
        self._rename = rename
        self._host, self._port = item["address"], item["port"]
        self._moments = [float(moment) for moment in order["moments"]]
        self._new = item["delivery"]
        self._old = store.current(self.name)
        self._away: float | None = None

    def run(self, over: threading.Event) -> None:
        """Follow until it is released, the switch was made and undone, or the deadline is well past."""
        while not over.is_set() and time.time() < self.deadline + _GRACE:
            if sum("delivery" in event for event in self.events) == 2:
                return
            current = self._store.current(self.name)
            if current not in (self._old, self._new):
                # Somebody else has delivered a third one, so this process leaves it alone.
                return
            other = self._new if current == self._old else self._old
            try:
                self._look(current, other)
            except (TimesTenError, OSError) as error:
                self.events.append({"moment": time.time(), "error": str(error)})
                over.wait(_SLOW)
            over.wait(self._pause())

    def _look(self, current: str | None, other: str | None) -> None:
        """Make the other delivery current if it trusts the certificate that the exporter serves and the current one
        does not.
        """
        status = self._shake(other)
        if status == probe.UNREACHABLE:
            self._away = self._away or time.time()
        elif status == probe.ACCEPTED and self._shake(current) != probe.ACCEPTED:
            if self._rename is not None and current is not None and other is not None:
                self._rename(self.name, current, other)
            self._store.switch(self.name, other)
            away = None if self._away is None else round(time.time() - self._away, 3)
            self.events.append({"moment": time.time(), "delivery": other, "away": away})
            self._away = None
        elif status != probe.TIMED_OUT:
            self._away = None

    def _shake(self, delivery: str | None) -> str:
        if delivery is None:
            return "no delivery"
        place = self._store.directory(self.name, delivery)
        authority, certificate, key = (os.path.join(place, name) for name in FILES)
        return probe.tls(self._host, self._port, authority, certificate, key, timeout=_TIMEOUT, settle=0.0).status

    def _pause(self) -> float:
        now = time.time()
        near = any(moment - _AROUND < now < moment + _AFTER for moment in self._moments) and not self.events
        if self._away is not None:
            return _AWAY
        return _NEAR if near else _SLOW
