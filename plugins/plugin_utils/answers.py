# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The border: turns the raw result of a module call into a typed answer, or raises Nonsense.

A managed host may be hostile, so nothing that it says is trusted. Keys that the contract does not name are dropped,
every value has one type and a range, and a name counts only if the call asked for it. What is left is safe to show, to
compare, and to pass on to other hosts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, cast, get_args

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import age, seal
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.transport_keys import is_age
from ansible_collections.timesten.monitoring.plugins.plugin_utils import checks
from ansible_collections.timesten.monitoring.plugins.plugin_utils.checks import Nonsense, optional, plain
from ansible_collections.timesten.monitoring.plugins.plugin_utils.diffs import LINES, diff_lines, shorten, text_lines
from ansible_collections.timesten.monitoring.plugins.plugin_utils.failures import NO_ANSWER, reason

__all__ = ["Nonsense", "diff_lines", "plain", "reason"]

Phase = Literal["converge", "stage", "switch", "status", "confirm", "revert", "retire", "release", "forget"]
State = Literal["inspected", "present", "verified", "absent", "staged", "following", "released"]
Status = Literal["waiting", "switched", "confirmed", "reverted", "missed", "failed", "lost"]
Strategy = Literal["gap", "spare_port"]
Source = Literal["export", "handshake", "none"]
ProcessState = Literal["started", "stopped"]
Layout = Literal["inline", "files", "template"]
Health = Literal["up", "down", "unknown"]
Reload = Literal["http", "systemd", "signal"]

LATER = "known after apply"
"""Check mode returns this text for a value that only the real run can make."""

SIZE_LIMIT = 16 * 1024 * 1024
"""The largest raw answer in bytes.

The largest honest answers: a new pair with certificate and sealed key has 5 KB, so an exporter host may send 3,000
pairs in one call (300 exporters for ten clients). A Prometheus host's answer about 1,000 exporters, with the diff of
their jobs, has 3 MB.
"""
PARTS_LIMIT = 1_000_000
"""The largest number of commas and brackets in a raw answer: each byte of them may need 60 bytes of memory. 3,000 new
pairs have 200,000.
"""

_SCHEMES_OF_RELOAD = get_args(Reload)
_ROTATED = ("switch", "status", "confirm", "revert", "retire", "release")
_SWITCHED = ("switch", "status", "confirm", "revert", "retire")
_GENERATIONS_MOST = 1000


def check_size(raw: bytes | str) -> None:
    """Refuse an answer that is too large before it is parsed.

    :raises Nonsense: naming its size.
    """
    size = len(raw)
    if size > SIZE_LIMIT:
        raise Nonsense("the answer", f"has {size} bytes, more than {SIZE_LIMIT}")
    marks: tuple[Any, ...] = (b",", b"[", b"{") if isinstance(raw, bytes) else (",", "[", "{")
    parts = sum(raw.count(mark) for mark in marks)
    if parts > PARTS_LIMIT:
        raise Nonsense("the answer", f"has {parts} parts, more than {PARTS_LIMIT}")


def decoded(printed: str) -> dict[str, Any] | None:
    """Return the answer in what a module printed: the first object that begins a line. None if there is none.

    :raises Nonsense: if it is too large or nested too deep.
    """
    check_size(printed)
    begin = _BEGIN.search(printed)
    if begin is None:
        return None
    try:
        answer, _end = json.JSONDecoder().raw_decode(printed, begin.end() - 1)
    except ValueError:
        return None
    except RecursionError:
        raise Nonsense("the answer", "is nested too deep") from None
    return cast("dict[str, Any]", answer)


_BEGIN = re.compile(r"^[^\S\n]*\{", re.MULTILINE)


# --- what an exporter host answers --------------------------------------------------------------------------------------


class _Answer:
    """Common base of all answers."""

    def as_dict(self) -> dict[str, Any]:
        """Return the answer in plain JSON types, without unknown values."""
        return cast("dict[str, Any]", _plain_json(self))


@dataclasses.dataclass(frozen=True)
class Certificate(_Answer):
    """Facts of the server's own certificate."""

    subject: str
    issuer: str
    common_name: str | None
    alt_names: tuple[str, ...]
    not_before: str
    not_after: str
    sha256: str
    is_ca: bool
    self_signed: bool
    key: str


@dataclasses.dataclass(frozen=True)
class Pair(_Answer):
    """The pair of one client. In check mode ``delivery`` and the facts may be ``LATER`` or None.

    :ivar bundle: the sealed key, whose fields name this exporter, client, generation and certificate; for an outsider,
        an armored age file.
    """

    client: str
    delivery: str | None = None
    sha256: str | None = None
    not_before: str | None = None
    not_after: str | None = None
    certificate: str | None = None
    bundle: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None


@dataclasses.dataclass(frozen=True)
class Process(_Answer):
    """The process of an exporter."""

    state: ProcessState
    pid: int | None = None
    manager: str | None = None


