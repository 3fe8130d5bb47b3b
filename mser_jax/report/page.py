"""Pages from templates: each is one file that loads nothing from outside.

The templates lie in `templates/`; `templates/page.html` says what a page passes to it. Whatever a
template prints is escaped, unless a macro of `templates/macros.html` made it.
"""

from __future__ import annotations

import base64
import re

import jinja2
from markupsafe import Markup, escape

from mser_jax.report import wording


def render(template: str, **values: object) -> str:
    """Render a page.

    Args:
      template: File name below `templates/`.
      values: Values that the template names.

    Raises:
      jinja2.UndefinedError: The template names a value that is missing.
    """
    return _environment().get_template(template).render(values)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mser_jax.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "breakable": _breakable,
        "data_url": _data_url,
        "number": wording.number,
        "percent": _percent,
        "plural": wording.pluralize,
        "signed": wording.signed,
        "slug": _slug,
    }
    environment.globals |= {
        "NOT_RECORDED": wording.NOT_RECORDED,
        "SYNTHETIC": wording.SYNTHETIC,
        "WARNING": wording.WARNING,
        "UPPER_BOUND": wording.UPPER_BOUND,
    }
    return environment


def _breakable(path: str) -> Markup:
    """Allow a line break after each slash of a path."""
    return Markup(escape(path).replace("/", Markup("/<wbr>")))


def _data_url(png: bytes) -> str:
    """Return the URL that embeds a PNG image in the page."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _percent(share: float, digits: int = 0) -> str:
    """Format a share (0..1) as a percentage: 0.125 becomes '12.5%' with one digit."""
    return f"{share:.{digits}%}"


def _slug(title: str) -> str:
    """Turn a title into an anchor: 'By class' becomes 'by-class'."""
    return "-".join(re.findall(r"\w+", title.lower()))
