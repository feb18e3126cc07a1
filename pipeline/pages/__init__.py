"""Pages: single HTML files with nothing loaded from elsewhere, one look for all of them.

A page is a Jinja template that extends ``page.html``; `render` escapes every value, puts the style sheet and
the page's script inside, and forbids the browser anything else by a content security policy.
"""

from pipeline.pages.render import render, to_data_uri

__all__ = ["render", "to_data_uri"]
