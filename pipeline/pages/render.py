"""Rendering a template of this folder to one self-contained HTML text."""

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
        A file of this folder that extends ``page.html`` (block ``content``).
    title : str
        Title of the page and of the window.
    script : str, optional
        A JavaScript file of this folder. The page's content security policy lets this text run and no other,
        so that a script in a track's name could not even if it were not escaped.
    **values
        What the template names. Texts are escaped; in a template ``{{ value | embedded }}`` inside
        ``<script type="application/json">`` hands a value to the page's script.

    Returns
    -------
    str
        The page: HTML with its style, script and pictures inside.

    Raises
    ------
    jinja2.UndefinedError
        If the template names a value that is not given.
    """
    source = "" if script is None else (_FOLDER / script).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            title=title,
            style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
            script=source,
            script_source=f"'sha256-{digest}'" if source else "'none'",
            **values,
        )
    )


def data_uri(data: bytes, media_type: str) -> str:
    """Bytes as a ``data:`` URI, which a page's pictures and sounds may come from."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


@lru_cache(maxsize=1)
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = _embedded
    return environment


def _embedded(value: Any) -> Any:
    """JSON that no text in it can end early, whatever a track is called."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - the characters that HTML knows are gone
