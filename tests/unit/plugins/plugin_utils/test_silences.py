# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a silence is about, whose silences are ended, and that no answer of an Alertmanager is believed."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import ipaddress
import json
import re
import socket
import ssl
import threading
import time

import pytest

pytest.importorskip("ansible", reason="used on the controller alone")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.plugin_utils import (
    annotations,
    around,
    fleet,
    rules,
    silences,
    web,
)
from ansible_collections.timesten.monitoring.plugins.plugin_utils.rotation import Row
from ansible_collections.timesten.monitoring.plugins.plugin_utils.silences import Silence, Subject
from waiting import free_port

pytestmark = pytest.mark.controller

SECRET = "s3cr3t-Value"
GROUPS = {"timesten_exporters": ["exp1"], "prometheus_servers": ["prom1"]}
MADE = {"silenceID": "e1286ed2-f9b3-4797-aa4b-96633a6f4fb3"}


def row(exporter, *clients, refused=None, deadline=1000.0):
    return Row(
        exporter,
        exporter,
        "g",
        None,
        None,
        clients,
        "gap",
        exporter,
        0.5,
        5.0,
        clients,
        deadline=deadline,
        refused=refused,
    )


# --- what a silence is about


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], None),
        ([row("exp1", "prom1")], Subject(("exp1",), ("prom1",))),
        ([row("exp2", "prom2"), row("exp1", "prom1", "prom2")], Subject(("exp1", "exp2"), ("prom1", "prom2"))),
        ([row("exp1", "prom1"), row("exp2", "prom3", refused="no gap")], Subject(("exp1",), ("prom1",))),
        ([row("exp1", "prom1", refused="no gap")], None),
        ([row("exp1")], None),  # nobody scrapes it
    ],
)
def test_who_is_silenced(rows, expected):
    assert silences.subject_of(rows) == expected


def test_it_ends_after_the_last_deadline():
    rows = [row("a", "p", deadline=1000.0), row("b", "p", deadline=1500.0), row("c", "p", deadline=9e9, refused="x")]
    assert silences.end_of(rows, 900.0) == 1500.0 + silences.AFTERWARDS
    # A host that names an interval of a year silences nobody for a year.
    assert silences.end_of([*rows, row("d", "p", deadline=9e9)], 900.0) == 900.0 + silences.LONGEST


@pytest.mark.parametrize("exporters", [("exp1",), ("exp1", "exp.2"), ("a-b_c", "10.0.0.1", "exp1-sales")])
def test_matchers_match_these_names_alone(exporters):
    body = silences.body(Subject(exporters, ("prom1",)), 1000.0, 2000.0, "alice@ctl1")
    pattern = next(item["value"] for item in body["matchers"] if item["name"] == "exporter")
    for name in ("exp1", "exp.2", "expX2", "exp11", "xexp1", "a-b_c", "10.0.0.1", "10x0.0.1", "exp1-sales", ""):
        assert (re.fullmatch(f"(?:{pattern})", name) is not None) == (name in exporters)
    assert body["endsAt"] == "1970-01-01T00:33:20.000000Z" and "alice@ctl1" in body["comment"]
    listed = [{**body, "id": "x", "status": {"state": "active"}}]
    assert silences.ours(listed) == [Silence("x", Subject(exporters, ("prom1",)))]


def test_alerts_about_an_exporter_have_the_labels_that_are_matched():
    text = rules.of_exporter(rules.Subject("exp1", "prom1", not_after={"ca": 1.0}, due=1.0, created=1.0, evicted=0))
    records = text.count("- record:")
    assert records and text.count("exporter: 'exp1'") == records == text.count("client: 'prom1'")


GOOD = {
    **silences.body(Subject(("exp1",), ("prom1",)), 1000.0, 2000.0, "x"),
    "id": "abc-1",
    "status": {"state": "active"},
}


