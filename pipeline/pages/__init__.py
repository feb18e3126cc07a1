"""Pages: self-contained HTML files with a common look.

Each page is a Jinja template that extends ``page.html``. `render` escapes every value, embeds the style sheet
and the page's script, and forbids everything else with a content security policy.
"""

from pipeline.pages.render import render, to_data_uri

__all__ = ["render", "to_data_uri"]
