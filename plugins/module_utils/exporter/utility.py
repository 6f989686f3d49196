# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls the utility ttExporter, and reads what it can do and how it failed.

Only its exit status and the files that it writes are trusted. Its messages are not, except the option names in
``-help``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pwd
import re
import shlex
import signal
import stat
import subprocess
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.pem import certificates_of

PROGRAM = "ttExporter"

_HELP_TIMEOUT = 10.0

_OPTION = re.compile(r"(?<![\w-])-([A-Za-z][\w-]*)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def parse_help(text: str) -> frozenset[str]:
    """Return the option names in a help text, without their dash."""
    return frozenset(name.rstrip("-") for name in _OPTION.findall(text))


def find_rate_option(options: Iterable[str]) -> str | None:
    """Return the option that limits the requests per minute, or None if there is none.

    Its spelling is not documented. Accept any name that consists of the two words, in either order and any case.
    """
    for name in sorted(options):
        if re.sub(r"[-_]", "", name).lower() in ("limitrate", "ratelimit"):
            return name
    return None


def parse_options(arguments: Sequence[str]) -> dict[str, str | None]:
    """Return the options of a command line without their dash, each with its value, or None for a flag.

    The next word shows whether an option has a value: no value of this utility begins with a dash.
    """
    options: dict[str, str | None] = {}
    name = None
    for argument in arguments:
        if argument.startswith("-"):
            name = argument[1:]
            options[name] = None
        elif name is not None:
            options[name] = argument
            name = None
    return options


def start_arguments(
    port: int,
    certificate_directory: str | None,
    insecure: bool,
    pid_file: str,
    rate_option: str | None = None,
    rate_limit: int | None = None,
) -> list[str]:
    """Return the arguments that start the exporter.

    :param certificate_directory: directory of the wallet; not used if ``insecure``.
    :param rate_option: name of the rate limit's option, from :meth:`Utility.rate_option`.
    :param rate_limit: requests per minute; None keeps the utility's default.
    :raises TimesTenError: for a relative path (the exporter runs in ``/``), mutual TLS without a wallet, or a limit
        that the utility cannot set.
    """
    arguments = ["-insecure"] if insecure else []
    arguments += ["-port", str(port)]
    if not insecure:
        if certificate_directory is None:
            raise TimesTenError("mutual TLS needs a certificate_directory; give one, or set insecure to true")
        arguments += ["-certificate-directory", _absolute(certificate_directory, "certificate_directory")]
    arguments += ["-pid-file", _absolute(pid_file, "pid_file")]
    if rate_limit is not None:
        if rate_option is None:
            raise TimesTenError(
                f"rate_limit: {rate_limit} cannot be set, {PROGRAM} -help lists no option for it; leave rate_limit out"
            )
        arguments += [f"-{rate_option}", str(rate_limit)]
    return arguments


def wallets(directory: str) -> list[str]:
    """Return the paths of the wallet files (``.ttwallet.<guid>/cwallet.sso``) directly in a directory."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.startswith(".ttwallet."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TimesTenError(f"cannot read {directory}: {error.strerror}") from error
    paths = [os.path.join(directory, name, "cwallet.sso") for name in names]
    return [path for path in paths if _may_be_there(path)]


def _may_be_there(path: str) -> bool:
    """Tell whether there is a file; also where its directory does not let us see it, since nothing may be made in its place."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def prepare_child(umask: int) -> None:
    """Set the umask, and the signals to those of a login shell. Runs in a child between fork and exec.

    A caller in the background or under nohup ignores SIGINT or SIGHUP, and a child inherits that. Such an exporter
    could never be stopped by SIGINT.
    """
    os.umask(umask)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


@dataclasses.dataclass(frozen=True)
class Utility:
    """The ttExporter of one TimesTen instance.

    :ivar timesten_home: the instance's home.
    :ivar environment: variables for the utility, in addition to those that :meth:`full_environment` sets.
    """

    timesten_home: str
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def argv(self, *arguments: str) -> list[str]:
        """Return the command line. ttenv sets the instance's environment for this one command."""
        return [os.path.join(self.timesten_home, "bin", "ttenv"), PROGRAM, *arguments]

    def full_environment(self) -> dict[str, str]:
        """Return all environment variables of the utility.

        Nothing is inherited. An exporter therefore gets the same variables whether this collection starts it from ssh,
        cron, systemd or by hand, and only the option ``environment`` can change them.

        :raises TimesTenError: for a name or value that an environment cannot hold.
        """
        account = _account()
        variables = {
            "HOME": account.pw_dir,
            "USER": account.pw_name,
            "LOGNAME": account.pw_name,
            "PATH": _PATH,
            "LC_ALL": "C",
        }
        for name, value in self.environment.items():
            if not _VARIABLE.match(name):
                raise TimesTenError(
                    f"environment: {name!r} is not the name of a variable: letters, digits and '_', not beginning with a digit"
                )
            if "\0" in value:
                raise TimesTenError(f"environment: the value of {name} holds a NUL byte; take it out")
            variables[name] = value
        return variables

    def environment_sha256(self) -> str:
        """Return a fingerprint of ``environment``, which shows changes without storing values."""
        return hashlib.sha256(json.dumps(dict(self.environment), sort_keys=True).encode("utf-8")).hexdigest()

    def executable_identity(self) -> tuple[str, int, int]:
        """Return real path, mtime (ns) and size of the utility. While they are the same, its options are too.

        :raises TimesTenError: if the utility is missing.
        """
        path = os.path.join(self.timesten_home, "bin", PROGRAM)
        try:
            info = os.stat(path)
        except OSError as error:
            raise TimesTenError(
                f"{path} cannot be used: {error.strerror}; timesten_home has to name an instance of TimesTen "
                "22.1.1.1.0 or later"
            ) from error
        return os.path.realpath(path), info.st_mtime_ns, info.st_size

    def check(self) -> None:
        """:raises TimesTenError: if home, ttenv or ttExporter is missing or cannot be used, saying what to do."""
        home = self.timesten_home
        if not os.path.isabs(home):
            raise TimesTenError(f"timesten_home: {home!r} is not an absolute path")
        if not os.path.isdir(home):
            raise TimesTenError(
                f"timesten_home: {home} is not a directory that {_account().pw_name} can reach; name the home of "
                "the instance, and run as its administrator"
            )
        ttenv = self.argv()[0]
        if not os.path.isfile(ttenv):
            raise TimesTenError(
                f"{ttenv} does not exist; timesten_home has to name an instance (ttInstanceCreate makes it), not "
                "an installation"
            )
        if not os.access(ttenv, os.X_OK):
            raise TimesTenError(
                f"{ttenv} cannot be executed by {_account().pw_name}; run as the instance administrator"
            )
        self.executable_identity()

    def run(self, arguments: Sequence[str], cwd: str = "/", umask: int = 0o077, timeout: float = 120.0) -> str:
        """Run the utility to its end and return its standard output.

        :param timeout: seconds, after which its whole process group is killed.
        :raises TimesTenError: with ``cmd``, ``rc``, ``stdout`` and ``stderr`` in its details.
        """
        result = self._call(arguments, cwd, umask, timeout)
        if result["rc"] != 0:
            raise _failure(f"failed with exit status {result['rc']}", result)
        return str(result["stdout"])

    def options(self) -> frozenset[str]:
        """Return the option names that ``-help`` prints, to either stream and with any exit status.

        :raises TimesTenError: if the output is no help text, that is, does not list ``-port``.
        """
        result = self._call(["-help"], "/", 0o077, _HELP_TIMEOUT)
        options = parse_help(f"{result['stdout']}\n{result['stderr']}")
        if "port" not in options:
            raise _failure(f"listed no -port (exit status {result['rc']})", result)
        return options

    def rate_option(self) -> str | None:
        """Return the name of the option that limits the requests per minute. None if the utility has no such option, or
        no ``-help``: an exporter runs without it too.

        :raises TimesTenError: if the utility is missing.
        """
        self.check()
        try:
            return find_rate_option(self.options())
        except TimesTenError:
            return None

    def create_server_certificate(
        self,
        directory: str,
        common_name: str | None = None,
        alt_names: Sequence[str] = (),
        rsa_key_size: int | None = None,
    ) -> str:
        """Create a wallet in a directory that has none, and return the path of its ``cwallet.sso``.

        :param alt_names: joined by commas. The separator is not documented, so the caller checks the names in the
            result.
        :raises TimesTenError: if there is a wallet already (a second create is not documented), or if no wallet was
            created.
        """
        before = wallets(directory)
        if before:
            raise TimesTenError(f"{before[0]} exists already; a wallet is only ever created in a fresh directory")
        arguments = ["-create-server-certificate"]
        if rsa_key_size is not None:
            arguments += ["-rsa-key-size", str(rsa_key_size)]
        if common_name is not None:
            arguments += ["-certificate-common-name", common_name]
        if alt_names:
            arguments += ["-certificate-alt-names", ",".join(alt_names)]
        arguments += ["-certificate-directory", _absolute(directory, "certificate_directory")]
        self.run(arguments, cwd=directory)
        made = wallets(directory)
        if len(made) != 1:
            raise TimesTenError(
                f"{PROGRAM} -create-server-certificate reported success, but left {len(made)} wallets "
                f"(.ttwallet.*/cwallet.sso) in {directory}, not one; "
                f"run it by hand to see: {shlex.join(self.argv(*arguments))}",
                cmd=self.argv(*arguments),
            )
        _check_output(made[0], arguments[0])
        return made[0]

    def export_server_certificate(self, directory: str, file: str) -> None:
        """Export the server certificate of the wallet in ``directory`` to a new file, which then holds certificates alone.

        :raises TimesTenError: if the file exists already, or is missing or empty although the utility reported success.
        """
        self._export(["-export-server-certificate", file], directory, [file])
        exported = _files.read(file)
        certificates = certificates_of(exported)
        # Where there is none, the caller says what it is instead.
        if certificates and certificates != exported:
            _files.write(file, certificates)

    def export_client_pair(self, directory: str, certificate_file: str, key_file: str) -> None:
        """Create a client pair from the wallet in ``directory`` in two new files. The key file has mode 0600
        afterwards.

        The utility opens the files itself, so the caller names files in a fresh directory with mode 0700.

        :raises TimesTenError: if a file exists already, or is missing or empty although the utility reported success.
        """
        files = [certificate_file, key_file]
        self._export(
            ["-export-client-certificate", certificate_file, "-export-client-private-key", key_file], directory, files
        )
        os.chmod(key_file, 0o600)

    def _export(self, arguments: list[str], directory: str, files: Sequence[str]) -> None:
        for file in files:
            # An old file would hide that nothing was written.
            if os.path.lexists(_absolute(file, arguments[0])):
                raise TimesTenError(
                    f"{file} exists already; {PROGRAM} {arguments[0]} is only ever given the name of a new file"
                )
        self.run([*arguments, "-certificate-directory", _absolute(directory, "certificate_directory")], cwd=directory)
        for file in files:
            _check_output(file, arguments[0])

    def _call(self, arguments: Sequence[str], cwd: str, umask: int, timeout: float) -> dict[str, Any]:
        self.check()
        command = self.argv(*arguments)
        try:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=self.full_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=lambda: prepare_child(umask),  # noqa: PLW1509 - one thread
            )
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise TimesTenError(f"cannot run {shlex.join(command)} in {cwd}: {error}", cmd=command) from error
        with process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except BaseException as error:
                # The process group may outlive its leader if a child still holds our pipes.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                stdout, stderr = process.communicate()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                raise _failure(
                    f"did not end within {timeout:g} s and was killed", _result(command, None, stdout, stderr)
                ) from error
        return _result(command, process.returncode, stdout, stderr)


