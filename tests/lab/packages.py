# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages unpacked into the project's cache: nothing is installed on the machine.

``prometheus("2.42")`` gives the binaries of a Prometheus, ``alertmanager()``, ``vmagent()`` and ``age()`` those programs,
``grafana_collection()`` that collection,
``host_layer()`` what a lab host needs beyond the machine's own packages, ``browser()`` a Chromium with its driver. All
work without root, and without network once the cache holds the answer. apt runs with a configuration, lists and archives
of its own, made from the machine's sources; the machine's apt state is only read.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from gates import environments

# One cache per user: root's trees keep root's ownership, which sudo insists on, and no user trips over another's files.
CACHE = environments.CACHE / "packages" / str(os.geteuid())
TREES = CACHE / "prometheus"

HOST_PACKAGES = (
    "cron",
    "faketime",
    "hostname",
    "libfaketime",
    "openssh-client",
    "openssh-server",
    "python3",
    "python3-cryptography",
    "python3-prometheus-client",
    "python3-yaml",
    "sudo",
    "sysvinit-utils",  # runs the init script of the prometheus package
    "tini",
)
# What makes a whole system of a release, beside what is essential in it.
ROOT_PACKAGES = (*HOST_PACKAGES, "dbus", "iproute2", "openssl", "openssl-provider-fips", "procps", "systemd")
BROWSER_PACKAGES = ("chromium", "chromium-driver", "fonts-dejavu-core")
SYSTEMD_PACKAGES = ("systemd", "systemd-container")  # beyond HOST_PACKAGES, for hosts whose init is systemd
# Searched in this order, so that a version that several releases have comes from the oldest.
RELEASES = ("bookworm", "trixie", "sid")
DPKG_STATUS = Path("/var/lib/dpkg/status")


class PackageError(Exception):
    """A package could not be had; the message says what was tried and what to do."""


class Prometheus(NamedTuple):
    """An unpacked Prometheus: upstream version, the two binaries, and the root of everything its packages hold."""

    version: str
    prometheus: Path
    promtool: Path
    root: Path


def prometheus(version: str) -> Prometheus:
    """Return the unpacked Prometheus whose version is or begins with `version` (``2.42``, ``3``).

    :raises PackageError: no release on the machine's mirror has it, or apt failed.
    """
    found = _cached_prometheus(TREES, version)
    if found is None:
        with _locked():
            found = _cached_prometheus(TREES, version) or _fetch_prometheus(TREES, version)
    return Prometheus(found.name, found / "usr/bin/prometheus", found / "usr/bin/promtool", found)


def alertmanager() -> Path:
    """Return the binary of Debian's Alertmanager, unpacked.

    :raises PackageError: apt failed.
    """
    return package("prometheus-alertmanager") / "usr/bin/prometheus-alertmanager"


def vmagent(release: str = RELEASES[0]) -> Path:
    """Return the unpacked vmagent of a release.

    :raises PackageError: apt failed.
    """
    return package("victoria-metrics", release=release) / "usr/bin/vmagent"


def age(release: str = RELEASES[0]) -> Path:
    """Return the unpacked program ``age`` of a release; ``age-keygen`` lies beside it.

    :raises PackageError: apt failed.
    """
    return package("age", release=release) / "usr/bin/age"


def grafana_collection() -> Path:
    """Return the collection community.grafana, which Debian's package ``ansible`` holds among a hundred others.

    :raises PackageError: apt failed.
    """
    place = "usr/lib/python3/dist-packages/ansible_collections/community/grafana"
    return package("ansible", f"./{place}") / place


def package(name: str, *members: str, release: str = RELEASES[0]) -> Path:
    """Return the root of one unpacked package of a release, without what it depends on.

    :param members: what is unpacked; all of it if none.
    """
    tree = CACHE / (name if release == RELEASES[0] else f"{name}-{release}")
    if not tree.is_dir():
        with _locked():
            if not tree.is_dir():
                apt = _apt_for_release(release)
                with tempfile.TemporaryDirectory(dir=_directory(CACHE), prefix=".download-") as download:
                    _run_apt(apt, ["apt-get", "download", name], cwd=Path(download))
                    _unpack(sorted(Path(download).glob("*.deb")), tree, *members)
    return tree


