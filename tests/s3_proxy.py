"""A proxy that spoils a share of what an S3 server answers: seeded, counted, on the loopback interface."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, web
from multidict import CIMultiDict
from yarl import URL

ERRORS = {
    "internal_error": (500, "InternalError"),
    "service_unavailable": (503, "ServiceUnavailable"),
    "slow_down": (503, "SlowDown"),
}
"""Answered in the server's place, which then hears nothing of the request."""
REFUSALS = {
    "access_denied": (403, "AccessDenied"),
    "no_such_bucket": (404, "NoSuchBucket"),
}
"""As `ERRORS`, but final: no client asks again."""
BODIES = ("cut_body", "short_body", "truncated_body")
"""A connection reset in the body; one that ends early in good order; half a body said to be the whole."""
ANY = (*ERRORS, "no_answer", "lost_answer", "delay")
"""A connection cut before the server hears of the request, or after it has done it; half a second's wait."""
STALE = "stale_listing"
"""The listing's first answer again, whatever was written or removed since."""
KINDS = (*ANY, *BODIES, STALE)

_PER_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}


@dataclass
class FaultyProxy:
    """What the proxy does, and has done.

    Attributes
    ----------
    url : str
        Where clients find it, for ``AWS_ENDPOINT_URL``.
    rate : float
        Share of the requests that are spoiled.
    kinds : tuple of str
        The faults to choose from.
    below : str
        Only requests whose path and query hold this are spoiled.
    stale_below : str
        Only listings whose path and query hold this are ever stale.
    begins : str
        If not empty, the first request whose method, path and query hold this sets the rate to 1.
    silent : bool
        Accept connections, read requests and never answer.
    requests, injected : Counter
        Requests by method, and faults by kind.
    """

    url: str = ""
    rate: float = 0.0
    kinds: tuple[str, ...] = KINDS
    below: str = ""
    stale_below: str = ""
    begins: str = ""
    silent: bool = False
    requests: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    paths: list[str] = field(default_factory=list)

    def fault(self, request: web.Request, dice: random.Random) -> str | None:
        """The fault of a request, if it gets one; of those that its kind of request can have."""
        if dice.random() >= self.rate or self.below not in request.raw_path:
            return None
        kinds = [kind for kind in self.kinds if kind in ANY or kind in REFUSALS]
        if request.method == "GET":
            kinds += [kind for kind in self.kinds if kind in BODIES]
        if self._is_listing(request):
            kinds += [kind for kind in self.kinds if kind == STALE] * 3
        return dice.choice(kinds) if kinds else None

    def _is_listing(self, request: web.Request) -> bool:
        return "list-type=2" in request.raw_path and self.stale_below in request.raw_path


@contextmanager
def faulty_proxy(upstream: str, *, seed: int, **faults: Any) -> Iterator[FaultyProxy]:
    """Run the proxy in front of a server for the length of a ``with`` block.

    Signatures stay right: version 4 signs the header ``Host``, which is passed on as the client wrote it.
    """
    proxy = FaultyProxy(**faults)
    loop = asyncio.new_event_loop()
    handler = _Handler(proxy, upstream, random.Random(seed))
    thread = threading.Thread(target=loop.run_forever, daemon=True, name="faulty-s3")
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(handler.start(), loop).result(30)
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(handler.stop(runner), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


class _Handler:
    def __init__(self, proxy: FaultyProxy, upstream: str, dice: random.Random) -> None:
        self._proxy = proxy
        self._upstream = upstream
        self._dice = dice
        self._first_listings: dict[str, tuple[int, CIMultiDict[str], bytes]] = {}

    async def start(self) -> web.AppRunner:
        self._session = ClientSession(
            auto_decompress=False, cookie_jar=DummyCookieJar(), timeout=ClientTimeout(total=120)
        )
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def stop(self, runner: web.AppRunner) -> None:
        await runner.cleanup()
        await self._session.close()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        proxy = self._proxy
        proxy.requests[request.method] += 1
        proxy.paths.append(f"{request.method} {request.raw_path}")
        if proxy.begins and proxy.begins in proxy.paths[-1]:
            proxy.begins, proxy.rate = "", 1.0
        body = await request.read()
        if proxy.silent:
            proxy.injected["silence"] += 1
            await asyncio.sleep(3600)
        fault = proxy.fault(request, self._dice)
        if fault in ERRORS or fault in REFUSALS:
            proxy.injected[fault] += 1
            return _refusal(fault)
        if fault == "no_answer":
            proxy.injected[fault] += 1
            return await _cut(request)
        if fault == "delay":
            proxy.injected[fault] += 1
            await asyncio.sleep(0.5)
        status, headers, answer = await self._answer(request, body, fault)
        if fault == "lost_answer":
            proxy.injected[fault] += 1
            return await _cut(request)
        if fault in BODIES and len(answer) > 1 and status in {200, 206}:
            proxy.injected[fault] += 1
            return await _spoiled(request, status, headers, answer, fault)
        return await _whole(request, status, headers, answer, len(answer))

    async def _answer(
        self, request: web.Request, body: bytes, fault: str | None
    ) -> tuple[int, CIMultiDict[str], bytes]:
        """The server's answer; of a listing that is to be stale, its first one."""
        first = self._first_listings.get(request.raw_path)
        if fault == STALE and first is not None:
            self._proxy.injected[STALE] += 1
            return first
        headers = CIMultiDict(
            (name, value) for name, value in request.headers.items() if name.lower() not in _PER_HOP
        )
        async with self._session.request(
            request.method,
            URL(self._upstream + request.raw_path, encoded=True),
            headers=headers,
            data=body or None,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
        ) as response:
            answer = (response.status, CIMultiDict(response.headers), await response.read())
        if "list-type=2" in request.raw_path and response.status == 200:
            self._first_listings.setdefault(request.raw_path, answer)
        return answer


def _refusal(fault: str) -> web.Response:
    status, code = (ERRORS | REFUSALS)[fault]
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>injected</Message></Error>'
    )
    return web.Response(status=status, text=text, content_type="application/xml")


async def _whole(
    request: web.Request, status: int, headers: CIMultiDict[str], answer: bytes, length: int
) -> web.StreamResponse:
    """Answer with some bytes, said to be so many."""
    kept = CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _PER_HOP)
    if request.method != "HEAD":
        kept["Content-Length"] = str(length)
    response = web.StreamResponse(status=status, headers=kept)
    await response.prepare(request)
    if answer and request.method != "HEAD":
        await response.write(answer)
    return response


async def _spoiled(
    request: web.Request, status: int, headers: CIMultiDict[str], answer: bytes, fault: str
) -> web.StreamResponse:
    half = answer[: len(answer) // 2]
    if fault == "truncated_body":
        return await _whole(request, status, headers, half, len(half))
    response = await _whole(request, status, headers, half, len(answer))
    assert request.transport is not None
    if fault == "cut_body":
        request.transport.abort()
    else:
        request.transport.close()
    return response


async def _cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