@dataclasses.dataclass(frozen=True)
class Rotation(_Answer):
    """What a rotation would switch for one exporter.

    :ivar skipped: why the exporter takes no part; only ``evicted`` is set besides.
    """

    skipped: str | None = None
    evicted: tuple[str, ...] = ()
    from_generation: str | None = None
    to_generation: str | None = None
    old_sha256: str | None = None
    new_sha256: str | None = None
    restart_seconds: float | None = None
    restart_measured: bool | None = None
    clients: tuple[str, ...] = ()
    strategy: Strategy | None = None
    has_spare_port: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as :class:`_Answer` does, but with the clients even if there are none."""
        row = super().as_dict()
        if self.skipped is None:
            row.setdefault("clients", [])
        return row


@dataclasses.dataclass(frozen=True)
class ExporterAnswer(_Answer):
    """A host's answer about one exporter that the call asked for.

    :ivar failed: why it failed, or None.
    :ivar pairs: pairs by client, only for clients that the call asked for.
    :ivar previous: the generation before ``generation``, if the host still has one.
    :ivar removed: ids of removed generations; for a removed exporter, names in its directory, for people.
    :ivar clients: in the phase ``forget``, the clients that still have a pair.
    """

    name: str
    phase: Phase
    changed: bool
    failed: str | None = None
    lost_clients: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    insecure: bool | None = None
    port: int | None = None
    spare: bool | None = None
    generation: str | None = None
    previous: str | None = None
    rotation_due: str | None = None
    evicted: tuple[str, ...] = ()
    pairs: Mapping[str, Pair] = dataclasses.field(default_factory=dict)
    ca_certificate: str | None = None
    ca_sha256: str | None = None
    server_certificate: Certificate | None = None
    server_certificate_source: Source | None = None
    alt_names: tuple[str, ...] | None = None
    unfit: tuple[str, ...] = ()
    due: str | None = None
    due_at: str | None = None
    ca_not_after: str | None = None
    wallet_directory: str | None = None
    process: Process | None = None
    rate_limit: int | None = None
    leftover_unit: str | None = None
    needs_unit: bool = False
    unattended: str | None = None
    rotation: Rotation | None = None
    status: Status | None = None
    moment: float | None = None
    window: float | None = None
    error: str | None = None
    old_pair_refused: bool | None = None
    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    forgotten: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    clients: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the element of ``exporters`` that this was parsed from."""
        row = super().as_dict()
        del row["phase"]
        if self.rotation is not None:
            row["rotation"] = self.rotation.as_dict()
        if self.failed is not None:
            row.update(failed=True, msg=self.failed)
        elif self.phase in ("converge", "stage"):
            row.setdefault("pairs", [])
        elif self.phase == "forget":
            row.setdefault("forgotten", {})
        return row


@dataclasses.dataclass(frozen=True)
class ExporterHostAnswer(_Answer):
    """The answer of an exporter host.

    :ivar failed: why the call failed, or None. Some exporters may be done even if it failed.
    :ivar exporters: by name, one for every exporter that the call asked for; empty if check mode does not simulate the
        phase.
    :ivar diff: by exporter, at most ten lines.
    """

    host: str
    phase: Phase
    changed: bool
    failed: str | None
    warnings: tuple[str, ...]
    exporters: Mapping[str, ExporterAnswer]
    diff: Mapping[str, tuple[str, ...]]

    def as_dict(self) -> dict[str, Any]:
        """Return the result that this was parsed from, without keys that the contract does not name."""
        result: dict[str, Any] = {
            "changed": self.changed,
            "exporters": [exporter.as_dict() for exporter in self.exporters.values()],
            "warnings": list(self.warnings),
            "diff": [
                {"before_header": name, "after_header": name, "prepared": "\n".join(lines)}
                for name, lines in self.diff.items()
            ],
        }
        return result if self.failed is None else {**result, "failed": True, "msg": self.failed}


# --- what a Prometheus host answers -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Stored(_Answer):
    """The delivery of an exporter that is in use and complete on a Prometheus host."""

    delivery: str
    sha256: str
    ca_sha256: str
    not_after: str


@dataclasses.dataclass(frozen=True)
class Scrape(_Answer):
    """The last scrape of an exporter."""

    scraped: float
    took: float
    interval: float
    health: Health


@dataclasses.dataclass(frozen=True)
class Followed(_Answer):
    """One event of a rotation's following process: a delivery made current, or an error."""

    moment: float
    delivery: str | None = None
    away: float | None = None
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Proof(_Answer):
    """The observed facts of one exporter; None for what was not tried.

    :ivar failed: whether the host gave no answer about it.
    """

    name: str
    why: tuple[str, ...] = ()
    up: bool | None = None
    last_error: str = ""
    advice: str = ""
    accepted: bool | None = None
    refused_without_certificate: bool | None = None
    refused_foreign_pair: bool | None = None
    refused_plain_http: bool | None = None
    served_sha256: str | None = None
    not_after: str | None = None
    failed: str | None = None


