"""The routes of the server."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from cifarnet import browser
from cifarnet.explanations import maps
from cifarnet.serving import (
    body,
    examples,
    metrics,
    open_inference,
    openapi,
    refusals,
    tensorflow_rest,
)
from cifarnet.serving.batcher import Batcher
from cifarnet.serving.limits import Access
from cifarnet.serving.network import VERSION, Network
from cifarnet.serving.refusals import Refused
from cifarnet.serving.uploads import Decoders, find

# Of every response. `no-store`: what someone's picture shows stays in no cache.
_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
]
_CLOSE = (b"connection", b"close")
_Endpoint = Callable[[Request], Awaitable[Response]]
_log = logging.getLogger("uvicorn.error")


class Service:
    """The network behind the routes, and what they share.

    Attributes:
        is_ready: false before the warm-up, and while the server ends.
        is_ending: responses then close their connection.
        requests: being answered.
        latest: when the latest request came, by `time.monotonic`.
    """

    def __init__(self, network: Network, access: Access, max_body: int, max_pixels: int) -> None:
        self.is_ready = self.is_ending = False
        self.requests, self.latest = 0, time.monotonic()
        self.network, self.access = network, access
        self.metrics = metrics.Metrics()
        self.bodies = body.Bodies(max_body)
        self.decoders = Decoders(network.size, max_pixels)
        self.batcher: Batcher | None = None
        self.document = openapi.document(network)

    async def start(self) -> None:
        """Start the inference thread and warm up."""
        loop = asyncio.get_running_loop()
        seconds = await loop.run_in_executor(None, self.network.warm_up)
        self.batcher = Batcher(self.network.predictor, self.metrics.on_batch, seconds)
        self.metrics.waiting.set_function(lambda: self._running().waiting)
        self.is_ready = True

    async def close(self) -> None:
        """End the threads."""
        if self.batcher is not None:
            await self.batcher.close()
        await self.decoders.close()

    def _running(self) -> Batcher:
        if self.batcher is None:
            raise refusals.busy("the server is not ready")
        return self.batcher

    # --- routes ---

    async def page(self, _: Request) -> Response:
        """`GET /`."""
        loop = asyncio.get_running_loop()
        html, headers = await loop.run_in_executor(None, lambda: self._page)
        return Response(html, media_type="text/html", headers=headers)

    @functools.cached_property
    def _page(self) -> tuple[str, dict[str, str]]:
        """The page and its headers; without examples if it shows them to people without a token."""
        network, is_open = self.network, self.access.token is None
        shown = browser.for_server(
            browser.About(
                network.name, tuple(network.classes), network.size, network.is_calibrated
            ),
            examples.of(network.run) if network.run is not None and is_open else None,
        )
        return shown.html, {
            "content-security-policy": f"{shown.policy}; frame-ancestors 'none'",
            "permissions-policy": "camera=(self), microphone=(), geolocation=()",
            "referrer-policy": "no-referrer",
        }

    async def live(self, _: Request) -> Response:
        """`GET /v2/health/live`."""
        return JSONResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        """`GET /v2/health/ready`."""
        return JSONResponse({"ready": self.is_ready}, 200 if self.is_ready else 503)

    async def model_ready(self, _: Request) -> Response:
        """`GET /v2/models/NAME/ready`."""
        document = {"name": self.network.name, "ready": self.is_ready}
        return JSONResponse(document, 200 if self.is_ready else 503)

    async def server(self, _: Request) -> Response:
        """`GET /v2`."""
        return JSONResponse(open_inference.server_metadata())

    async def model(self, _: Request) -> Response:
        """`GET /v2/models/NAME`."""
        return JSONResponse(open_inference.model_metadata(self.network))

    async def infer(self, request: Request) -> Response:
        """`POST /v2/models/NAME/infer`."""
        async with self.bodies.read(request) as content:
            return await open_inference.infer(request, content, self.network, self._running())

    async def model_status(self, _: Request) -> Response:
        """`GET /v1/models/NAME`."""
        return JSONResponse(tensorflow_rest.status(self.network, self.is_ready))

    async def predict_rows(self, request: Request) -> Response:
        """`POST /v1/models/NAME:predict`."""
        async with self.bodies.read(request) as content:
            key, pixels = tensorflow_rest.parse(content, self.network.size)
        rows = await self._running().predict(pixels)
        return JSONResponse(tensorflow_rest.respond(key, open_inference.finite(rows)))

    async def predict(self, request: Request) -> Response:
        """`POST /predict`."""
        top = _number(request, "top", 3, 1, len(self.network.classes))
        with_heat = _number(request, "heat", 0, 0, 1) == 1
        began = time.perf_counter()
        pixels = await self._decoded(request)
        row = open_inference.finite(await self._running().predict(pixels[None]))[0]
        ranked = np.argsort(-row)[:top].tolist()
        names = self.network.classes
        found: dict[str, Any] = {
            "model": self.network.name,
            "classes": [{"class": names[i], "probability": float(row[i])} for i in ranked],
        }
        if with_heat:
            heat = await self.decoders.run(lambda: self._heat(pixels, ranked[0]))
            found["heat"] = heat.tolist()
        found["milliseconds"] = round(1000 * (time.perf_counter() - began), 3)
        return JSONResponse(found)

    async def _decoded(self, request: Request) -> np.ndarray:
        """Return the pixels of the image file in a request; its bytes are not kept."""
        async with self.bodies.read(request) as content:
            file = find(content, request.headers.get("content-type", ""))
            return await self.decoders.run(lambda: self.decoders.decode(file))

    def _heat(self, pixels: np.ndarray, label: int) -> np.ndarray:
        """Return the occlusion map of a class, with squares of the training images' mean color.

        A file that does not state it gets the image's own.
        """
        color = self.network.mean_color or pixels.mean(axis=(0, 1)).tolist()
        explain = maps.occlusion(self._running().predict_from_thread, color)
        return explain(pixels[None], np.array([label]))[0].round(4)

    async def describe(self, _: Request) -> Response:
        """`GET /openapi.json`."""
        return JSONResponse(self.document)

    async def count(self, _: Request) -> Response:
        """`GET /metrics`."""
        return Response(self.metrics.text(), headers={"content-type": metrics.CONTENT_TYPE})


def _routes(service: Service) -> dict[str, dict[str, _Endpoint]]:
    """Return the endpoint of each path and method. Paths have no parameters: one network."""
    two = f"/v2/models/{service.network.name}"
    one = f"/v1/models/{service.network.name}"
    posts: dict[str, _Endpoint] = {
        "/predict": service.predict,
        f"{two}/infer": service.infer,
        f"{two}/versions/{VERSION}/infer": service.infer,
        f"{one}:predict": service.predict_rows,
    }
    gets: dict[str, _Endpoint] = {
        "/": service.page,
        "/metrics": service.count,
        "/openapi.json": service.describe,
        "/v2": service.server,
        "/v2/health/live": service.live,
        "/v2/health/ready": service.ready,
        two: service.model,
        f"{two}/ready": service.model_ready,
        f"{two}/versions/{VERSION}": service.model,
        f"{two}/versions/{VERSION}/ready": service.model_ready,
        one: service.model_status,
    }
    return {
        **{path: {"POST": endpoint} for path, endpoint in posts.items()},
        **{path: {"GET": endpoint, "HEAD": endpoint} for path, endpoint in gets.items()},
    }


class Application:
    """The ASGI application: checks who asks, finds the endpoint, counts the response."""

    def __init__(self, service: Service) -> None:
        self._service, self._routes = service, _routes(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        service, began, status = self._service, time.monotonic(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = [*_HEADERS, _CLOSE] if service.is_ending else _HEADERS
                message["headers"] = [*message["headers"], *more]
            await send(message)

        service.requests += 1
        service.latest = began
        try:
            response = await self._respond(Request(scope, receive))
            await response(scope, receive, send_with_headers)
        finally:
            service.requests -= 1
            path = scope["path"] if scope["path"] in self._routes else "other"
            service.metrics.on_response(path, status, time.monotonic() - began)

    async def _respond(self, request: Request) -> Response:
        try:
            path = request.scope["path"]
            self._service.access.check(path, request.headers)
            methods = self._routes.get(path)
            if methods is None:
                raise Refused(404, "there is no such path; /openapi.json lists them")
            endpoint = methods.get(request.method)
            if endpoint is None:
                allowed = ", ".join(methods)
                raise Refused(405, f"expected {allowed}", {"allow": allowed})
            return await endpoint(request)
        except Refused as error:
            return _refusal(error)
        except asyncio.CancelledError:
            if not self._service.is_ending:
                raise
            return _refusal(refusals.busy("the server ends"))
        except Exception as error:
            _log.exception("unexpected %s", type(error).__name__)
            return JSONResponse({"error": f"the server failed: {type(error).__name__}"}, 500)


def _refusal(error: Refused) -> Response:
    return JSONResponse({"error": error.text}, error.status, error.headers)


def _number(request: Request, name: str, default: int, low: int, high: int) -> int:
    """Return a number of the query.

    Raises:
        Refused: 400 for anything else than a number in the range.
    """
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise Refused(400, f"{name}: expected a number from {low} to {high}, received {text[:20]}")
    return int(text)
