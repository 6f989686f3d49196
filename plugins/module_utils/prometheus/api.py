# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a running Prometheus about itself and its targets, and gives advice for its errors."""

from __future__ import annotations

import base64
import calendar
import contextlib
import dataclasses
import http.client
import json
import re
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Callable, Iterator, Mapping, TypeVar

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import redact
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.options import check_url

_LIMIT = 1 << 28
"""Bytes of one answer. The targets of 10,000 exporters are about 15 MB."""
_LIMIT_OF_ERROR = 1 << 20
"""Bytes of the answer to what was refused. It is a sentence, or the page of a proxy."""
_LONGEST = 120.0
"""Seconds for the body of one answer, however little of it comes at a time."""

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")


class NotAnswering(TimesTenError):
    """No HTTP answer came: Prometheus is not running, is still starting, or has another address."""


_Answer = TypeVar("_Answer")


def patiently(ask: Callable[[], _Answer], deadline: float) -> _Answer:
    """Ask again where no answer comes: somebody may restart it, and then it reads its configuration as well.

    :param deadline: by the monotonic clock.
    """
    while True:
        try:
            return ask()
        except NotAnswering:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


class ReloadRefused(TimesTenError):
    """Prometheus answered a reload with an error. It may have taken parts of the new configuration."""


@dataclasses.dataclass(frozen=True)
class Target:
    """One element of ``activeTargets``.

    :ivar job: the job's name in the configuration, which relabelling does not change.
    :ivar health: ``up``, ``down`` or ``unknown`` (not scraped yet).
    :ivar scraped: start of the last scrape in seconds since the epoch, by the clock of the Prometheus host; 0.0 if
        there was none.
    :ivar took: duration of the last scrape in seconds.
    :ivar labels: the labels before relabelling: ``__address__``, ``__scheme__``, ``__metrics_path__``, ``job``, ...
    """

    job: str
    url: str
    health: str
    error: str
    scraped: float
    took: float = 0.0
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def last_scrape(self, interval: float) -> dict[str, Any]:
        """Return the last scrape in the form of an answer.

        :param interval: seconds between two scrapes.
        """
        return {"scraped": self.scraped, "took": self.took, "interval": interval, "health": self.health}

    def is_of(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the target belongs to a job with these labels, and not to an older version of the same job.

        :param labels: from :func:`jobs.discovered_labels`. If they are only those of the URL, only the URL is compared.
        """
        own = {key for key in self.labels if not key.startswith("__")}
        expected = {key for key in labels if not key.startswith("__")}
        return (own <= expected or not expected) and all(
            self.labels.get(key, "") == value for key, value in labels.items()
        )


@dataclasses.dataclass(frozen=True)
class Reloaded:
    """Prometheus's own metrics about its last reload.

    :ivar successful: whether the last reload worked.
    :ivar moment: time of the last reload that worked, in seconds since the epoch.
    """

    successful: bool
    moment: float


def parse_time(text: str) -> float:
    """Return an RFC 3339 time, with any number of decimals, as seconds since the epoch. Go's zero time is 0.0."""
    match = _TIME.match(text)
    if not match or text.startswith("0001-"):
        return 0.0
    *moment, fraction, zone = match.groups()
    # While targets are awaited, a thousand of them are read again and again; strptime would be ten times slower.
    seconds = calendar.timegm(tuple(map(int, moment))) + float(fraction or 0)
    if zone != "Z":
        offset = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    return seconds


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follows no redirection, because the password is meant for this server only."""

    def redirect_request(self, *_args: Any) -> None:
        return None


class Api:
    """The HTTP interface of one Prometheus.

    :param url: with the route prefix if there is one, for example ``http://127.0.0.1:9090``.
    :param bearer_token: sent instead of a user, if a proxy wants one.
    :param headers: sent with every request, if a proxy wants them.
    :param ca_file: verifies the server's certificate for https; None uses the system's CAs.
    :param certificate_file: client certificate, with ``key_file``, if the server wants one.
    :param timeout: seconds for one request.
    :raises TimesTenError: if the URL or a file cannot be used.
    """

    def __init__(
        self,
        url: str,
        username: str | None = None,
        password: str | None = None,
        ca_file: str | None = None,
        certificate_file: str | None = None,
        key_file: str | None = None,
        timeout: float = 10.0,
        bearer_token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        check_url(url)
        parts = urllib.parse.urlsplit(url)
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._headers = dict(headers or {})
        self._login = "without a login" if certificate_file is None else f"with url_cert_file {certificate_file}"
        if self._headers:
            self._login = f"with url_headers ({', '.join(self._headers)})"
        if bearer_token is not None:
            self._headers["Authorization"] = f"Bearer {bearer_token}"
            self._login = "with url_bearer_token"
        if username is not None:
            pair = f"{username}:{password or ''}".encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
            self._login = f"as url_username {username!r}"
        # Use no proxy, whatever the environment says: the answers decide what this call does to this host.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _StayHere()]
        if parts.scheme == "https":
            try:
                context = ssl.create_default_context(cafile=ca_file)
                if certificate_file is not None:
                    context.load_cert_chain(certificate_file, key_file)
            except OSError as error:
                raise TimesTenError(
                    f"url_ca_file {ca_file}, url_cert_file {certificate_file} or url_key_file {key_file} cannot "
                    f"be used: {error}"
                ) from error
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def _request(self, path: str, method: str = "GET") -> bytes:
        data = b"" if method == "POST" else None
        request = urllib.request.Request(self.url + path, data, self._headers, method=method)  # noqa: S310 - http or https, checked
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return self._body(answer)
        except urllib.error.HTTPError as error:
            text = ""
            with error, contextlib.suppress(TimesTenError, OSError, http.client.HTTPException):
                text = redact.said(self._body(error.fp, _LIMIT_OF_ERROR).decode("utf-8", "replace").strip())[:2000]
            where = f"{method} {self.url}{path} was answered {error.code}"
            if error.code in (401, 403, 407):
                raise TimesTenError(
                    f"{where}, asked {self._login}: set url_username and url_password to what its web.config.file has, or "
                    f"url_bearer_token or url_headers to what a proxy in front of it wants; it says {text[:200]!r}"
                ) from error
            if error.code == 404:
                raise TimesTenError(
                    f"{where}: url is not that of a Prometheus, or lacks its route prefix (--web.route-prefix, "
                    f"--web.external-url)"
                ) from error
            if 300 <= error.code < 400:
                raise TimesTenError(
                    f"{where}, which leads to {str(error.headers.get('Location'))[:200]!r}: set url to where Prometheus "
                    f"itself answers (https instead of http, or with its route prefix), or, where that is a login, url_bearer_token or "
                    f"url_headers to what the proxy wants"
                ) from error
            if error.code == 503:
                raise NotAnswering(f"{where}: Prometheus is still starting ({text})") from error
            if path == "/-/reload" and error.code == 500:
                raise ReloadRefused(f"Prometheus refused the configuration: {text}") from error
            raise TimesTenError(f"{where}: {text}") from error
        except http.client.HTTPException as error:
            raise NotAnswering(
                f"{method} {self.url}{path}: what came back is no whole HTTP answer ({type(error).__name__}): is url right, or was "
                f"Prometheus ended meanwhile?"
            ) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise TimesTenError(
                    f"the certificate of {self.url} is not trusted ({reason.verify_message}): set url_ca_file"
                ) from error
            if isinstance(reason, socket.gaierror):
                raise NotAnswering(
                    f"{self.url} does not answer ({reason}): the name of its host cannot be resolved here; set url to an "
                    f"address, or mend the name service"
                ) from error
            raise NotAnswering(
                f"{self.url} does not answer ({reason}): is Prometheus running, and is url right?"
            ) from error

    def _body(self, answer: Any, largest: int | None = None) -> bytes:
        largest = largest or _LIMIT
        longest = max(_LONGEST, self._timeout)
        deadline = time.monotonic() + longest
        announced, parts, size = answer.length, [], 0
        while announced is None or size < announced:
            part = answer.read1(1 << 20)
            if not part:
                break
            parts.append(part)
            size += len(part)
            if size > largest:
                raise TimesTenError(f"{self.url} answers with more than {largest} bytes: is url that of a Prometheus?")
            if time.monotonic() > deadline:
                raise NotAnswering(f"{self.url} has not finished an answer within {longest:g} s ({size} bytes came)")
        if announced is not None and size < announced:
            raise http.client.IncompleteRead(b"", announced - size)
        return b"".join(parts)

    @contextlib.contextmanager
    def _answer(self, path: str) -> Iterator[Any]:
        """Give the data of an answer to the body of a ``with`` statement.

        :raises TimesTenError: if the data is not what that body expects.
        """
        data = self._request(path)
        try:
            yield json.loads(data)["data"]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise TimesTenError(
                f"{self.url}{path} did not answer as Prometheus does: {data[:200]!r}; is url right, or is this the login of a proxy?"
            ) from error

    def version(self) -> str:
        """Return the version without a packager's suffix, for example ``2.42.0``."""
        with self._answer("/api/v1/status/buildinfo") as data:
            return re.split(r"[+~ -]", str(data["version"]))[0]

    def flags(self) -> dict[str, str]:
        """Return its command line by flag (``config.file``, ``web.enable-lifecycle``), including defaults."""
        with self._answer("/api/v1/status/flags") as data:
            return {str(name): str(value) for name, value in data.items()}

    def configuration(self) -> str:
        """Return the running configuration as YAML, with all defaults and without secrets."""
        with self._answer("/api/v1/status/config") as data:
            return str(data["yaml"])

    def targets(self) -> list[Target]:
        """Return all active targets."""
        with self._answer("/api/v1/targets?state=active") as data:
            return [
                Target(
                    item["scrapePool"],
                    item["scrapeUrl"],
                    item["health"],
                    item["lastError"],
                    parse_time(item["lastScrape"]),
                    float(item["lastScrapeDuration"]),
                    dict(item.get("discoveredLabels") or {}),
                )
                for item in data["activeTargets"]
            ]

    def dropped(self) -> set[str]:
        """Return the jobs that lost a target by relabelling."""
        with self._answer("/api/v1/targets?state=dropped") as data:
            return {str(item["discoveredLabels"].get("job")) for item in data["droppedTargets"]}

    def rule_groups(self) -> list[dict[str, Any]]:
        """Return all rule groups as Prometheus reports them: ``name``, ``file`` and ``rules``, each with its ``health``."""
        with self._answer("/api/v1/rules") as data:
            return [dict(group) for group in data["groups"]]

    def reload(self) -> None:
        """Ask for a reload through the lifecycle endpoint.

        The answer alone proves nothing. After 200, a job whose files cannot be read is silently missing; after 500, the
        changes of all other jobs are active.

        :raises ReloadRefused: with Prometheus's own message.
        """
        self._request("/-/reload", method="POST")

    def reloaded(self) -> Reloaded:
        """Return what Prometheus's own metrics say about the last reload."""
        values = {}
        for line in self._request("/metrics").split(b"\n"):
            if line.startswith(b"prometheus_config_last_reload_success"):
                name, _space, value = line.partition(b" ")
                with contextlib.suppress(ValueError):
                    values[name] = float(value)
        try:
            return Reloaded(
                values[b"prometheus_config_last_reload_successful"] == 1.0,
                values[b"prometheus_config_last_reload_success_timestamp_seconds"],
            )
        except KeyError as error:
            raise TimesTenError(
                f"{self.url}/metrics has no {error.args[0].decode()}: is url that of Prometheus?"
            ) from error


_ADVICE: tuple[tuple[str, str], ...] = (
    # Go's verdict on the exporter's certificate.
    (
        r"relies on legacy Common Name field",
        "the exporter's certificate has no alternative names, which Prometheus needs: set alt_names (or leave it "
        "to its default) and "
        "have the wallet made anew (regenerate: when_changed)",
    ),
    (
        r"doesn't contain any IP SANs",
        "the target is an address, but the exporter's certificate holds only names: set the exporter's address "
        "to one of them, or add the "
        "address to alt_names and have the wallet made anew",
    ),
    (
        r"certificate is (not valid for any names|valid for .*, not )",
        "the exporter's certificate does not hold the name that Prometheus dials: set the exporter's address to "
        "a name in it, or add the "
        "name to alt_names and have the wallet made anew",
    ),
    (
        r"not yet valid: current time \S+ is before",
        "the exporter's certificate is not valid yet by this host's clock: set the clocks of both hosts right (NTP)",
    ),
    (
        r"has expired or is not yet valid",
        "the exporter's certificate has expired: run timesten.monitoring.site, which renews what is due",
    ),
    (
        r"incompatible key usage",
        "the exporter's certificate is not meant for servers (its extended key usage): have the wallet made anew "
        "by ttExporter",
    ),
    (
        r"signed by unknown authority",
        "the exporter serves a certificate that the delivered ca.crt does not vouch for: it runs on another "
        "wallet than the one whose pairs "
        "were delivered; run timesten.monitoring.site for its host and this one",
    ),
    # Our own files, as Prometheus reads them.
    (
        r"private key does not match public key",
        "certificate and key of the job are not one pair: somebody changed the files; run "
        "timesten.monitoring.site to deliver them again",
    ),
    (
        r"permission denied",
        "Prometheus may not read a file of the job: look at owner and mode of the file and of all directories "
        "above it, and at the sandbox of "
        "its unit (ProtectHome, InaccessiblePaths)",
    ),
    (
        r"no such file or directory",
        "a file of the job is missing: run timesten.monitoring.site to deliver it again; the next scrape then "
        "works without a reload",
    ),
    (
        r"unable to (use|load|read)[^:]* CA cert|unable to use specified CA",
        "the job's ca.crt is missing, empty or damaged: run timesten.monitoring.site to deliver it again",
    ),
    (
        r"unable to (use|load|read)[^:]* client (cert|key)",
        "certificate or key of the job cannot be used: run timesten.monitoring.site to deliver them again",
    ),
    # The exporter's verdict on our pair. The text of an alert differs between TLS libraries, so no exact text is
    # expected.
    (
        r"tls: certificate required",
        "the job presents no client certificate: its tls_config needs cert_file and key_file",
    ),
    (
        r"tls: expired certificate",
        "the exporter says that the client certificate has expired: run timesten.monitoring.site, which renews "
        "what is due, and compare the "
        "clocks of both hosts",
    ),
    (
        r"remote error: tls:|tls: (bad certificate|unknown certificate|handshake failure)",
        "the exporter refuses the client certificate: it was issued by another wallet than the one that the "
        "exporter runs on, or it is not "
        "valid by the exporter's clock; run timesten.monitoring.site for its host and this one",
    ),
    (
        r"server gave HTTP response to HTTPS client|first record does not look like a TLS handshake",
        "the exporter speaks plain http (it was started with -insecure) but the job has scheme https: run "
        "timesten.monitoring.site, which "
        "brings both together",
    ),
    # The connection to the exporter.
    (
        r"no such host|server misbehaving|name resolution|\blookup \S+",
        "this host cannot resolve the target's name: mend the name service or /etc/hosts, or set the exporter's "
        "address",
    ),
    (
        r"connection refused",
        "nothing listens on the exporter's port: start the exporter, and compare its port with the target's",
    ),
    (
        r"no route to host|network is unreachable|i/o timeout",
        "the exporter's host cannot be reached from here: look at its firewall and at the route",
    ),
    (
        r"context deadline exceeded|Client\.Timeout",
        "no answer came within scrape_timeout: a firewall drops the packets, the exporter hangs, or it needs "
        "longer; try a longer "
        "scrape_timeout",
    ),
    (
        r"HTTP status 429",
        "the exporter's rate limit was exceeded: all its Prometheus servers together ask more often than the "
        "limit allows; raise "
        "scrape_interval or the exporter's rate_limit (15 a minute at most)",
    ),
    (r"HTTP status 404", "the exporter does not know the path: compare metrics_path (ttExporter serves /metrics)"),
    (
        r"HTTP status 40[13]",
        "something before the exporter wants a login, which ttExporter does not know: the target is a proxy or another "
        "server; compare address and port",
    ),
    (
        r"HTTP status 3\d\d|stopped after \d+ redirects",
        "the target sends Prometheus elsewhere, which ttExporter does not do: compare address, port and metrics_path",
    ),
    (r"HTTP status \d+", "the exporter answered with an error: read its log"),
    (
        r"sample limit exceeded|body size limit exceeded|label_(name_length_|value_length_)?limit exceeded|(label|name|value)\S* (too long|length)",
        "the exporter's answer is beyond a limit of the job or of global (sample_limit, body_size_limit, label_limit, ...): raise it",
    ),
    (
        r"unsupported Content-Type|non-compliant scrape target",
        "what answers sends no content type that Prometheus 3 knows: set fallback_scrape_protocol: PrometheusText0.0.4 in extra, "
        "or compare address, port and metrics_path",
    ),
    (
        r"connection reset|broken pipe|EOF",
        "the exporter cut the connection: with TLS 1.3 that is also how a refused client certificate, or plain "
        "http to a TLS port, looks",
    ),
)

_PROBED = {
    "accepted": "a handshake with the delivered pair works now, so the next scrape should as well; if it does not, "
    "Prometheus reads other files than the delivered ones",
    "refused": "a handshake with the delivered pair is refused: the exporter runs on another wallet than the one that "
    "issued the pair",
    "untrusted": "a handshake shows that the delivered ca.crt does not vouch for the certificate that the exporter "
    "serves",
    "unreachable": "no connection to the port can be made from this host",
    "timed out": "the port accepts connections but nothing answers there",
}


def advice(error: str, probe: str | None = None) -> str:
    """Return what to do about an error that Prometheus reports for a target.

    :param error: ``lastError`` of the target; "" if it was not scraped yet.
    :param probe: status of a handshake with the delivered pair (:class:`tls.probe.Outcome`). Unlike an alert, its text
        does not vary.
    """
    text = "Prometheus has not scraped the target yet" if not error else "look at the exporter's log"
    for pattern, answer in _ADVICE:
        if re.search(pattern, error):
            text = answer
            break
    return f"{text} ({_PROBED[probe]})" if probe in _PROBED else text
