"""The templates of reports/, as jinja environments."""

from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined, select_autoescape

_HERE = Path(__file__).resolve()
# In a checkout the templates are in reports/ at the top; a wheel carries them beside this module (pyproject.toml).
_PLACES = (_HERE.parent / "files", _HERE.parents[2] / "reports")


def environment() -> Environment:
    """An environment in which an unknown name is an error and, for *.html.j2, everything is escaped."""
    return Environment(
        loader=ChoiceLoader([FileSystemLoader(place) for place in _PLACES]),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