@pytest.mark.parametrize(
    "change",
    [
        {"createdBy": "alice"},
        {"status": {"state": "expired"}},
        {"status": None},
        {"status": "active"},
        {"id": "../../-/reload"},
        {"id": 7},
        {"id": None},
        {"matchers": None},
        {"matchers": []},
        {"matchers": [*GOOD["matchers"], {"name": "job", "value": "x", "isRegex": False}]},
        {"matchers": [GOOD["matchers"][0]] * 2},
        {"matchers": [{**item, "isEqual": False} for item in GOOD["matchers"]]},
        {"matchers": [{**item, "isRegex": False} for item in GOOD["matchers"]]},
        {"matchers": [{**item, "value": ".*"} for item in GOOD["matchers"]]},
        {"matchers": [{**item, "value": ""} for item in GOOD["matchers"]]},
        {"matchers": [{**item, "value": None} for item in GOOD["matchers"]]},
        {"matchers": [{**item, "name": "alertname"} for item in GOOD["matchers"]]},
        {"matchers": ["exporter", "client"]},
    ],
)
def test_what_is_not_ours_is_left_alone(change):
    assert silences.ours([GOOD]) != []
    assert silences.ours([{**GOOD, **change}]) == []


@pytest.mark.parametrize(
    ("exporters", "clients", "expected"),
    [
        (("exp1",), ("prom1",), True),
        (("exp1", "exp2"), ("prom1", "prom2"), True),  # the wave was another one
        (("exp2",), ("prom1",), False),
        (("exp1",), ("prom-of-others",), False),  # an exporter of the same name in another fleet
    ],
)
def test_which_silences_of_earlier_runs_are_ended(exporters, clients, expected):
    left = Silence("x", Subject(exporters, clients))
    assert silences.left_over([left], Subject(("exp1", "exp3"), ("prom1",))) == ([left] if expected else [])


# --- an Alertmanager that answers as it is told


class Scripted:
    """Answers each request by method and path; keeps the requests. An answer is bytes of HTTP, or a status with JSON."""

    def __init__(self, answers, context=None):
        self.answers, self.requests = answers, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.context = context
        self.port = self.listener.getsockname()[1]
        self.server = web.Server("rotate_silence", f"http{'s' if context else ''}://127.0.0.1:{self.port}")
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                raw, _address = self.listener.accept()
                threading.Thread(target=self._answer, args=(raw,), daemon=True).start()

    def _answer(self, raw):
        with contextlib.suppress(OSError, ValueError):
            connection = self.context.wrap_socket(raw, server_side=True) if self.context else raw
            with connection, connection.makefile("rwb") as file:
                method, path, _version = file.readline().decode().split()
                headers = {}
                while line := file.readline().strip():
                    name, _colon, value = line.decode().partition(": ")
                    headers[name.lower()] = value
                body = file.read(int(headers.get("content-length", 0)))
                self.requests.append((method, path, headers, body))
                answer = next(
                    prepared for start, prepared in self.answers.items() if f"{method} {path}".startswith(start)
                )
                if callable(answer):
                    answer(file)
                    return
                if not isinstance(answer, bytes):
                    status, data = answer
                    text = json.dumps(data).encode()
                    answer = b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text)
                file.write(answer)

    def methods(self):
        return [f"{method} {path}" for method, path, _headers, _body in self.requests]


@contextlib.contextmanager
def scripted(answers, context=None):
    made = Scripted(answers, context)
    try:
        yield made
    finally:
        made.listener.close()


def drip(file):
    file.write(b"HTTP/1.1 200 OK\r\n\r\n")
    for _number in range(200):
        file.write(b"[")
        file.flush()
        time.sleep(0.05)


def endless(file):
    file.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        file.write(b" " * 65536)


