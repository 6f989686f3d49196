# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of Sphinx for the site that tests/gates/site.py builds."""

project = "timesten.monitoring"
author = "The timesten.monitoring contributors"
copyright = f"2026 {author}"  # noqa: A001
extensions = ["sphinx_antsibull_ext", "myst_parser"]
html_theme = "alabaster"
html_use_index = False
pygments_style = "ansible"
default_role = "any"
nitpicky = True
# Pages of ansible-core are elsewhere; nothing is fetched to build the site.
nitpick_ignore_regex = [("std:(ref|term)", r"ansible_collections\.ansible\.builtin\..*|[a-z_]+")]
myst_heading_anchors = 3