@dataclasses.dataclass(frozen=True)
class PrometheusAnswer(_Answer):
    """The answer of one client's host. Values that the state does not return are empty or None.

    :ivar exporters: by name; in the states ``present`` and ``verified`` one for every exporter that the call asked for.
    :ivar definitions: by exporter, the source of its job: exactly the argument of :func:`prometheus.jobs.build`.
    :ivar other_definitions: the same for other fleets that share the Prometheus.
    :ivar in_the_way: in the state ``inspected``, by exporter, the hand-written job that conflicts with ours, and what
        to do.
    :ivar scrapes_by_hand: by exporter, the last scrape by its hand-written job.
    :ivar unmentioned: exporters of this client that the call did not ask for. This list, ``removed``, ``stored``,
        ``scrape_intervals`` and ``definitions`` may name exporters of other runs.
    """

    host: str
    state: State
    client: str
    changed: bool
    failed: str | None = None
    warnings: tuple[str, ...] = ()
    diff: tuple[str, ...] = ()
    transport_key: str | None = None
    stored: Mapping[str, Stored] = dataclasses.field(default_factory=dict)
    scrape_interval: float | None = None
    scrape_intervals: Mapping[str, float] = dataclasses.field(default_factory=dict)
    definitions: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    other_definitions: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    layout: Layout | None = None
    version: str | None = None
    revision: str | None = None
    exporters: Mapping[str, Proof] = dataclasses.field(default_factory=dict)
    reloaded: Reload | None = None
    removed: tuple[str, ...] = ()
    unmentioned: tuple[str, ...] = ()
    in_the_way: Mapping[str, str] = dataclasses.field(default_factory=dict)
    scrapes_by_hand: Mapping[str, Scrape] = dataclasses.field(default_factory=dict)
    scrapes: Mapping[str, Scrape] = dataclasses.field(default_factory=dict)
    following: tuple[str, ...] = ()
    followed: Mapping[str, tuple[Followed, ...]] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the result that this was parsed from, without keys that the contract does not name."""
        result: dict[str, Any] = {"changed": self.changed, "name": self.client, "warnings": list(self.warnings)}
        if self.failed is not None:
            result.update(failed=True, msg=self.failed)
        for key in _KEYS[self.state]:
            value = getattr(self, key)
            if value is not None and (self.failed is None or key in _KEYS_OF_FAILURE):
                result[key] = _plain_json(value)
        if "exporters" in result:
            result["exporters"] = [proof.as_dict() for proof in self.exporters.values()]
        if "reloaded" in _KEYS[self.state] and self.failed is None:
            result["reloaded"] = self.reloaded or False
        if self.diff:
            result["diff"] = [{"prepared": "\n".join(self.diff)}]
        return result


_KEYS: dict[State, tuple[str, ...]] = {
    "inspected": (
        "transport_key",
        "stored",
        "scrape_interval",
        "scrape_intervals",
        "definitions",
        "other_definitions",
        "layout",
        "in_the_way",
        "scrapes_by_hand",
        "version",
        "revision",
    ),
    "present": ("exporters", "reloaded", "removed", "unmentioned", "version", "revision"),
    "verified": ("exporters", "version", "revision"),
    "absent": ("removed", "reloaded"),
    "staged": ("scrapes", "revision"),
    "following": ("following",),
    "released": ("followed",),
}
"""The values that each state returns."""
_MAY_BE_NULL = ("layout", "version", "other_definitions", "in_the_way", "scrapes_by_hand")
_KEYS_OF_FAILURE = ("exporters",)


def _plain_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if item is None or (
                field.default is not dataclasses.MISSING and item in ((), "") and item == field.default
            ):
                continue
            if field.default_factory is not dataclasses.MISSING and not item:
                continue
            key = {"from_generation": "from", "to_generation": "to"}.get(field.name, field.name)
            # The raw answer has a list, because each element contains its name.
            fields[key] = _plain_json(list(item.values()) if field.name == "pairs" else item)
        return fields
    if isinstance(value, Mapping):
        return {key: _plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_json(item) for item in value]
    return value


# --- parse: an exporter host --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Call:
    """What a call asked of an exporter host."""

    phase: Phase
    exporters: frozenset[str]
    clients: frozenset[str]
    recipients: Mapping[str, str]
    check_mode: bool


def parse_exporter_host(
    raw: object,
    *,
    phase: Phase,
    host: str,
    exporters: Collection[str],
    clients: Collection[str],
    check_mode: bool,
    recipients: Mapping[str, str] | None = None,
) -> ExporterHostAnswer:
    """Return the answer in the raw result of tt_exporter_host.

    :param exporters: the exporters that the call asked for.
    :param clients: the clients that the call asked for; in the phase ``forget``, the clients to forget.
    :param recipients: by client, the transport key of the call, for which the bundles have to be sealed.
    :raises Nonsense: naming the field.
    """
    call = _Call(phase, frozenset(exporters), frozenset(clients), recipients or {}, check_mode)
    given = checks.fields(raw, "the answer", 1000)
    failed = _failure(given)
    by_name: dict[str, ExporterAnswer] = {}
    elements = given.get("exporters")
    if elements is None and failed is None:
        raise Nonsense("exporters", "is missing")
    for index, element in enumerate(
        checks.items([] if elements is None else elements, "exporters", len(call.exporters))
    ):
        answer = _exporter(element, f"exporters[{index}]", call)
        if answer.name in by_name:
            raise Nonsense(f"exporters[{index}].name", f"is there twice: {answer.name}")
        by_name[answer.name] = answer
    idle = check_mode and phase in _ROTATED and failed is None and not by_name
    if not idle:
        failure = NO_ANSWER if failed is None or by_name else failed
        for name in exporters:
            by_name.setdefault(name, ExporterAnswer(name, phase, False, failure))
    return ExporterHostAnswer(
        host=host,
        phase=phase,
        changed=checks.truth(given.get("changed", False), "changed"),
        failed=failed,
        warnings=_warnings(given.get("warnings")),
        exporters={} if idle else {name: by_name[name] for name in exporters},
        diff=_exporter_diffs(given.get("diff"), call.exporters),
    )


def _some(given: Mapping[str, Any], key: str) -> Any:
    """Return a list that may be missing."""
    return [] if given.get(key) is None else given[key]


def _failure(given: Mapping[str, Any]) -> str | None:
    failed = [checks.truth(given.get(key, False), key) for key in ("failed", "unreachable")]
    return reason(given) if any(failed) else None


def _warnings(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    listed = [_warning(item) for item in checks.items(value, "warnings", checks.NAMES_MOST)]
    return checks.texts(listed, "warnings")


def _warning(value: Any) -> Any:
    """Return a warning's text; ansible-core 2.19 and later wraps it in an object."""
    if isinstance(value, dict):
        event = value.get("event")
        return event.get("msg") if isinstance(event, dict) else value
    return value if isinstance(value, str) else getattr(getattr(value, "event", None), "msg", value)


