"""Rendering the templates in this folder to self-contained HTML."""

import base64
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent


def render(template: str, *, title: str, script: str | None = None, **values: object) -> str:
    """Fill a template in.

    Parameters
    ----------
    template : str
        A file in this folder that extends ``page.html`` (block ``content``).
    title : str
        Title of the page and the window.
    script : str, optional
        A JavaScript file in this folder. The content security policy allows only this script to run, so that
        a script in a track's name could not run even if it were not escaped.
    **values
        Variables of the template. Strings are escaped. To pass a value to the page's script, write
        ``{{ value | embedded }}`` inside ``<script type="application/json">``.

    Returns
    -------
    str
        HTML with its style, script and pictures embedded.

    Raises
    ------
    jinja2.UndefinedError
        If the template uses a variable that is not given.
    """
    source = "" if script is None else (_FOLDER / script).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return (
        _get_environment()
        .get_template(template)
        .render(
            title=title,
            style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
            script=source,
            script_source=f"'sha256-{digest}'" if source else "'none'",
            **values,
        )
    )


def to_data_uri(data: bytes, media_type: str) -> str:
    """Encode bytes as a ``data:`` URI, the only source of images and audio that the pages allow."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


@lru_cache(maxsize=1)
def _get_environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = _embed
    environment.filters["sentence"] = _begin_sentence
    return environment


def _begin_sentence(text: str) -> str:
    """Return a text with its first letter in upper case; ``capitalize`` would lower all others."""
    return text[:1].upper() + text[1:]


def _embed(value: Any) -> Any:
    """Encode a value as JSON that cannot close the script element early, for example with a track's name."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - characters special to HTML are escaped
