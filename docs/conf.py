"""Sphinx builds these Markdown pages: `make docs`, where a warning is an error."""

from importlib.metadata import version as installed

project = "Legato"
author = "The Legato contributors"
project_copyright = "The Legato contributors"
version = release = installed("legato")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True
# Names of the standard library: Sphinx could resolve them only with a download.
nitpick_ignore_regex = [("py:.*", r"(?!legato).*")]

autodoc_member_order = "bysource"
autodoc_typehints = "description"

html_theme = "furo"
html_title = "Legato"
