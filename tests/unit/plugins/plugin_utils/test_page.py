# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as a page: what it says, how it is built, and that nothing in a ledger becomes markup."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="the page is made on the controller")

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.plugin_utils import ledger, page
from ansible_collections.timesten.monitoring.plugins.plugin_utils.ledger import Host, Known, Ledger, Pair

pytestmark = pytest.mark.controller
NOW = "2026-11-24T10:49:00Z"
VOID = {"meta", "link", "br", "hr", "img", "input", "path", "rect", "line"}


def fleet(exporters: int, clients: int, faulty: int = 0, **changes: Any) -> Ledger:
    """A ledger of a fleet; the first exporters are down."""
    pairs, known, hosts = [], [], []
    for number in range(exporters):
        name = f"exp{number + 1:03}"
        failed = number < faulty
        # Within a month, within a week, and over already: the first three.
        day = datetime.datetime(2026, 12, 10) + datetime.timedelta(
            days=[12, -12, -20][number] if number < 3 else number
        )
        for client in range(clients):
            reason = "its target is down: connection refused -> start the exporter" if failed else None
            pairs.append(
                Pair(
                    name,
                    f"prom{client + 1}",
                    "failed" if failed else "proven",
                    reason,
                    None,
                    not failed,
                    not failed,
                    None if failed else True,
                    f"{number:064x}",
                    f"{day.isoformat()}Z",
                )
            )
        known.append(
            Known(name, name, f"{name}.example.com:8888", f"2027-{number % 12 + 1:02}-01T00:00:00Z", 4.0 * clients, 15)
        )
        hosts.append(Host(name, "exporter", (f"{name}: there is no wallet",) if number % 2 else ()))
    hosts += [Host(f"prom{client + 1}", "prometheus") for client in range(clients)]
    made = Ledger("site", False, tuple(pairs), tuple(hosts), exporters=tuple(known), time=NOW)
    return dataclasses.replace(made, **changes)


