"""The templates of reports/, as jinja environments."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

# Links to reports/ in a checkout; a wheel carries the files themselves.
_FILES = Path(__file__).resolve().parent / "files"


def environment() -> Environment:
    """An environment in which an unknown name is an error and, for *.html.j2, everything is escaped."""
    return Environment(
        loader=FileSystemLoader(_FILES, followlinks=True),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
