"""Configuration of Sphinx."""

import importlib.metadata

project = "trio_coap"
copyright = "the trio_coap contributors"
release = importlib.metadata.version("trio-coap")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "speed-figures.md"]  # The figures are included in a page.
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Types stand in the signatures; docstrings add units and shapes.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"trio_coap {release}"
