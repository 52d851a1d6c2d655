"""A host's events for browsers: Server-Sent Events over HTTP, and two orders to see some.

    python examples/sse.py [URI] [--port N]
    curl -N http://127.0.0.1:8000/events
    curl -X POST http://127.0.0.1:8000/domains/test/suspend

A message's ``id`` is the event's cursor, its ``event`` the topic (``domain.lifecycle``), its ``data`` the
CloudEvents JSON. A browser that lost its connection sends the last ``id`` back by itself, and gets
exactly what came meanwhile; if that is kept no more, a message ``gap`` says so, and the stream goes on. When the
host's engine ends, so do the streams, and the browsers come back by themselves: to the next engine, once there is one.

The server listens on this machine only, and asks nobody who they are. It needs starlette and uvicorn: ``pip install
.[examples]``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import aiovirt
from aiovirt.events import encode

STATUS = {aiovirt.NoSuchDomain: 404, aiovirt.InvalidArgument: 400, aiovirt.HostGone: 503}
QUIET = 15.0
"""Seconds of silence after which a client is told how far it has seen."""


def make_app(uri: str | None) -> Starlette:
    """The application; one host for all clients, for as long as it runs."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with aiovirt.connect(uri) as host, anyio.create_task_group() as tasks:
            app.state.host = host
            tasks.start_soon(stay_connected, app, host)
            yield
            tasks.cancel_scope.cancel()

    routes = [Route("/events", events), Route("/domains/{name}/{verb}", order, methods=["POST"])]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={aiovirt.Error: refuse})


async def stay_connected(app: Starlette, first: aiovirt.Host) -> None:
    """Puts the host by its next engine in place of the one whose engine is gone."""
    await end_of(first)
    while True:
        async with first.reconnect() as app.state.host:
            await end_of(app.state.host)


async def end_of(host: aiovirt.Host) -> None:
    """Returns when the engine behind ``host`` is gone."""
    with suppress(aiovirt.HostGone):
        async with host.events.subscribe(where=lambda _: False) as nothing:
            await nothing.receive()


async def events(request: Request) -> Response:
    """GET /events: what happens from now on, or after the cursor in ``Last-Event-ID`` or ``?after=``."""
    host: aiovirt.Host = request.app.state.host
    after = request.headers.get("last-event-id") or request.query_params.get("after")
    with suppress(aiovirt.EventGap):  # the stream tells of it
        async with host.events.subscribe(after=after):
            pass  # what is no cursor is refused here, while there still can be a status 400
    return StreamingResponse(messages(host, after), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def messages(host: aiovirt.Host, after: str | None) -> AsyncIterator[str]:
    """The stream of one client, until it leaves (then this is cancelled) or the host is gone."""
    while True:
        try:
            async with host.events.subscribe(after=after) as stream:
                yield message(stream.cursor)
                while True:
                    event = None
                    with anyio.move_on_after(QUIET):
                        event = await stream.receive()  # cancelled or not, it loses nothing
                    yield message(event.cursor, event.topic, encode(event).decode()) if event else message(stream.cursor)
        except aiovirt.EventGap as gap:
            lost = {"first_available": gap.first_available, "missed": gap.missed, "resume": gap.resume}
            yield message(gap.resume, "gap", json.dumps(lost))
            after = gap.resume
        except aiovirt.HostGone:
            return  # the browser comes back with the last id, and then the next engine may be there


def message(cursor: str, topic: str | None = None, data: str = "") -> str:
    """As the standard has it (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    Without data a browser only notes the id, and tells nobody: that is the bookmark of quiet times.
    """
    return f"id: {cursor}\nevent: {topic}\ndata: {data}\n\n" if topic else f"id: {cursor}\n\n"


async def order(request: Request) -> Response:
    """POST /domains/NAME/suspend or …/resume: answered when it is done."""
    host: aiovirt.Host = request.app.state.host
    domain = host.domain(request.path_params["name"])
    verbs = {"suspend": domain.suspend, "resume": domain.resume}
    verb = request.path_params["verb"]
    if verb not in verbs:
        raise aiovirt.InvalidArgument(f"{verb!r} is not one of {', '.join(verbs)}")
    await verbs[verb]()
    return JSONResponse({"name": domain.name, "state": domain.state})


async def refuse(request: Request, error: Exception) -> Response:  # noqa: ARG001 - starlette's signature
    """An error as an answer."""
    return JSONResponse({"error": str(error)}, next((status for kind, status in STATUS.items() if isinstance(error, kind)), 409))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("uri", nargs="?", metavar="URI", help="the host, such as test:///default (without: as aiovirt.connect chooses)")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    # An event stream never ends by itself: at the server's own end it is given a second.
    uvicorn.run(make_app(options.uri), port=options.port, timeout_graceful_shutdown=1)