LISTS, LETS_IN = {"GET": (200, [])}, {"POST": (422, {"code": 602, "message": "comment in body is required"})}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({**LISTS, **LETS_IN}, None),
        ({**LISTS, "POST": (400, "bad")}, None),
        ({"GET": (401, "who are you"), **LETS_IN}, "GET /api/v2/silences with 401: it does not let us in; set rotate_silence_username"),
        # It may be read, and not written.
        ({**LISTS, "POST": (403, {})}, "POST /api/v2/silences with 403: it does not let us in; set rotate_silence_username"),
        ({**LISTS, "POST": (405, {})}, "answered POST /api/v2/silences with 405"),
        ({**LISTS, "POST": (200, MADE)}, "answered POST /api/v2/silences with 200"),
        ({"GET": (404, "404 page not found")}, "with 404: is that the address of an Alertmanager, with its route prefix where it has one? It said: 404 page"),
        ({"GET": (200, {"status": "success"})}, "with 200: is that the address of an Alertmanager"),
        ({"GET": (200, ["x"])}, "with 200: is that the address of an Alertmanager"),
        ({"GET": b"HTTP/1.1 200 OK\r\n\r\n<html>Sign in</html>"}, "It said: <html>Sign in</html>"),
        ({"GET": b"HTTP/1.1 302 Found\r\nLocation: http://evil/\r\n\r\n"}, "with 302: it leads elsewhere"),
        ({"GET": b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 200000}, "with 200: is that the address"),
        ({"GET": b"\x16\x03\x01\x00\x00"}, "did not answer as an HTTP server does"),
        ({"GET": b""}, "did not answer as an HTTP server does"),
        ({"GET": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]"}, "98 bytes are missing at the end of its answer"),
        ({"GET": endless}, f"its answer to GET /api/v2/silences has more than {web.LIMIT} bytes"),
        ({"GET": drip}, "did not answer within 1 s"),
    ],
)  # fmt: skip
def test_an_alertmanager_that_cannot_be_used(answers, expected, monkeypatch):
    monkeypatch.setattr(web, "SECONDS", 1)
    with scripted(answers) as alertmanager:
        problem = silences.fault(alertmanager.server)
        assert (problem is None) if expected is None else (problem and expected in problem), problem
        assert problem is None or problem.startswith(f"rotate_silence: http://127.0.0.1:{alertmanager.port} ")
        # A refusal is told several times; the Alertmanager is asked once.
        asked = len(alertmanager.requests)
        assert silences.fault(alertmanager.server) == problem and len(alertmanager.requests) == asked


def test_an_alertmanager_that_is_not_there():
    port = free_port()
    problem = silences.fault(web.Server("rotate_silence", f"http://127.0.0.1:{port}"))
    assert (
        problem
        == f"rotate_silence: http://127.0.0.1:{port} does not answer (Connection refused): does it run, and is the address right?"
    )
    problem = silences.fault(web.Server("rotate_silence", "http://nosuch.invalid:9093"))
    assert "the name of its host cannot be resolved here" in problem


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Files with a certificate of 127.0.0.1, and with its key as well."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alertmanager")])
    now = datetime.datetime.now(datetime.timezone.utc)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    pem = built.public_bytes(serialization.Encoding.PEM)
    (directory / "ca.crt").write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "both.pem").write_bytes(pem + private)
    return directory


def test_tls_and_what_it_is_judged_by(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "both.pem")
    with scripted({**LISTS, **LETS_IN}, context) as alertmanager:
        trusted = dataclasses.replace(alertmanager.server, ca_file=str(certificate / "ca.crt"))
        assert silences.fault(trusted) is None
        assert (
            "certificate that is not trusted (self-signed certificate): set rotate_silence_ca_file"
            in silences.fault(alertmanager.server)
        )
        for file in ("nosuch.crt", "", "/dev/null"):
            lacking = dataclasses.replace(alertmanager.server, ca_file=str(certificate / file))
            assert silences.fault(lacking).startswith("rotate_silence_ca_file: ")


def test_who_asks_is_said_and_never_shown():
    for change in (
        {"username": "alice", "password": SECRET},
        {"headers": (("Authorization", f"Bearer {SECRET}"), ("X-Scope-OrgID", "fleet"))},
    ):
        echo = f"Bearer {SECRET}, {SECRET[:2]}\x1b[0m{SECRET[2:]} or YWxpY2U6czNjcjN0LVZhbHVl"
        with scripted({"GET": (500, echo)}) as alertmanager:
            server = dataclasses.replace(alertmanager.server, **change)
            problem = silences.fault(server)
            [(_method, _path, headers, _body)] = alertmanager.requests
        assert headers["authorization"] in (f"Bearer {SECRET}", "Basic YWxpY2U6czNjcjN0LVZhbHVl")
        assert "username" in change or headers["x-scope-orgid"] == "fleet"
        assert "***" in problem and SECRET not in problem + repr(server), problem
        assert "username" not in change or "YWxp" not in problem


def test_a_secret_is_not_shown_in_part():
    server = web.Server("v", "http://a", "alice", SECRET)
    assert SECRET[:4] not in server.told("x" * 295 + SECRET) and server.told(f'say "{SECRET}"') == 'say "***"'


