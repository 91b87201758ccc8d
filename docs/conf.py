"""Settings of Sphinx, for `make docs`: this folder's pages, a gallery on a demo bucket, a reference from docstrings."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import reference_pages

import intake_laion_fmri
from intake_laion_fmri.demo import write_demo

project = "intake-laion-fmri"
author = "The intake-laion-fmri developers"
copyright = author
version = release = intake_laion_fmri.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "gallery", "**/GALLERY_HEADER.rst"]
default_role = "py:obj"

# --- the reference ----------------------------------------------------------------------------------------------------
autodoc_member_order = "alphabetical"
autodoc_typehints = "none"  # numpydoc's lists of parameters have them in words
autosummary_generate = False
numpydoc_show_class_members = False

# --- pages in Markdown ------------------------------------------------------------------------------------------------
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

# --- the gallery ------------------------------------------------------------------------------------------------------
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "filename_pattern": r"gallery/(?!batches_for_torch)",  # all are run but one, which needs what the site does not
    "within_subsection_order": "reference_pages.order_of_example",
    "abort_on_example_error": True,
    "capture_repr": ("_repr_html_", "__repr__"),
    "ignore_repr_types": r"matplotlib",  # the picture itself is shown
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_signature": False,
    "reset_modules": (),
    "write_computation_times": False,
    "backreferences_dir": "examples/backreferences",
}

# --- the looks --------------------------------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = "intake-laion-fmri"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 7,
}
html_sidebars = {"index": [], "start": [], "dataset": []}


def use_demo_bucket(folder: Path) -> None:
    """Write a demo bucket, once, and make it the bucket of all examples; they read no settings of this machine's."""
    for name in [name for name in os.environ if name.startswith("LAION_FMRI_")]:
        del os.environ[name]
    bucket = folder / "demo-bucket"
    if not bucket.exists():
        write_demo(bucket, scale="small")
    os.environ["LAION_FMRI_BUCKET"] = str(bucket)
    os.environ["LAION_FMRI_CACHE"] = str(folder / "cache")
    os.environ["LAION_FMRI_CONFIG"] = str(folder / "config")


def setup(app):
    """Make what pages are built from."""
    use_demo_bucket(HERE / "_build")
    for page in HERE.glob("examples/*.rst"):  # of an example that is gone; sphinx-gallery leaves it
        if page.stem != "index" and not (HERE / "gallery" / f"{page.stem}.py").exists():
            page.unlink()
    reference_pages.write(HERE / "reference", HERE)
    app.connect("missing-reference", reference_pages.find_short_name)
