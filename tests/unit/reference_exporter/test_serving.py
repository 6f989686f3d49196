# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serving: TLS, metrics, the rate limit, start and stop, with real sockets and signals."""

from __future__ import annotations

import contextlib
import http.client
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
import warnings

import pytest
from prometheus_client.parser import text_string_to_metric_families

SAMPLE = """\
# HELP timesten_perm_allocated_bytes Bytes of permanent space allocated
# TYPE timesten_perm_allocated_bytes gauge
timesten_perm_allocated_bytes{dsn="mydatabase",instance="myinstance"} 1073741824
"""


def samples(text):
    """Return the samples of an exposition by name and labels, and prove that it is one."""
    values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.items()))
            assert key not in values
            values[key] = sample.value
    return values


def refusal(running, context, name="localhost", early=b""):
    """Return the reason with which the exporter refuses a handshake, be it during or after it.

    With TLS 1.3 the client is through before the exporter has judged its certificate.

    :param early: what to send before reading, as Prometheus does.
    """
    with running.connect() as raw:
        with pytest.raises(ssl.SSLError) as caught, context.wrap_socket(raw, server_hostname=name) as secured:
            if early:
                secured.sendall(early)
            assert secured.recv(1) == b"", "it answers"
            raise AssertionError("it closed without an alert")
        return caught.value.reason


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_pair_is_let_in(served, pair, version):
    status, headers, text = served.get(pair, version=version)
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["Server"] == "ttExporter"
    assert samples(text)[("timesten_instance_status", ("instance", "myinstance"))] == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_certificate_is_refused_with_an_alert(served, pair, version):
    reason = refusal(served, pair.context(version, show=False))
    assert "ALERT" in reason, reason