def test_a_silence_takes_the_place_of_what_earlier_runs_have_left():
    answers = {
        "GET": (200, [GOOD, {**GOOD, "createdBy": "alice", "id": "of-alice"}]),
        "POST": (200, MADE),
        "DELETE": (200, None),
    }
    with scripted(answers) as alertmanager:
        made = silences.make(alertmanager.server, Subject(("exp1", "exp2"), ("prom1",)), 1000.0, 2000.0, "alice")
        assert made == (MADE["silenceID"], [])
        # Never without: first the new one, then the old one goes.
        assert alertmanager.methods() == [
            "GET /api/v2/silences",
            "POST /api/v2/silences",
            "DELETE /api/v2/silence/abc-1",
        ]


@pytest.mark.parametrize(
    "answer",
    [(200, {}), (200, {"silenceID": "../x"}), (200, {"silenceID": 7}), (200, [MADE]), (200, None), (201, MADE), (400, "end time can't be in the past")],
)  # fmt: skip
def test_a_silence_that_was_not_made(answer):
    with scripted({"GET": (200, [GOOD]), "POST": answer, "DELETE": (200, None)}) as alertmanager:
        with pytest.raises(
            TimesTenError, match=rf"rotate_silence: .* answered POST /api/v2/silences with {answer[0]}: "
        ):
            silences.make(alertmanager.server, Subject(("exp1",), ("prom1",)), 1000.0, 2000.0, "alice")
        assert "DELETE" not in "".join(alertmanager.methods())


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"DELETE": (200, None)}, None),
        ({"DELETE": (500, "already expired"), "GET": (200, {"status": {"state": "expired"}})}, None),
        ({"DELETE": (404, ""), "GET": (404, "")}, None),
        ({"DELETE": (500, "oops"), "GET": (200, {"status": {"state": "active"}})}, "with 500: "),
        ({"DELETE": (403, "no"), "GET": (403, "no")}, "with 403: it does not let us in"),
        ({"DELETE": b""}, "did not answer as an HTTP server does"),
    ],
)
def test_the_end_of_a_silence(answers, expected):
    with scripted(answers) as alertmanager:
        notes = silences.end_all(alertmanager.server, ["abc"])
    if expected is None:
        assert notes == []
    else:
        [note] = notes
        assert expected in note and note.endswith("The silence abc could not be ended; it ends by itself.")


# --- the variables


def problems(operation="rotate", **run):
    variables = {"exp1": {"exporter_host_timesten_home": "/opt/tt", **run}, "prom1": dict(run)}
    return fleet.problems(variables, GROUPS, ["exp1", "prom1"], operation=operation, extra_vars=list(run))


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ({"rotate_silence": ""}, None),
        ({"rotate_annotation": "http://grafana:3000/", "rotate_annotation_token": SECRET}, None),
        ({"rotate_silence_password": SECRET, "rotate_silence_username": "a"}, None),
        ({"rotate_silence": "http://a", "rotate_silence_password": SECRET}, "rotate_silence_password is set without rotate_silence_username"),
        ({"rotate_silence": "http://a", "rotate_silence_ca_file": "/ca.pem"}, "rotate_silence_ca_file is set, but rotate_silence is an http address"),
        ({"rotate_annotation": "http://grafana:3000/"}, "rotate_annotation_token is not set"),
        ({"rotate_silence": "alertmanager:9093"}, "rotate_silence: 'alertmanager:9093' is not the address of an Alertmanager"),
        ({"rotate_silence": f"http://a:{SECRET}@b:9093"}, "rotate_silence: 'http://...@b:9093' is not the address"),
        ({"rotate_silence": ["http://a"]}, "rotate_silence: ['http://a'] is a list; give one value"),
        ({"rotate_annotation": "grafana"}, "rotate_annotation: 'grafana' is not the address of a Grafana"),
        ({"rotate_annotation_token": f"{SECRET} x"}, "rotate_annotation_token is empty, or holds a blank"),
        ({"rotate_silence_username": "a:b"}, "rotate_silence_username: 'a:b' holds a ':'"),
        ({"rotate_silence_password": f"{SECRET}\n"}, "rotate_silence_password holds a control character"),
        ({"rotate_silence_password": [SECRET]}, "rotate_silence_password: is a list"),
        ({"rotate_silence_headers": SECRET}, "rotate_silence_headers: is not a mapping"),
        ({"rotate_silence_headers": {"A B": SECRET}}, "rotate_silence_headers: 'A B' is not the name of an HTTP header"),
        ({"rotate_silence_headers": {"X": f"{SECRET}\n"}}, "rotate_silence_headers: the value of X is not text"),
        ({"rotate_silence_headers": {"Host": SECRET}}, "rotate_silence_headers: Host cannot be set"),
        (
            {"rotate_silence_headers": {"authorization": SECRET}, "rotate_silence_username": "a"},
            "the header Authorization of rotate_silence_headers: cannot be used together with rotate_silence_username",
        ),
        ({"rotate_silense": "http://a"}, "-e rotate_silense is not a variable of this collection; rotate_silence is"),
    ],
)  # fmt: skip
def test_the_variables(run, expected):
    texts = problems(**run)
    if expected is None:
        assert texts == []
    else:
        assert expected in "\n".join(texts), texts
    assert SECRET not in "\n".join(texts)