def _exporter(value: Any, where: str, call: _Call) -> ExporterAnswer:
    given = checks.fields(value, where, 1000)
    name = checks.asked_name(given.get("name"), f"{where}.name", call.exporters)
    changed = checks.truth(given.get("changed", False), f"{where}.changed")
    if checks.truth(given.get("failed", False), f"{where}.failed"):
        return ExporterAnswer(
            name,
            call.phase,
            changed,
            reason({"msg": checks.text(given.get("msg"), f"{where}.msg", 4000)}),
            checks.distinct_names(_some(given, "lost_clients"), f"{where}.lost_clients"),
        )
    parts: dict[str, Any] = {}
    if call.phase in ("converge", "stage"):
        parts = _made(given, where, call, name)
        if call.phase == "stage":
            parts["rotation"] = _rotation(given.get("rotation"), f"{where}.rotation", call)
            if parts["rotation"].skipped is None and parts["rotation"].to_generation != parts["generation"]:
                raise Nonsense(f"{where}.rotation.to", f"is not the generation of the answer, {parts['generation']}")
    elif call.phase in _SWITCHED:
        parts = _switched(given, where, call)
    elif call.phase == "forget":
        parts = _forgotten(given, where, call)
    return ExporterAnswer(name, call.phase, changed, **parts)


def _made(given: Mapping[str, Any], where: str, call: _Call, name: str) -> dict[str, Any]:
    """Return the answer of the phases converge and stage."""
    generation = _later(given.get("generation"), f"{where}.generation", call, checks.generation)
    parts = {
        "why": checks.texts(_some(given, "why"), f"{where}.why"),
        "insecure": checks.truth(given.get("insecure"), f"{where}.insecure"),
        "port": checks.port(given.get("port"), f"{where}.port"),
        "spare": checks.truth(given.get("spare"), f"{where}.spare"),
        "generation": generation,
        "previous": optional(checks.generation, given.get("previous"), f"{where}.previous"),
        "rotation_due": optional(checks.text, given.get("rotation_due"), f"{where}.rotation_due"),
        # The call may not name evicted clients.
        "evicted": checks.distinct_names(given.get("evicted") or [], f"{where}.evicted"),
        "pairs": _pairs(given.get("pairs"), f"{where}.pairs", call, name, generation),
        "ca_sha256": _later(given.get("ca_sha256"), f"{where}.ca_sha256", call, checks.sha256),
        **_known_certificates(given, where),
        "alt_names": optional(checks.hosts, given.get("alt_names"), f"{where}.alt_names"),
        "unfit": checks.texts(_some(given, "unfit"), f"{where}.unfit"),
        "wallet_directory": optional(checks.path, given.get("wallet_directory"), f"{where}.wallet_directory"),
        "process": optional(_process, given.get("process"), f"{where}.process"),
        "rate_limit": optional(checks.whole, given.get("rate_limit"), f"{where}.rate_limit", 1, 1000),
        "removed": checks.texts(_some(given, "removed"), f"{where}.removed"),
        "left": checks.texts(_some(given, "left"), f"{where}.left"),
        "needs_unit": checks.truth(given.get("needs_unit", False), f"{where}.needs_unit"),
        "unattended": optional(checks.text, given.get("unattended"), f"{where}.unattended"),
    }
    own = f"timesten-exporter-{name}.service"
    if given.get("leftover_unit") is not None:
        if given["leftover_unit"] != own:
            raise Nonsense(f"{where}.leftover_unit", f"is not {own}: {checks.shown(given['leftover_unit'])}")
        parts["leftover_unit"] = own
    authority = given.get("ca_certificate")
    if authority is not None:
        pem, ders = checks.certificates(authority, f"{where}.ca_certificate")
        _check_fingerprint(ders, parts["ca_sha256"], f"{where}.ca_certificate")
        parts["ca_certificate"] = pem
    return parts


