"""A real HTTP server on this machine that keeps what is posted to it."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Webhook:
    """A server that answers with the codes of `script`, and then with 200.

    Attributes
    ----------
    url : str
        Where to post to; its path is a secret.
    script : list of int
        Codes of the next answers; 0 closes the connection without one.
    posted : list of dict
        The bodies so far, with those that were refused.
    """

    url: str = ""
    script: list[int] = field(default_factory=list)
    posted: list[dict[str, Any]] = field(default_factory=list)

    def wait(self, timeout_s: float = 60) -> None:
        """Wait for the first post: a busy machine serves it long after the sender has gone."""
        deadline = time.monotonic() + timeout_s
        while not self.posted and time.monotonic() < deadline:
            time.sleep(0.05)


PATH = "T000-B000-hush"


@contextmanager
def webhook(*script: int) -> Iterator[Webhook]:
    """Serve one during a ``with`` block."""
    hook = Webhook(script=list(script))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/json"
            assert self.path == f"/services/{PATH}"
            hook.posted.append(json.loads(body))
            code = hook.script.pop(0) if hook.script else 200
            if code:
                self.send_response(code)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    hook.url = f"http://127.0.0.1:{server.server_port}/services/{PATH}"
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
