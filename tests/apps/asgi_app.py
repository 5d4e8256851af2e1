"""uvicorn's first example; it tells which loop it runs on."""

import asyncio


async def app(scope, receive, send):
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    of = type(asyncio.get_running_loop())
    loop = f"{of.__module__}.{of.__qualname__}".encode()
    headers = [(b"content-type", b"text/plain"), (b"x-loop", loop)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello, world!" + body})