def _check_fingerprint(ders: Collection[bytes], sha256: object, where: str) -> None:
    digest = hashlib.sha256()
    for der in ders:
        digest.update(der)
    if digest.hexdigest() != sha256:
        raise Nonsense(where, f"has not the fingerprint that the answer names: {checks.shown(sha256)}")


def _later(value: Any, where: str, call: _Call, check: Any) -> str | None:
    """Return a value that may still be unknown in check mode."""
    if call.check_mode and isinstance(value, str) and value == LATER:
        return LATER
    return cast("str | None", optional(check, value, where))


def _pairs(value: Any, where: str, call: _Call, exporter: str, generation: str | None) -> dict[str, Pair]:
    pairs: dict[str, Pair] = {}
    for index, element in enumerate(checks.items(value, where, len(call.clients))):
        pair = _pair(element, f"{where}[{index}]", call, exporter, generation)
        if pair.client in pairs:
            raise Nonsense(f"{where}[{index}].client", f"is there twice: {pair.client}")
        pairs[pair.client] = pair
    return pairs


def _pair(value: Any, where: str, call: _Call, exporter: str, generation: str | None) -> Pair:
    given = checks.fields(value, where, 1000)
    client = checks.asked_name(given.get("client"), f"{where}.client", call.clients)
    delivery = _later(given.get("delivery"), f"{where}.delivery", call, checks.delivery)
    if delivery not in (None, LATER) and str(delivery).rpartition("-")[0] != generation:
        raise Nonsense(f"{where}.delivery", f"is not of generation {generation}: {checks.shown(delivery)}")
    sha256 = _later(given.get("sha256"), f"{where}.sha256", call, checks.sha256)
    # Check mode delivers nothing, and bundles of an earlier run may be sealed for a transport key that is gone.
    certificate, bundle = given.get("certificate"), None if call.check_mode else given.get("bundle")
    if not call.check_mode and (delivery is None or sha256 is None):
        raise Nonsense(f"{where}.{'delivery' if delivery is None else 'sha256'}", "is missing")
    if certificate is not None:
        certificate, ders = checks.certificates(certificate, f"{where}.certificate", 1)
        _check_fingerprint(ders, sha256, f"{where}.certificate")
    recipient = call.recipients.get(client)
    # If an answer is read again, its recipients are no longer known; the text itself then shows its kind.
    if bundle is not None and (age.is_armored(bundle) if recipient is None else is_age(recipient)):
        bundle = checks.age_bundle(bundle, f"{where}.bundle")
    elif bundle is not None:
        due = {"exporter": exporter, "client": client, "generation": str(generation), "fingerprint": str(sha256)}
        if recipient is not None:
            due["recipient"] = seal.key_id(recipient)
        bundle = checks.bundle(bundle, f"{where}.bundle", due)
    return Pair(
        client=client,
        delivery=delivery,
        sha256=sha256,
        not_before=_later(given.get("not_before"), f"{where}.not_before", call, checks.timestamp),
        not_after=_later(given.get("not_after"), f"{where}.not_after", call, checks.timestamp),
        certificate=certificate,
        bundle=bundle,
        certificate_file=optional(checks.path, given.get("certificate_file"), f"{where}.certificate_file"),
        key_file=optional(checks.path, given.get("key_file"), f"{where}.key_file"),
    )


def _certificate(value: Any, where: str) -> Certificate:
    given = checks.fields(value, where, 100)
    return Certificate(
        subject=checks.text(given.get("subject"), f"{where}.subject"),
        issuer=checks.text(given.get("issuer"), f"{where}.issuer"),
        common_name=optional(checks.text, given.get("common_name"), f"{where}.common_name"),
        alt_names=checks.hosts(given.get("alt_names"), f"{where}.alt_names"),
        not_before=checks.timestamp(given.get("not_before"), f"{where}.not_before"),
        not_after=checks.timestamp(given.get("not_after"), f"{where}.not_after"),
        sha256=checks.sha256(given.get("sha256"), f"{where}.sha256"),
        is_ca=checks.truth(given.get("is_ca"), f"{where}.is_ca"),
        self_signed=checks.truth(given.get("self_signed"), f"{where}.self_signed"),
        key=checks.text(given.get("key"), f"{where}.key", 60),
    )