def _account() -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(os.geteuid())
    except KeyError:
        raise TimesTenError(
            f"uid {os.geteuid()} has no account on this host; run as the instance administrator"
        ) from None


def _absolute(path: str, what: str) -> str:
    if not os.path.isabs(path):
        raise TimesTenError(f"{what}: {path!r} is not an absolute path")
    return path


def _check_output(path: str, option: str) -> None:
    try:
        info = os.lstat(path)
    except OSError as error:
        raise TimesTenError(
            f"{PROGRAM} {option} reported success, but {path} cannot be found: {error.strerror}"
        ) from error
    if not stat.S_ISREG(info.st_mode):
        raise TimesTenError(f"{PROGRAM} {option} reported success, but {path} is not a regular file")
    if info.st_size == 0:
        raise TimesTenError(f"{PROGRAM} {option} reported success, but {path} is empty; is the file system full?")


def _result(command: list[str], status: int | None, stdout: bytes, stderr: bytes) -> dict[str, Any]:
    return {
        "cmd": command,
        "rc": status,
        "stdout": stdout.decode("utf-8", "replace"),
        "stderr": stderr.decode("utf-8", "replace"),
    }


def _failure(what: str, result: dict[str, Any]) -> TimesTenError:
    command = result["cmd"]
    return TimesTenError(
        f"{' '.join(command[1:3])} {what}: {telling_line(result['stderr'], result['stdout']) or 'it printed nothing'}; "
        f"to see more, run as {_account().pw_name}: {shlex.join(command)}",
        **result,
    )


# Perl writes several lines about a missing locale.
_WARNING = re.compile(
    r"\bwarn(ing)?\b|\blocale\b|^(LC_[A-Z]+|LANG(UAGE)?) =|^are supported and installed on your system", re.IGNORECASE
)
_FAILURE = re.compile(
    r"\b(error|fail(ed|ure)?|fatal|cannot|can't|could not|unable|denied|refused|invalid|missing|not found|no such|in use|exists"
    r"|[a-z]+-\d+)\b",
    re.IGNORECASE,
)


def telling_line(*texts: str) -> str | None:
    """Return the line that tells the failure: the first that speaks of a failure, else the first that is no warning,
    else the first. None if there is no line.

    A shell or an interpreter may have written warnings, for example about a locale, before the utility wrote anything.
    """
    for text in texts:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        plain = [line for line in lines if not _WARNING.search(line)]
        failures = [line for line in plain if _FAILURE.search(line)]
        if lines:
            return (failures or plain or lines)[0]
    return None
