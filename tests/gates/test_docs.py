# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of modules and roles, and the marks of all examples."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from gates import checkout, doc_examples


def test_antsibull_docs(copy: Path, collections_path: Path) -> None:
    """Modules, filters and the specifications of roles, as the documentation's builder reads them."""
    checkout.run(
        ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=all", "."],
        cwd=copy,
        env={"ANSIBLE_COLLECTIONS_PATH": str(collections_path)},
    )


def test_modules_document_what_users_rely_on(collections_path: Path) -> None:
    """Check mode, diff and the action group for ``module_defaults``."""
    out = checkout.run(
        ["ansible-doc", "--json", "--type", "module", *(f"timesten.monitoring.{name}" for name in checkout.modules())],
        env={"ANSIBLE_COLLECTIONS_PATH": str(collections_path)},
    )
    documented = json.loads(out[out.index("{") :])
    assert len(documented) == len(checkout.modules())
    for name, entry in documented.items():
        attributes = entry["doc"]["attributes"]
        assert {"check_mode", "diff_mode", "idempotent", "action_group"} <= set(attributes), name
        assert attributes["action_group"]["membership"] == ["timesten.monitoring.tt"], name
        assert attributes["check_mode"]["support"] == "full", name


def test_every_example_is_run_or_says_why_not() -> None:
    unmarked = [
        f"{block.place}: put <!-- example: NAME --> or <!-- not run: REASON --> before this {block.kind} block"
        for block in doc_examples.blocks()
        if block.kind in doc_examples.KINDS and not block.name and not block.not_run
    ]
    assert unmarked == []


def test_every_block_names_its_kind() -> None:
    """A block without a kind would pass the test above unseen; plain text is ``text``."""
    assert [block.place for block in doc_examples.blocks() if not block.kind] == []


def test_every_marked_example_is_used_by_a_test() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (checkout.ROOT / "tests").rglob("*.py")]
    used = doc_examples.used_names(sources)
    unused = [
        f"{block.place}: {block.name}" for block in doc_examples.blocks() if block.name and block.name not in used
    ]
    assert unused == []


def test_names_of_examples_are_unique() -> None:
    counted = Counter(block.name for block in doc_examples.blocks() if block.name)
    assert [name for name, count in counted.items() if count > 1] == []


def test_no_page_is_long() -> None:
    long = {page.name: len(page.read_text(encoding="utf-8").splitlines()) for page in doc_examples.pages()}
    assert {name: lines for name, lines in long.items() if lines > 200} == {}


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in doc_examples.pages():
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(checkout.ROOT)}: {target}")
    assert broken == []


PAGE = """\
<!-- example: first -->

```yaml
a: 1
```

<!-- example: lost -->
Words in between take the mark away.

```ini
[group]
```

1. In a list:

   <!-- not run: because -->
   ````console
   $ true
   ```
   ````
"""


def test_blocks_of_a_page() -> None:
    blocks = [(b.line, b.kind, b.text, b.name, b.not_run) for b in doc_examples.blocks_of(PAGE, "page")]
    assert blocks == [
        (3, "yaml", "a: 1\n", "first", None),
        (10, "ini", "[group]\n", None, None),
        (17, "console", "$ true\n```\n", None, "because"),
    ]
    with pytest.raises(ValueError, match="page:1: this fenced block is never closed"):
        list(doc_examples.blocks_of("```yaml\na: 1\n", "page"))
    with pytest.raises(ValueError, match="page:2: two marks for one block"):
        list(doc_examples.blocks_of("<!-- not run: x -->\n<!-- example: y -->\n```yaml\n```\n", "page"))


def test_commands_leave_output_out(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "```console\n$ make test \\\n    ARGS=-x\n12 passed \\\n$ make demo\n```\n"
    page = f"<!-- example: shell -->\n{text}"
    monkeypatch.setattr(doc_examples, "blocks", lambda: tuple(doc_examples.blocks_of(page, "page")))
    assert doc_examples.commands("shell") == ["make test \\\n    ARGS=-x", "make demo"]
    with pytest.raises(LookupError, match="marked: shell"):
        doc_examples.example("other")


def test_used_names() -> None:
    # Built in pieces, else this file itself would count as their user.
    call = "example"
    source = f'import doc_examples as d\n{call}("a")\nd.{call}("b")\nd.commands("c")\nd.plays("d")\nother("e")\n{call}(f())\n'
    assert doc_examples.used_names([source]) == {"a", "b", "c", "d"}
