"""The pages' templates, and how numbers and texts are written in them."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from thresher import __version__
from thresher.places import MARK
from thresher.shown import PROSE, shown
from thresher.studies.report import numbers

HEAD = Markup(
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
    f'<meta name="generator" content="{MARK} {__version__}">\n<meta name="referrer" content="no-referrer">'
)
"""Of every page: no script runs and nothing is fetched, whatever stands in it; and who wrote it."""


def template(name: str, *, escape: bool = True, **filters: object) -> Template:
    """The template `name` of this folder, with the filters of `numbers` and those given.

    `escape`: of HTML. A name that a template uses and nobody gives is an error. Texts of the data are written so that
    no control character and no override of the writing direction is left in them.
    """
    environment = Environment(
        loader=PackageLoader("thresher.studies.report", "."),
        autoescape=escape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_visible,
    )
    environment.globals["head"] = HEAD
    known = (numbers.fixed, numbers.signed, numbers.scaled, numbers.duration, numbers.share)
    environment.filters.update({function.__name__: function for function in known} | filters)
    return environment.get_template(name)


def _visible(value: Any) -> Any:
    return shown(value, keep=PROSE) if isinstance(value, str) and not isinstance(value, Markup) else value