def host_layer(more: tuple[str, ...] = ()) -> Path:
    """Return a directory with what HOST_PACKAGES and `more` need beyond the machine's packages, to be laid over its root.

    :raises PackageError: apt failed.
    """
    return _layer("hosts", HOST_PACKAGES + more)


def root_of(release: str) -> Path:
    """Return the root of a whole Debian of another release than the machine's: unpacked, with no script run.

    :raises PackageError: apt failed.
    """
    tree = CACHE / "roots" / release
    if not tree.is_dir():
        with _locked():
            if not tree.is_dir():
                nothing = CACHE / "apt" / "nothing"
                _directory(nothing.parent)
                nothing.touch()
                apt = _apt_directory(f"root-{release}", [{**_mirror(), "suites": release}], nothing)
                archives = apt / "cache" / "archives"
                install = ["apt-get", "install", "--yes", "--download-only", "--no-install-recommends"]
                _run_apt(apt, [*install, "?essential", *ROOT_PACKAGES])
                _unpack(sorted(archives.glob("*.deb")), tree)
    return tree


def fips_provider() -> Path:
    """Return OpenSSL's FIPS provider, a module that any OpenSSL 3 loads.

    :raises PackageError: apt failed.
    """
    root = package("openssl-provider-fips", release=RELEASES[1])
    return next(root.glob("usr/lib/*/ossl-modules/fips.so"))


def browser() -> Path:
    """Return a directory with Chromium, its driver, a font, and the libraries that they need beyond the machine's.

    :raises PackageError: apt failed.
    """
    return _layer("browser", BROWSER_PACKAGES)


def _layer(kind: str, names: tuple[str, ...]) -> Path:
    """Return what `names` need beyond the machine's packages.

    It is resolved anew whenever the machine's packages change: an older library must never hide a newer one.
    """
    status = DPKG_STATUS.stat()
    key = hashlib.sha256(repr((status.st_mtime_ns, status.st_size, names)).encode()).hexdigest()[:16]
    layer = CACHE / kind / key
    if not layer.is_dir():
        with _locked():
            if not layer.is_dir():
                _fetch_layer(layer, names)
    return layer


def _is_version(candidate: str, wanted: str) -> bool:
    return candidate == wanted or candidate.startswith(wanted + ".")


def _cached_prometheus(trees: Path, wanted: str) -> Path | None:
    return next((path for path in sorted(trees.glob("[0-9]*")) if _is_version(path.name, wanted)), None)


def _fetch_prometheus(trees: Path, wanted: str) -> Path:
    available = []
    for release in RELEASES:
        apt = _apt_for_release(release)
        for version in _versions(apt, "prometheus"):
            # 2.42.0+ds-5+deb12u1 and 3.5.3+ds1-6: what upstream named it comes before the first + or -.
            upstream = re.split(r"[+~-]", version)[0]
            available.append(f"{upstream} ({release})")
            if not _is_version(upstream, wanted):
                continue
            packages = [f"prometheus={version}"]
            if version in _versions(apt, "promtool"):  # a package of its own from Debian 13 on
                packages.append(f"promtool={version}")
            with tempfile.TemporaryDirectory(dir=_directory(CACHE), prefix=".download-") as download:
                _run_apt(apt, ["apt-get", "download", *packages], cwd=Path(download))
                _unpack(sorted(Path(download).glob("*.deb")), trees / upstream)
            return trees / upstream
    raise PackageError(
        f"no Prometheus {wanted} on this machine's Debian mirror; it has {', '.join(available) or 'none'}. "
        "Ask for one of these."
    )