@pytest.mark.parametrize("pki", ["ca", "self-signed"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_another_exporters_pair_is_refused_with_an_alert(served, pair, home, pki, version):
    home.create(PKI=pki)
    other = home.pair()
    other.ca = pair.ca
    assert refusal(served, other.context(version)) == "TLSV1_ALERT_UNKNOWN_CA"


def test_the_alert_survives_a_request_that_was_sent_before_it(served, pair):
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 60000 + b"\r\n\r\n"
    for _index in range(20):
        reason = refusal(served, pair.context(ssl.TLSVersion.TLSv1_3, show=False), early=request)
        assert reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"


def test_an_expired_pair_is_refused_with_an_alert(served, shared, tools):
    expiring = shared.pair("expiring", VALIDITY="1s")

    def refused():
        try:
            served.get(expiring)
        except ssl.SSLError as error:
            return error.reason
        return None

    assert "ALERT_CERTIFICATE_EXPIRED" in tools.until(refused)


def test_an_old_version_of_tls_is_refused(served, pair):
    context = pair.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert refusal(served, context) == "TLSV1_ALERT_PROTOCOL_VERSION"


def test_plain_http_to_the_tls_port_gets_an_alert(served):
    with served.connect() as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100) == b"\x15\x03\x03\0\x02\x02\x0a"
        assert connection.recv(100) == b""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_is_resumed(served, pair, version):
    context = pair.context(version)
    session = None
    for _index in range(2):
        with context.wrap_socket(served.connect(), server_hostname="localhost", session=session) as secured:
            assert not secured.session_reused
            secured.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert secured.recv(100)
            session = secured.session


def test_ipv4_and_ipv6(served, pair):
    addresses = ["127.0.0.1"]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        addresses.append("::1")
    for address in addresses:
        raw = socket.create_connection((address, served.port), timeout=5)
        with pair.context().wrap_socket(raw, server_hostname="localhost") as secured:
            assert secured.version() == "TLSv1.3"


def test_insecure_needs_neither_wallet_nor_certificate(home):
    running = home.serve("-insecure")
    status, _headers, text = running.get(None)
    assert status == 200
    assert "timesten_databases" in text


def test_stuck_clients_hold_up_nobody(served, pair):
    with contextlib.ExitStack() as stack:
        for _index in range(30):
            stack.enter_context(served.connect()).sendall(b"\x16\x03\x01")
        for _index in range(3):
            secured = pair.context().wrap_socket(served.connect(), server_hostname="localhost")
            stack.enter_context(secured).sendall(b"GET /metr")
        begin = time.monotonic()
        assert served.get(pair)[0] == 200
        assert time.monotonic() - begin < 8


def test_a_client_that_never_speaks_is_let_go(program, shared, monkeypatch):
    monkeypatch.setattr(program, "HANDSHAKE_TIMEOUT", 0.2)
    instance = program.Instance(str(shared.path))
    limit = program.RateLimit(1)
    entries = program.read_wallet(instance, str(shared.work))
    listener = socket.create_server(("127.0.0.1", 0))
    server = program.Server(listener, entries, program.Metrics(instance, limit), limit)
    server.start()
    with socket.create_connection(listener.getsockname(), timeout=5) as connection:
        assert connection.recv(1) == b""
    server.stop()


def test_requests_at_the_same_time(served, pair):
    results = []
    threads = [threading.Thread(target=lambda: results.append(served.get(pair)[0])) for _index in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == [200] * 20


def test_a_connection_is_kept(served, pair):
    connection = http.client.HTTPSConnection("localhost", served.port, timeout=5, context=pair.context())
    with contextlib.closing(connection):
        ports = set()
        for _index in range(3):
            connection.request("GET", "/metrics")
            connection.getresponse().read()
            ports.add(connection.sock.getsockname()[1])
        assert len(ports) == 1


def test_other_paths_and_methods(served, pair):
    assert served.get(pair, "/")[0] == 404
    assert served.get(pair, "/metrics?x=1")[0] == 200
    assert served.get(pair, method="POST")[0] == 501


def test_the_files_of_metrics_d(home):
    running = home.serve("-insecure", RATE="unlimited")
    directory = home.path / "metrics.d"
    (directory / "a.prom").write_text(SAMPLE)
    (directory / "b.prom").write_text(
        SAMPLE.replace("mydatabase", "other").replace("1073741824", "5")
        + "# TYPE timesten_repl_receiver_commit_time counter\n"
        + 'timesten_repl_receiver_commit_time{dsn="other",instance="myinstance"} 7\n'
        + "# HELP timesten_commit_total Commits\n# TYPE timesten_commit_total counter\n"
        + 'timesten_commit_total{dsn="other",instance="myinstance"} 9\n'
        + 'timesten_untyped{dsn="other",instance="myinstance"} 1\n'
    )
    (directory / "ignored.txt").write_text("nonsense {")
    text = running.get(None)[2]
    by_name = samples(text)

    def value(name, dsn=None, instance="myinstance"):
        labels = [("dsn", dsn)] if dsn else []
        return by_name[(name, *labels, ("instance", instance))]

    assert value("timesten_perm_allocated_bytes", "mydatabase") == 1073741824
    assert value("timesten_perm_allocated_bytes", "other") == 5
    # The parser gives this counter another name: such files are passed on as they are.
    assert '\ntimesten_repl_receiver_commit_time{dsn="other",instance="myinstance"} 7\n' in text
    assert value("timesten_commit_total", "other") == 9
    assert value("timesten_untyped", "other") == 1
    assert value("timesten_databases") == 2
    assert value("timesten_database_loaded", "mydatabase") == value("timesten_database_loaded", "other") == 1
    assert 0 < value("timesten_metric_collection_seconds") < 5
    assert value("timesten_rate_limited") == value("timesten_requests_disallowed_total") == 0
    assert value("timesten_requests_total") == 1
    assert text.count("# TYPE timesten_perm_allocated_bytes") == text.count("# HELP timesten_perm_allocated_bytes") == 1
    assert "# TYPE timesten_repl_receiver_commit_time counter\n" in text
    declared = re.findall(r"# TYPE (\S+)", text)
    assert len(declared) == len(set(declared))

    (directory / "c.prom").write_text('timesten_databases{instance="myinstance"} 42\n')
    text = running.get(None)[2]
    by_name = samples(text)
    assert value("timesten_databases") == 42
    assert value("timesten_requests_total") == 2


def test_a_file_that_is_no_exposition_is_named(home):
    running = home.serve("-insecure", RATE="unlimited")
    broken = home.path / "metrics.d/broken.prom"
    broken.write_text("timesten_x{ 1\n")
    status, headers, text = running.get(None)
    assert status == 500
    assert text.startswith(f"{broken} cannot be served: ")
    assert text.count("\n") == 1
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    broken.unlink()
    assert running.get(None)[0] == 200


@pytest.mark.parametrize(("arguments", "accepted"), [([], 10), (["-limit-rate", "1"], 1), (["-limit-rate", "15"], 15)])
def test_the_rate_limit(home, arguments, accepted):
    running = home.serve("-insecure", *arguments)
    answers = [running.get(None) for _index in range(accepted + 2)]
    assert [status for status, _headers, _text in answers] == [200] * accepted + [429] * 2
    _status, headers, text = answers[-1]
    assert 1 <= int(headers["Retry-After"]) <= 60
    assert text == f"More than {accepted} requests in a minute\n"


def test_every_get_counts_and_nothing_else(home):
    running = home.serve("-insecure", "-limit-rate", 3)
    assert [running.get(None, method="POST")[0] for _index in range(5)] == [501] * 5
    with running.connect():
        pass
    assert [running.get(None, path)[0] for path in ("/", "/x", "/metrics", "/")] == [404, 404, 200, 429]


def test_the_limit_lifted(home):
    running = home.serve("-insecure", "-limit-rate", 1, RATE="unlimited")
    assert [running.get(None)[0] for _index in range(30)] == [200] * 30


def test_the_limit_is_over_a_sliding_minute(program):
    limit = program.RateLimit(3)
    assert [limit.admit(now) for now in (0.0, 10.0, 20.0)] == [None] * 3
    assert limit.admit(30.0) == 30.0
    assert limit.admit(59.5) == 0.5
    assert limit.limited(100.0)
    assert limit.admit(60.0) is None
    assert limit.admit(61.0) == 9.0
    assert limit.limited(120.9)
    assert not limit.limited(121.0)
    assert (limit.accepted, limit.refused) == (4, 3)


def test_refused_requests_are_shown(program, shared):
    limit = program.RateLimit(1)
    for _index in range(4):
        limit.admit(time.monotonic())
    by_name = samples(program.Metrics(program.Instance(str(shared.path)), limit).render().decode())
    assert by_name[("timesten_requests_disallowed_total", ("instance", "myinstance"))] == 3
    assert by_name[("timesten_requests_total", ("instance", "myinstance"))] == 1
    assert by_name[("timesten_rate_limited", ("instance", "myinstance"))] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("variant", ["foreground", "detach"])
def test_a_signal_ends_it_cleanly_whatever_is_open(home, tools, number, variant):
    home.create()
    pair = home.pair()
    port = tools.free_port()
    times = []
    for _index in range(3):
        # The same port each time, right after the end: nothing may hold it.
        running = home.serve(port=port, RUN=variant)
        kept = http.client.HTTPSConnection("localhost", port, timeout=5, context=pair.context())
        with contextlib.closing(kept), running.connect() as stuck:
            kept.request("GET", "/metrics")
            assert kept.getresponse().read()
            stuck.sendall(b"\x16")
            begin = time.monotonic()
            os.kill(running.pid, number)
            if running.process is not None:
                assert running.process.wait(5) == 0
            else:
                tools.until(lambda pid=running.pid: not tools.alive(pid), 5)
            times.append(time.monotonic() - begin)
            assert not running.pid_file.exists()
            with pytest.raises(ConnectionRefusedError):
                running.connect()
    assert min(times) < 0.5, times


def test_a_request_at_work_is_answered_before_the_end(program, shared, monkeypatch):
    limit = program.RateLimit(None)
    metrics = program.Metrics(program.Instance(str(shared.path)), limit)
    begun, render = threading.Event(), metrics.render

    def slowly():
        begun.set()
        time.sleep(0.15)
        return render()

    monkeypatch.setattr(metrics, "render", slowly)
    listener = socket.create_server(("127.0.0.1", 0))
    server = program.Server(listener, None, metrics, limit)
    server.start()
    connection = http.client.HTTPConnection(*listener.getsockname(), timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        assert begun.wait(5)
        server.stop()
        server.drain()
        assert server._busy == 0
        assert connection.getresponse().status == 200


def test_sigint_ends_it_even_if_it_was_started_ignoring_it(home):
    running = home.serve("-insecure", ignore=signal.SIGINT)
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(5) == 0


def test_a_taken_port(served, shared):
    for variants in ({}, {"RUN": "detach"}):
        line = shared.run("-insecure", "-port", served.port, "-pid-file", "taken.pid", status=1, **variants)
        assert f"-port: {served.port} is in use" in line
        assert not (shared.work / "taken.pid").exists()


def test_a_pid_file_that_cannot_be_written(home, tools):
    port = tools.free_port()
    line = home.run("-insecure", "-port", port, "-pid-file", "no/pid", status=1)
    assert "-pid-file: " in line
    assert "no/pid cannot be written: No such file or directory" in line


def test_a_pid_file_that_another_process_took_over_is_left(home):
    running = home.serve("-insecure")
    running.pid_file.write_text("1\n")
    running.process.terminate()
    assert running.process.wait(5) == 0
    assert running.pid_file.read_text() == "1\n"


def test_the_foreground_process_is_the_one_that_was_started(home, tools):
    running = home.serve("-insecure")
    assert running.pid == running.process.pid
    assert running.pid_file.read_text() == f"{running.pid}\n"
    log = home.work / f"{running.port}.log"
    expected = f"ttExporter: plain HTTP on port {running.port}, pid {running.pid}\n"
    tools.until(lambda: log.read_text() == expected)


def test_detached_means_listening_in_a_session_of_its_own(home, tools):
    home.create()
    pair = home.pair()
    port = tools.free_port()
    # Relative paths: the process works in /.
    arguments = ("-port", port, "-certificate-directory", ".", "-pid-file", "x.pid")
    assert home.run(*arguments, RUN="detach") == ""
    pid = int((home.work / "x.pid").read_text())
    running = tools.Running(port, pid, home.work / "x.pid", None)
    assert running.get(pair)[0] == 200
    assert os.getsid(pid) not in (os.getsid(0), pid)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {"/dev/null"}
    os.kill(pid, signal.SIGTERM)
    tools.until(lambda: not tools.alive(pid))
    assert not (home.work / "x.pid").exists()


@pytest.mark.parametrize("variant", ["foreground", "detach"])
def test_the_delay_before_it_listens(home, tools, variant):
    port = tools.free_port()
    argv = home.argv("-insecure", "-port", port, "-pid-file", home.work / "x.pid")
    begin = time.monotonic()
    starter = subprocess.Popen(argv, env=home.environment({"START_DELAY": "0.7", "RUN": variant}))
    running = tools.Running(port, starter.pid, home.work / "x.pid", starter)
    home.running.append(running)
    while not (running.pid_file.exists() and running.pid_file.read_text()):
        assert time.monotonic() < begin + 20
        # Read before the attempt: once the pid file is there, the port is open.
        with contextlib.suppress(ConnectionRefusedError):
            running.connect().close()
            assert time.monotonic() - begin >= 0.7
        time.sleep(0.005)
    running.connect().close()
    assert time.monotonic() - begin >= 0.7
    if variant == "detach":
        assert starter.wait(5) == 0


@pytest.mark.parametrize("variant", ["foreground", "detach"])
def test_stopped_before_it_listens(home, tools, variant):
    port = tools.free_port()
    argv = home.argv("-insecure", "-port", port, "-pid-file", home.work / "x.pid")
    environment = home.environment({"START_DELAY": "60", "RUN": variant})
    starter = subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True)
    home.running.append(tools.Running(port, starter.pid, home.work / "x.pid", starter))

    def waiting():
        """Return the process that has blocked SIGTERM, or sleeps until it comes: Linux does not show it as blocked then."""
        for pid in home.processes():
            with contextlib.suppress(OSError):
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
                blocked = int(re.search(r"SigBlk:\s*(\w+)", status).group(1), 16) & 1 << (signal.SIGTERM - 1)
                if blocked or "sigtimedwait" in pathlib.Path(f"/proc/{pid}/wchan").read_text():
                    return pid
        return None

    os.kill(tools.until(waiting), signal.SIGTERM)
    _stdout, stderr = starter.communicate(timeout=5)
    if variant == "detach":
        assert (starter.returncode, stderr) == (1, "ttExporter: stopped by a signal before it listened\n")
    else:
        assert (starter.returncode, stderr) == (0, "")
    assert not (home.work / "x.pid").exists()


def test_a_detached_process_whose_starter_went_away_ends(home, tools):
    port = tools.free_port()
    argv = home.argv("-insecure", "-port", port, "-pid-file", home.work / "x.pid")
    starter = subprocess.Popen(argv, env=home.environment({"START_DELAY": "1", "RUN": "detach"}))
    tools.until(lambda: len([pid for pid in home.processes() if tools.alive(pid)]) == 2)
    starter.kill()
    starter.wait()
    tools.until(lambda: not [pid for pid in home.processes() if tools.alive(pid)])
    assert not (home.work / "x.pid").exists()


def test_the_private_key_is_nowhere_but_in_the_wallet(home, tools):
    home.create()
    running = home.serve()
    for number in os.listdir(f"/proc/{running.pid}/fd"):
        with contextlib.suppress(OSError):
            assert "memfd" not in os.readlink(f"/proc/{running.pid}/fd/{number}")
    assert sorted(os.listdir(home.work)) == [home.wallet.parent.name, f"{running.port}.log", f"{running.port}.pid"]


@pytest.mark.parametrize(
    ("variants", "shown"),
    [
        ({"NAME": "exec"}, "ttExporterCmd"),
        ({"NAME": "exec", "RUN": "detach"}, "ttExporterCmd"),
        ({"NAME": "rewritten"}, "timesten: metrics"),
        ({"NAME": "rewritten", "RUN": "detach"}, "timesten: metrics"),
        ({"RUN": "child"}, "timesten worker"),
    ],
)
def test_a_process_that_shows_another_name(home, tools, variants, shown):
    running = home.serve("-insecure", **variants)
    arguments = pathlib.Path(f"/proc/{running.pid}/cmdline").read_text().rstrip("\0").split("\0")
    assert os.path.basename(arguments[0]) == shown
    assert not any(os.path.basename(argument) == "ttExporter" for argument in arguments)
    assert ("-port" in arguments) == (variants.get("NAME") == "exec")
    assert running.get(None)[0] == 200
    os.kill(running.pid, signal.SIGTERM)
    tools.until(lambda: not tools.alive(running.pid))
    assert not running.pid_file.exists()


def test_a_pid_file_that_is_late_and_has_blanks(home, tools):
    began = time.monotonic()
    running = home.serve("-insecure", PID_FILE="blanks", PID_FILE_DELAY=0.7)
    assert time.monotonic() - began > 0.7
    assert running.pid_file.read_text() == f"  {running.pid} \n"
    os.kill(running.pid, signal.SIGTERM)
    tools.until(lambda: not tools.alive(running.pid))
    assert not running.pid_file.exists()


def test_a_slow_end(home, tools):
    running = home.serve("-insecure", STOP_DELAY=1)
    began = time.monotonic()
    os.kill(running.pid, signal.SIGTERM)
    assert running.get(None)[0] == 200
    tools.until(lambda: not tools.alive(running.pid))
    assert time.monotonic() - began >= 1


def test_noise_and_help(home):
    assert home.run("-help", HELP="empty") == ""
    noisy = home.environment({"NOISE": "locale"})
    done = subprocess.run(home.argv("-nothing"), env=noisy, capture_output=True, text=True, check=False)
    errors = done.stderr.splitlines()
    assert (len(errors), "warning: setlocale" in errors[0], "'-nothing'" in errors[1]) == (2, True, True)