class Page(HTMLParser):
    """The elements of a page, in order; fails where they are not nested."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.said.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())


@pytest.mark.parametrize(
    ("exporters", "clients", "faulty"), [(1, 1, 0), (3, 2, 1), (60, 3, 4), (500, 4, 500), (2, 60, 1)]
)
def test_structure(exporters: int, clients: int, faulty: int) -> None:
    made = fleet(exporters, clients, faulty)
    found = Page(page.render(made))
    ids = [attributes["id"] for _tag, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(attributes["href"]) for attributes in found.of("a")]
    assert links and all(link.startswith("#") and link[1:] in ids for link in links)
    named = [
        str(attributes["aria-labelledby"]) for _tag, attributes in found.elements if "aria-labelledby" in attributes
    ]
    assert named and set(named) <= set(ids)
    assert [len(found.of(tag)) for tag in ("html", "main", "header", "footer", "nav", "h1", "title")][:6] == [1] * 6
    assert found.of("html")[0]["lang"] == "en"
    assert len(found.of("table")) == len(found.of("caption"))
    assert all(attributes.get("scope") in ("col", "row") for attributes in found.of("th"))
    # What scrolls can be scrolled by keyboard, and has a name.
    wide = [attributes for attributes in found.of("div") if attributes.get("class") == "wide"]
    assert wide and all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in wide)
    # No state is told by its colour alone.
    states = [attributes for attributes in found.of("td") if attributes.get("class") in ("good", "bad", "other")]
    assert len(states) >= exporters * clients
    assert found.text.count("not proven") >= faulty * clients and found.text.count("✗") >= faulty * clients
    assert made.verdict().removesuffix(ledger.MEND).strip() in found.text and "above" not in found.text


def test_nothing_comes_from_elsewhere_and_nothing_runs() -> None:
    text = page.render(fleet(60, 3, 4))
    found = Page(text)
    assert not {tag for tag, _attributes in found.elements} & {
        "script",
        "iframe",
        "link",
        "img",
        "object",
        "form",
        "base",
    }
    assert not re.search(r"https?://|url\(|@import|\bon[a-z]+=|javascript:", text)
    (policy,) = [str(item["content"]) for item in found.of("meta") if item.get("http-equiv")]
    assert "default-src 'none'" in policy and "script-src" not in policy


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-->&amp;{{ 7 * 7103 }}{% raw %}",
    "</title></style><svg onload=a>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text(text: str) -> None:
    clean = Page(page.render(fleet(2, 2, 1))).elements
    pairs = tuple(
        Pair(
            f"{text}{exporter}",
            f"{text}{client}",
            "failed" if exporter else "proven",
            f"{text} reason" if exporter else None,
            served=text,
            expires=NOW,
        )
        for exporter in range(2)
        for client in range(2)
    )
    hosts = (Host(text, "exporter", (f"{text}: {text}",), text), Host(f"{text}p", "prometheus"))
    known = (Known(text, text, text, NOW, 3.0, 15),)
    made = Ledger("site", False, pairs, hosts, (text,), (text,), (text,), known, NOW)
    before = dataclasses.replace(made, pairs=(dataclasses.replace(pairs[0], state="failed"), Pair(text, text, "kept")))
    written = page.render(made, before, None) + page.render(made, None, text)
    found = Page(page.render(made, before, None))
    assert {tag for tag, _attributes in found.elements} <= {tag for tag, _attributes in clean} | {"h3", "ol"}
    assert not any(name.startswith("on") for _tag, attributes in found.elements for name in attributes)
    assert " ".join(text.split()) in found.text and "49721" not in written
    assert "<script>" not in written and "<img" not in written


def test_500x4_is_made_quickly_and_stays_small() -> None:
    for faulty in (0, 30, 500):
        made, before = fleet(500, 4, faulty), fleet(500, 4, 10)
        began = time.process_time()
        text = page.render(made, before)
        assert time.process_time() - began < 2
        assert len(text.encode()) < 500_000
        found = Page(text)
        # A drawing with a box for each exporter could not be read.
        assert len(page.topology(made.pairs).exporters) <= 15
        assert len(found.of("rect")) < 60 and len(found.of("path")) < 100


def test_matrix_shows_the_faulty_first_and_folds_the_others() -> None:
    made = fleet(60, 3, 2)
    found = page.matrix(made.pairs, {"its target is down: connection refused -> start the exporter": 1})
    assert found.clients == ("prom1", "prom2", "prom3")
    assert [name for name, _cells in found.shown] == ["exp001", "exp002"] and len(found.folded) == 58
    assert found.shown[0][1][0] == ("failed", 1) and found.folded[0][1][0] == ("proven", None)
    small = page.matrix(fleet(3, 2, 1).pairs, {})
    assert len(small.shown) == 3 and small.folded == ()
    sparse = page.matrix((Pair("a", "p", "proven"), Pair("b", "q", "kept")), {})
    assert [cells for _name, cells in sparse.shown] == [(("proven", None), None), (None, ("kept", None))]


def test_topology_groups_what_is_alike() -> None:
    small = page.topology(fleet(3, 2, 1).pairs)
    assert [node.names for node in small.exporters] == [("exp001",), ("exp002",), ("exp003",)]
    assert len(small.edges) == 6 and sum(edge.kind == "bad" for edge in small.edges) == 2
    large = page.topology(fleet(500, 4, 30).pairs)
    assert [(len(node.names), node.kind, node.what) for node in large.exporters] == [
        (30, "bad", "30 exporters: not proven"),
        (470, "good", "470 exporters: proven"),
    ]
    assert large.edges[-1].kind == "bad" and large.edges[-1].word == "30 not proven"
    # Each exporter has other clients: at most fourteen groups, and the rest.
    mixed = [Pair(f"exp{n}", f"prom{n % 40}", "failed" if n == 77 else "proven") for n in range(200)]
    found = page.topology(mixed)
    assert len(found.exporters) == 15 and len(found.clients) == 15
    assert found.exporters[0].names == ("exp77",)
    assert sum(len(node.names) for node in found.exporters) == 200


@pytest.mark.parametrize(
    ("ends", "words", "bars"),
    [
        ((), "", 0),
        ((None,), "", 0),
        (("2027-11-24T10:49:00Z",), "1 end later", 1),
        (("2026-11-20T00:00:00Z", "2026-11-28T00:00:00Z", "2026-12-20T00:00:00Z", "2036-01-01T00:00:00Z"), None, 3),
        (("2026-11-24T10:49:00Z",), "1 ended already", 1),
        (("9999-12-31T23:59:59Z",), "1 end later", 1),
        (("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"), "1 ended already, 1 end later", 2),
    ],
)
def test_expiry(ends: tuple[str | None, ...], words: str | None, bars: int) -> None:
    pairs = [Pair(f"exp{number}", "prom1", "proven", expires=end) for number, end in enumerate(ends)]
    found = page.expiry(pairs, page.parse_timestamp(NOW))
    assert len(found.bars) == bars and found.unknown == sum(end is None for end in ends)
    assert found.words == (
        words if words is not None else "1 ended already, 1 end within 7 days, 1 end within 30 days, 1 end later"
    )
    assert all(40 <= one.x and one.x + one.width <= 680 and 0 < one.height <= 110 for one in found.bars)
    assert sum(one.count for one in found.bars) == len([end for end in ends if end])
    assert 40 <= found.now <= 680
    assert all(page.parse_timestamp(f"{date}T00:00:00Z") for _x, date in found.ticks)


def test_due_is_one_line_a_day_the_first_first() -> None:
    made = fleet(4, 1)
    known = tuple(dataclasses.replace(item, due="2026-11-25T00:00:00Z") for item in made.exporters)
    found = page.due(dataclasses.replace(made, exporters=known), page.parse_timestamp(NOW))
    assert [(item.date, item.kind, item.distance) for item in found][:2] == [
        ("2026-11-20", "ended", "4 days ago"),
        ("2026-11-25", "bad", "in less than a day"),
    ]
    assert "wallets are due" in found[1].what and found[1].who == "4 exporters: exp001, exp002, exp003, exp004"
    assert "first certificate ends" in found[0].what and found[0].who == "exp003"


def test_rate_budgets_are_grouped() -> None:
    rows = [("a", 15.0, 15), ("b", 15.0, 15), ("c", 12.0, None), ("d", None, 15), ("e", 9.5, None)]
    known = tuple(Known(name, name, f"{name}:1", None, asked, limit) for name, asked, limit in rows)
    found = page.budgets(Ledger("site", False, exporters=known))
    assert [(item.who, item.asked, item.limit, item.share, item.word) for item in found] == [
        ("c", "12", "10 (documented, not set)", 120, "too many"),
        ("2 exporters: a, b", "15", "15", 100, "nearly full"),
        ("e", "9.5", "10 (documented, not set)", 95, "nearly full"),
    ]


def test_what_is_new_since_the_report_before() -> None:
    made = fleet(3, 2)
    old = list(made.pairs)
    old[0] = dataclasses.replace(old[0], state="failed", reason="down")
    old[1] = dataclasses.replace(old[1], served="0" * 63 + "f", expires="2026-12-01T00:00:00Z")
    del old[2]
    before = dataclasses.replace(made, pairs=(*old, Pair("exp9", "prom1", "proven")))
    assert page.since(before, made) == [
        "not proven, now proven: 1 pair (exp001 on prom1)",
        "another certificate is served: 1 pair (exp001 on prom2)",
        "ended 2026-12-01, now 2026-12-22: 1 pair (exp001 on prom2)",
        "not in the report before: 1 pair (exp002 on prom1)",
        "not in this report, because they were removed or are outside its limit: 1 pair (exp9 on prom1)",
    ]
    assert page.since(made, made) == []
    assert "All pairs are as they were." in Page(page.render(made, made)).text
    assert "There was none" in Page(page.render(made)).text
    assert "was of no use: no JSON" in Page(page.render(made, None, "no JSON")).text


def test_the_json_form_gives_the_same_page(tmp_path: Path) -> None:
    made = fleet(60, 3, 4, notes=("a note",), problems=("a problem",), rotations=("exp1: switched",))
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps(made.as_dict()), encoding="utf-8")
    again = page.read(str(path))
    assert again == made and again is not None
    assert page.render(again) == page.render(made)
    assert page.read(str(tmp_path / "none.json")) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "no JSON form of a ledger"),
        ('{"version": 2}', "version is 2, not 1"),
        ('{"version": 1}', "operation"),
        ('{"version": 1, "operation": "site", "check_mode": false, "pairs": [{"exporter": "a"}]}', "pairs[0].client"),
        ('{"version": 1, "operation": "site", "check_mode": "no"}', "check_mode"),
        ("\udcff", "is no JSON"),
    ],
)
def test_what_is_no_ledger_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "ledger.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(TimesTenError) as error:
        page.read(str(path))
    assert why in error.value.message and str(path) in error.value.message


def test_a_run_without_hosts_has_a_page() -> None:
    text = Page(page.render(Ledger("remove", True, problems=("there is no client x",)))).text
    assert "Nothing was done." in text and "there is no client x" in text


def test_every_state_has_its_words() -> None:
    assert set(page.WORDS) == set(ledger.get_args(ledger.State))


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_colours_have_the_contrast_of_aa_in_light_and_dark() -> None:
    """axe-core does not judge text in a drawing."""
    text = page.render(fleet(3, 2, 1))
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", rules))
        for rules in re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    )
    assert set(light) == set(dark) and len(light) == 13
    for colours in (light, dark):
        for name in ("text", "soft", "link"):
            for back in ("page", "card", "good-back", "bad-back", "warn-back", "other-back"):
                assert contrast(colours[name], colours[back]) >= 4.5, (name, back)
        for name in ("good", "bad", "warn"):
            assert (
                contrast(colours[name], colours["card"]) >= 4.5
                and contrast(colours[name], colours[f"{name}-back"]) >= 4.5
            )