def _fetch_layer(layer: Path, names: tuple[str, ...]) -> None:
    apt = _apt_directory("machine", _machine_sources())
    archives = apt / "cache" / "archives"
    for old in archives.glob("*.deb"):
        old.unlink()
    # apt takes what the machine lacks, and newer versions of what it has only where a dependency demands them.
    install = ["apt-get", "install", "--yes", "--download-only", "--no-remove", "--no-install-recommends"]
    _run_apt(apt, [*install, *names])
    _unpack(sorted(archives.glob("*.deb")), layer)


def _unpack(debs: list[Path], target: Path, *members: str) -> None:
    """Unpack `debs` over each other into the new directory `target`, which appears complete or not at all."""
    building = Path(tempfile.mkdtemp(dir=_directory(target.parent), prefix=".new-"))
    try:
        building.chmod(0o755)
        for link in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            # A real directory here would hide the machine's /lib -> usr/lib once laid over it. tar keeps a link only if
            # it leads somewhere.
            if Path("/", link).is_symlink():
                (building / "usr" / link).mkdir(parents=True)
                (building / link).symlink_to(f"usr/{link}")
        for deb in debs:
            contents = ["dpkg-deb", "--fsys-tarfile", str(deb)]
            extract = [
                "tar",
                "--extract",
                "--preserve-permissions",
                "--keep-directory-symlink",
                f"--directory={building}",
                *members,
            ]
            with subprocess.Popen(contents, stdout=subprocess.PIPE) as reader:
                extracted = subprocess.run(extract, stdin=reader.stdout, check=False, capture_output=True, text=True)
            if reader.returncode or extracted.returncode:
                raise PackageError(f"unpacking {deb} failed: {extracted.stderr.strip()}. Remove {CACHE} and run again.")
        for path in building.rglob("*"):
            # The cache is no place for setuid programs; the lab sets the bit where a host needs it.
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and mode & 0o6000:
                path.chmod(stat.S_IMODE(mode) & ~0o6000)
        building.rename(target)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