def _known_certificates(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What is known of a generation's certificates: when it was made, and once more when it is served."""
    return {
        "server_certificate": optional(_certificate, given.get("server_certificate"), f"{where}.server_certificate"),
        "server_certificate_source": optional(
            checks.one_of,
            given.get("server_certificate_source"),
            f"{where}.server_certificate_source",
            get_args(Source),
        ),
        "due": optional(checks.text, given.get("due"), f"{where}.due"),
        "due_at": optional(checks.timestamp, given.get("due_at"), f"{where}.due_at"),
        "ca_not_after": optional(checks.timestamp, given.get("ca_not_after"), f"{where}.ca_not_after"),
    }


CERTIFICATES = tuple(_known_certificates({}, ""))
"""What the phases ``stage`` and ``status`` both say of a generation's certificates."""


def _process(value: Any, where: str) -> Process:
    given = checks.fields(value, where, 100)
    return Process(
        state=checks.one_of(given.get("state"), f"{where}.state", get_args(ProcessState)),
        pid=optional(checks.whole, given.get("pid"), f"{where}.pid", 1, 2**31 - 1),
        manager=optional(checks.unit, given.get("manager"), f"{where}.manager"),
    )


def _rotation(value: Any, where: str, call: _Call) -> Rotation:
    given = checks.fields(value, where, 100)
    # The call does not name evicted clients.
    evicted = checks.distinct_names(_some(given, "evicted"), f"{where}.evicted")
    if given.get("skipped") is not None:
        return Rotation(skipped=checks.text(given["skipped"], f"{where}.skipped"), evicted=evicted)
    return Rotation(
        evicted=evicted,
        from_generation=optional(checks.generation, given.get("from"), f"{where}.from"),
        to_generation=_later(given.get("to"), f"{where}.to", call, checks.generation),
        old_sha256=optional(checks.sha256, given.get("old_sha256"), f"{where}.old_sha256"),
        new_sha256=_later(given.get("new_sha256"), f"{where}.new_sha256", call, checks.sha256),
        restart_seconds=checks.seconds(given.get("restart_seconds"), f"{where}.restart_seconds"),
        restart_measured=checks.truth(given.get("restart_measured"), f"{where}.restart_measured"),
        clients=checks.distinct_names(given.get("clients"), f"{where}.clients", call.clients),
        strategy=checks.one_of(given.get("strategy"), f"{where}.strategy", get_args(Strategy)),
        has_spare_port=checks.truth(given.get("has_spare_port"), f"{where}.has_spare_port"),
    )


def _switched(given: Mapping[str, Any], where: str, call: _Call) -> dict[str, Any]:
    """Return the answer of the phases switch, status, confirm, revert and retire."""
    parts: dict[str, Any] = {
        "status": checks.one_of(given.get("status"), f"{where}.status", get_args(Status)),
        "generation": optional(checks.generation, given.get("generation"), f"{where}.generation"),
        "previous": optional(checks.generation, given.get("previous"), f"{where}.previous"),
        "moment": optional(checks.moment, given.get("moment"), f"{where}.moment"),
        "window": optional(checks.seconds, given.get("window"), f"{where}.window"),
        "error": optional(checks.text, given.get("error"), f"{where}.error"),
    }
    if call.phase == "status":
        parts.update(_known_certificates(given, where))
    if call.phase in ("confirm", "retire"):
        parts["old_pair_refused"] = optional(checks.truth, given.get("old_pair_refused"), f"{where}.old_pair_refused")
        parts["removed"] = _generations(_some(given, "removed"), f"{where}.removed")
    return parts


def _generations(value: Any, where: str) -> tuple[str, ...]:
    listed = checks.items(value, where, _GENERATIONS_MOST)
    return tuple(checks.generation(item, f"{where}[{index}]") for index, item in enumerate(listed))


def _forgotten(given: Mapping[str, Any], where: str, call: _Call) -> dict[str, Any]:
    forgotten = checks.fields(given.get("forgotten"), f"{where}.forgotten", len(call.clients))
    return {
        "why": checks.texts(_some(given, "why"), f"{where}.why"),
        "generation": optional(checks.generation, given.get("generation"), f"{where}.generation"),
        "forgotten": {
            checks.asked_name(client, f"{where}.forgotten", call.clients): _generations(
                generations, f"{where}.forgotten.{client}"
            )
            for client, generations in forgotten.items()
        },
        "clients": checks.distinct_names(_some(given, "clients"), f"{where}.clients"),
    }


def _exporter_diffs(value: Any, asked: frozenset[str]) -> dict[str, tuple[str, ...]]:
    by_name: dict[str, tuple[str, ...]] = {}
    for index, element in enumerate(checks.items([] if value is None else value, "diff", len(asked))):
        where = f"diff[{index}]"
        given = checks.fields(element, where, 100)
        name = checks.asked_name(given.get("before_header"), f"{where}.before_header", asked)
        lines = tuple(_diff(given, where, LINES))
        if lines:
            by_name[name] = lines
    return by_name


def _diff(given: Mapping[str, Any], where: str, most: int) -> list[str]:
    """Return the lines of one diff, from facts, from text, or from lines that this function made before."""
    prepared = given.get("prepared")
    if prepared is None:
        sides = [optional(checks.fields, given.get(side), f"{where}.{side}") for side in ("before", "after")]
        return diff_lines(sides[0], sides[1], most)
    if not isinstance(prepared, str):
        raise Nonsense(f"{where}.prepared", f"is no text: {checks.shown(prepared)}")
    return text_lines(prepared, most)


# --- parse: a Prometheus host -------------------------------------------------------------------------------------------


def parse_prometheus_host(
    raw: object,
    *,
    state: State,
    host: str,
    client: str,
    exporters: Collection[str] | None,
    check_mode: bool,
) -> PrometheusAnswer:
    """Return the answer in the raw result of tt_prometheus_host.

    :param exporters: the exporters of the call (with ``.spare`` for one on its spare port); None if it asked for all
        that the client has.
    :raises Nonsense: naming the field.
    """
    asked = None if exporters is None else frozenset(exporters)
    given = checks.fields(raw, "the answer", 1000)
    failed = _failure(given)
    name = given.get("name")
    if (failed is None or name is not None) and name != client:
        raise Nonsense("name", f"is another client than {client}: {checks.shown(name)}")
    parts: dict[str, Any] = {}
    for key in _KEYS[state]:
        value = given.get(key)
        if failed is not None and key not in _KEYS_OF_FAILURE:
            continue
        if value is None and (failed is not None or key in _MAY_BE_NULL):
            continue
        if value is None:
            raise Nonsense(key, "is missing")
        parts[key] = _PARSE[key](value, key, asked)
    if "exporters" in _KEYS[state] and exporters is not None:
        seen = parts.get("exporters", {})
        failure = NO_ANSWER if failed is None or seen else failed
        parts["exporters"] = {item: seen.get(item) or Proof(item, failed=failure) for item in exporters}
    return PrometheusAnswer(
        host=host,
        state=state,
        client=client,
        changed=checks.truth(given.get("changed", False), "changed"),
        failed=failed,
        warnings=_warnings(given.get("warnings")),
        diff=_prometheus_diff(given.get("diff"), LINES * max(1, len(exporters or ()))),
        **parts,
    )


def _named(value: Any, where: str, check: Any, asked: frozenset[str] | None = None) -> dict[str, Any]:
    """Return a dict by exporter name."""
    by_name = {}
    for key, item in checks.fields(value, where).items():
        name = checks.name(key, where) if asked is None else checks.asked_name(key, where, asked)
        by_name[name] = check(item, f"{where}.{name}")
    return by_name


def _stored(value: Any, where: str) -> Stored:
    given = checks.fields(value, where, 100)
    return Stored(
        delivery=checks.delivery(given.get("delivery"), f"{where}.delivery"),
        sha256=checks.sha256(given.get("sha256"), f"{where}.sha256"),
        ca_sha256=checks.sha256(given.get("ca_sha256"), f"{where}.ca_sha256"),
        not_after=checks.timestamp(given.get("not_after"), f"{where}.not_after"),
    )


def _job_text(value: Any, where: str) -> str:
    return cast(str, checks.json_value(checks.raw_text(value, where, 1000), where))


def _job_dict(value: Any, where: str) -> dict[str, Any]:
    return cast("dict[str, Any]", checks.json_value(dict(checks.fields(value, where, 200)), where))


_DEFINITION: dict[str, Any] = {
    "name": checks.name,
    "address": lambda value, where: checks.host(value, where, False),
    "port": checks.port,
    "usual_port": checks.port,
    "insecure": checks.truth,
    "alt_names": lambda value, where: list(checks.hosts(value, where)),
    "scrape_interval": _job_text,
    "scrape_timeout": _job_text,
    "metrics_path": _job_text,
    "labels": _job_dict,
    "job_label": _job_text,
    "honor_labels": checks.truth,
    "extra": _job_dict,
}


def _definition(value: Any, where: str) -> dict[str, Any]:
    given = checks.fields(value, where, 100)
    definition = {
        key: check(given[key], f"{where}.{key}") for key, check in _DEFINITION.items() if given.get(key) is not None
    }
    for key in ("name", "address", "port"):
        if key not in definition:
            raise Nonsense(f"{where}.{key}", "is missing")
    try:
        # What would fail later fails here, for this host alone.
        jobs.build(definition, "/")
    except TimesTenError as error:
        raise Nonsense(where, f"makes no job: {error.message}") from None
    return definition


def _definitions(value: Any, where: str, _asked: object) -> dict[str, Any]:
    definitions = _named(value, where, _definition)
    for name, definition in definitions.items():
        if definition["name"] != name:
            raise Nonsense(f"{where}.{name}.name", f"is another one: {definition['name']}")
    return definitions


def _scrape(value: Any, where: str) -> Scrape:
    given = checks.fields(value, where, 100)
    return Scrape(
        scraped=checks.moment(given.get("scraped"), f"{where}.scraped"),
        took=checks.seconds(given.get("took"), f"{where}.took"),
        interval=checks.interval(given.get("interval"), f"{where}.interval"),
        health=checks.one_of(given.get("health"), f"{where}.health", get_args(Health)),
    )


def _followed(value: Any, where: str) -> tuple[Followed, ...]:
    return tuple(_event(item, f"{where}[{index}]") for index, item in enumerate(checks.items(value, where, 10_000)))


def _event(value: Any, where: str) -> Followed:
    given = checks.fields(value, where, 100)
    return Followed(
        moment=checks.moment(given.get("moment"), f"{where}.moment"),
        delivery=optional(checks.delivery, given.get("delivery"), f"{where}.delivery"),
        away=optional(checks.seconds, given.get("away"), f"{where}.away"),
        error=optional(checks.text, given.get("error"), f"{where}.error"),
    )


def _proofs(value: Any, where: str, asked: frozenset[str] | None) -> dict[str, Proof]:
    proofs: dict[str, Proof] = {}
    most = checks.NAMES_MOST if asked is None else len(asked)
    for index, element in enumerate(checks.items(value, where, most)):
        proof = _proof(element, f"{where}[{index}]", asked)
        if proof.name in proofs:
            raise Nonsense(f"{where}[{index}].name", f"is there twice: {proof.name}")
        proofs[proof.name] = proof
    return proofs


def _proof(value: Any, where: str, asked: frozenset[str] | None) -> Proof:
    given = checks.fields(value, where, 100)
    name = given.get("name")
    tried = (
        "up",
        "accepted",
        "refused_without_certificate",
        "refused_foreign_pair",
        "refused_plain_http",
    )
    return Proof(
        name=checks.name(name, f"{where}.name") if asked is None else checks.asked_name(name, f"{where}.name", asked),
        why=checks.texts(_some(given, "why"), f"{where}.why"),
        last_error=checks.text(given.get("last_error", ""), f"{where}.last_error"),
        advice=checks.text(given.get("advice", ""), f"{where}.advice"),
        served_sha256=optional(checks.sha256, given.get("served_sha256"), f"{where}.served_sha256"),
        not_after=optional(checks.timestamp, given.get("not_after"), f"{where}.not_after"),
        failed=_fault(given, where),
        **{key: optional(checks.truth, given.get(key), f"{where}.{key}") for key in tried},
    )


def _fault(given: Mapping[str, Any], where: str) -> str | None:
    """Return why an exporter failed. The module says that it failed and why; an answer that was parsed before says only
    why.
    """
    failed = given.get("failed")
    if isinstance(failed, str):
        return checks.text(failed, f"{where}.failed", 2000)
    if failed is None or not checks.truth(failed, f"{where}.failed"):
        return None
    return reason({"msg": checks.text(given.get("msg"), f"{where}.msg", 4000)})


def _revision(value: Any, where: str) -> str:
    return checks.matched(value, where, checks.REVISION, "no revision of a store")


def _version(value: Any, where: str) -> str:
    return checks.matched(value, where, checks.VERSION, "no version")


def _reloaded(value: Any, where: str) -> str | None:
    return None if value is False else cast(str, checks.one_of(value, where, _SCHEMES_OF_RELOAD))


def _for_each(check: Any) -> Any:
    """Return a check of a dict by name of any exporter of the client."""
    return lambda value, where, _asked: _named(value, where, check)


def _alone(check: Any, *arguments: Any) -> Any:
    """Return a check of a value that does not depend on the exporters of the call."""
    return lambda value, where, _asked: check(value, where, *arguments)


_PARSE: dict[str, Any] = {
    "transport_key": _alone(checks.transport_key),
    "stored": _for_each(_stored),
    "scrape_interval": _alone(checks.interval),
    "scrape_intervals": _for_each(checks.interval),
    "definitions": _definitions,
    "other_definitions": _definitions,
    "layout": _alone(checks.one_of, get_args(Layout)),
    "version": _alone(_version),
    "revision": _alone(_revision),
    "exporters": _proofs,
    "reloaded": _alone(_reloaded),
    "removed": _alone(checks.distinct_names),
    "unmentioned": _alone(checks.distinct_names),
    "in_the_way": lambda value, where, asked: _named(value, where, checks.text, asked),
    "scrapes_by_hand": lambda value, where, asked: _named(value, where, _scrape, asked),
    "scrapes": lambda value, where, asked: _named(value, where, _scrape, asked),
    "following": checks.distinct_names,
    "followed": lambda value, where, asked: _named(value, where, _followed, asked),
}


def _prometheus_diff(value: Any, most: int) -> tuple[str, ...]:
    lines: list[str] = []
    for index, element in enumerate(checks.items([] if value is None else value, "diff", 100)):
        lines += _diff(checks.fields(element, f"diff[{index}]", 100), f"diff[{index}]", most)
    return tuple(shorten(lines, most))
