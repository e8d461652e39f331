"""The pages' templates, and how numbers and texts are written in them."""

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from thresher.studies.report import numbers


def template(name: str, *, escape: bool = True, **filters: object) -> Template:
    """The template `name` of this folder, with the filters of `numbers` and those given.

    `escape`: of HTML. A name that a template uses and nobody gives is an error.
    """
    environment = Environment(
        loader=PackageLoader("thresher.studies.report", "."),
        autoescape=escape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    known = (numbers.fixed, numbers.signed, numbers.scaled, numbers.duration, numbers.share)
    environment.filters.update({function.__name__: function for function in known} | filters)
    return environment.get_template(name)