@contextmanager
def _locked() -> Iterator[None]:
    with open(_directory(CACHE) / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for abandoned in [*CACHE.glob(".download-*"), *CACHE.glob("*/.new-*")]:
            shutil.rmtree(abandoned)  # of a process that was killed: nobody else works here while the lock is held
        yield


def _directory(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except PermissionError as error:
        raise PackageError(
            f"cannot make {path}: {error.strerror}. Give {environments.CACHE} to this user or remove it."
        ) from None
    return path


# --- apt --------------------------------------------------------------------------------------------------------------


@functools.cache
def _apt_for_release(release: str) -> Path:
    return _apt_directory(release, [{**_mirror(), "suites": release}])


def _mirror() -> dict[str, str]:
    """The machine's own source of its release, less everything but main."""
    codename = _codename()
    mirrors = [source for source in _machine_sources() if codename in source["suites"].split()]
    return {**mirrors[0], "components": "main"}


@functools.cache
def _versions(apt: Path, package: str) -> list[str]:
    lines = _run_apt(apt, ["apt-cache", "madison", package]).splitlines()
    return [line.split("|")[1].strip() for line in lines if line.count("|") == 2]


def _apt_directory(name: str, sources: list[dict[str, str]], status: Path = DPKG_STATUS) -> Path:
    """Make apt's private world for these sources with fresh lists, and return its directory.

    :param status: which packages are there already.
    """
    apt = CACHE / "apt" / name
    for path in ("lists/partial", "cache/archives/partial", "empty"):
        _directory(apt / path)
    (apt / "debian.sources").write_text(
        "\n".join("".join(f"{key}: {value}\n" for key, value in source.items()) for source in sources), encoding="utf-8"
    )
    settings = {
        "Dir::State": apt,
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": status,
        "Dir::Cache": apt / "cache",
        "Dir::Cache::archives": apt / "cache" / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::Etc::sourcelist": apt / "debian.sources",
        "Dir::Etc::sourceparts": apt / "empty",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": apt / "empty",
        # The machine's hooks must not run: some remove its own archives after every update.
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": apt / "empty",
        "APT::Update::Error-Mode": "any",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "true",  # the dpkg lock belongs to root, and nothing of dpkg's is touched here
        "Acquire::Retries": "3",
    }
    # How the machine reaches its mirror (proxy, time-outs, dates of a frozen mirror) holds here too.
    dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    acquire = [
        line
        for line in dump.splitlines()
        if line.startswith("Acquire::") and not line.startswith(("Acquire::IndexTargets", "Acquire::Languages"))
    ]
    lines = [*acquire, 'Acquire::Languages "none";', *(f'{key} "{value}";' for key, value in settings.items())]
    configuration = apt / "apt.conf"
    configuration.touch(mode=0o600)  # a proxy's address may hold a password
    configuration.chmod(0o600)
    configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
    _run_apt(apt, ["apt-get", "update", "--quiet"])
    return apt


def _run_apt(apt: Path, argv: list[str], cwd: Path | None = None) -> str:
    environment = {
        **os.environ,
        "APT_CONFIG": str(apt / "apt.conf"),
        "LC_ALL": "C",
        "DEBIAN_FRONTEND": "noninteractive",
    }
    try:
        done = subprocess.run(
            argv, check=False, capture_output=True, text=True, env=environment, cwd=cwd, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise PackageError(f"{argv[0]} is not here: packages are taken from a Debian machine's mirror") from None
    if done.returncode:
        raise PackageError(
            f"{' '.join(argv)} (APT_CONFIG={apt / 'apt.conf'}) ended with {done.returncode}:\n{done.stderr.strip()}\n"
            "Does the machine reach its Debian mirror?"
        )
    return done.stdout


def _codename() -> str:
    match = re.search(r'^VERSION_CODENAME="?(\w+)', Path("/etc/os-release").read_text(encoding="utf-8"), re.MULTILINE)
    if not match:
        raise PackageError(
            "/etc/os-release names no VERSION_CODENAME: packages are taken from a Debian machine's mirror"
        )
    return match.group(1)


def _machine_sources() -> list[dict[str, str]]:
    """Return the machine's sources of its own release, as deb822 fields with lower-case names."""
    etc = Path("/etc/apt")
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    sources = []
    for file in files:
        if file.suffix == ".list" and file.is_file():
            sources += parse_one_line(file.read_text(encoding="utf-8"))
        elif file.suffix == ".sources" and file.is_file():
            sources += parse_deb822(file.read_text(encoding="utf-8"))
    codename = _codename()
    kept = []
    for source in sources:
        suites = [suite for suite in source["suites"].split() if suite == codename or suite.startswith(codename + "-")]
        if "main" in source.get("components", "").split() and suites:
            kept.append({**source, "suites": " ".join(suites), "components": "main"})
    if not any(codename in source["suites"].split() for source in kept):
        raise PackageError(f"no source of {codename} main in {etc}: add the Debian mirror that this machine uses")
    return kept


def parse_one_line(text: str) -> list[dict[str, str]]:
    """Parse sources.list(5) lines of type deb into deb822 fields."""
    sources = []
    for line in text.splitlines():
        match = re.match(
            r"\s*deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>[^#]*)", line
        )
        if match:
            source = {
                "types": "deb",
                "uris": match["uri"],
                "suites": match["suite"],
                "components": match["components"].strip(),
            }
            for option in (match["options"] or "").split():
                name, _equals, value = option.partition("=")
                source["architectures" if name == "arch" else name.lower()] = value.replace(",", " ")
            sources.append(source)
    return sources


def parse_deb822(text: str) -> list[dict[str, str]]:
    """Parse the stanzas of a .sources file that are of type deb and enabled."""
    sources = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        source: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace() and name:
                source[name] += "\n" + line  # a key that stands in the file itself
            elif ":" in line:
                name, _colon, value = line.partition(":")
                name = name.strip().lower()
                source[name] = value.strip()
        if "deb" in source.get("types", "").split() and source.get("enabled", "yes").lower() not in (
            "no",
            "false",
            "0",
        ):
            sources.append({**source, "types": "deb"})
    return sources