@pytest.mark.parametrize(
    ("variable", "one", "other"),
    [
        ("rotate_silence", "http://a", "http://b"),
        ("rotate_silence_password", SECRET, f"{SECRET}2"),
        ("rotate_annotation_token", SECRET, f"{SECRET}2"),
    ],
)
def test_they_are_the_same_for_all_hosts(variable, one, other):
    variables = {"exp1": {"exporter_host_timesten_home": "/opt/tt", variable: one}, "prom1": {variable: other}}
    text = "\n".join(fleet.problems(variables, GROUPS, ["exp1", "prom1"]))
    assert f"{variable} differs from host to host" in text and SECRET not in text
    # Empty is not another one: it is none.
    variables["prom1"][variable] = ""
    assert "differs" not in "\n".join(fleet.problems(variables, GROUPS, ["exp1", "prom1"]))


@pytest.mark.parametrize("operation", fleet.OPERATIONS)
def test_who_may_rotate_asks_the_alertmanager_before_a_host_is_touched(operation):
    with scripted({**LISTS, **LETS_IN}) as alertmanager:
        more = (
            {"evict": "prom1"} if operation == "evict" else {"remove_exporter": "exp1"} if operation == "remove" else {}
        )
        assert problems(operation, rotate_silence=alertmanager.server.url, **more) == []
        assert len(alertmanager.requests) == (2 if operation in fleet.ROTATING else 0)


# --- around a wave


def test_without_the_variables_nobody_is_asked(monkeypatch):
    monkeypatch.setattr(web.Server, "request", None)
    monkeypatch.setattr(annotations, "add", None)
    run = fleet.Run()
    rows = {"exp1": row("exp1", "prom1")}
    assert around.fault(run) is None
    assert around.before(run, rows, "alice", check_mode=False) == around.Before(rows)
    assert around.end(run, "abc") == around.annotate(run, 0.0, {"exp1": "switched"}, check_mode=False) == []


def test_a_wave_that_nothing_is_switched_in_has_neither():
    run = fleet.Run(rotate_silence=f"http://127.0.0.1:{free_port()}", rotate_annotation="http://127.0.0.1:1")
    rows = {"exp1": row("exp1", "prom1", refused="no gap")}
    assert around.before(run, rows, "alice", check_mode=False) == around.Before(rows)
    assert around.end(run, "") == around.annotate(run, 0.0, {}, check_mode=False) == []


def test_no_silence_no_switch():
    run = fleet.Run(rotate_silence=f"http://127.0.0.1:{free_port()}")
    rows = {"exp1": row("exp1", "prom1"), "exp2": row("exp2", "prom1", refused="no gap")}
    done = around.before(run, rows, "alice", check_mode=False)
    assert (done.silence, done.notes) == ("", ())
    assert done.rows["exp1"].refused.startswith(f"rotate_silence: {run.rotate_silence} does not answer")
    assert done.rows["exp2"].refused == "no gap"


def test_no_community_grafana_is_told():
    run = fleet.Run(rotate_annotation="http://127.0.0.1:1", rotate_annotation_token=SECRET)
    [note] = around.annotate(run, 0.0, {"exp1": "switched"}, check_mode=False)
    assert note.startswith(
        "rotate_annotation: the collection community.grafana is not installed on this controller; install it ("
    )
