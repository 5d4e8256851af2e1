"""What people run on asyncio, on zolal's loop: first programs of the documentations, as server
and as client, against a real PostgreSQL and a real Redis."""

import asyncio
import contextlib
import http.client
import re
import sys

import databases
import pytest
from loops import NAME, factory, kind, kind_made, run
from running import APPS

BODY = bytes(range(256)) * 4096  # more than a socket takes at once


# ------------------------------------------------------------------------------------------ uvicorn


def test_uvicorn_command(launch_command):
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "uvicorn", "asgi_app:app", "--port", "0", "--loop", NAME]
    server = launch_command(command)
    try:
        says = re.compile(r"running on http://127\.0\.0\.1:(\d+)")
        port = server.wait_until(lambda: says.search(server.stderr()), "uvicorn did not start")[1]
        client = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
        for body in (None, b"", BODY):
            client.request("POST" if body is not None else "GET", "/", body)
            answer = client.getresponse()
            assert (answer.status, answer.read()) == (200, b"Hello, world!" + (body or b""))
            assert answer.headers["x-loop"] == kind_made()
        client.close()
        server.stop(expect=None)
        assert "Finished server process" in server.stderr()
        assert "Traceback" not in server.stderr()
    finally:
        server.kill()


@contextlib.asynccontextmanager
async def uvicorn_server():
    """Its port; it runs in this loop."""
    uvicorn = pytest.importorskip("uvicorn")
    server = uvicorn.Server(
        uvicorn.Config("asgi_app:app", port=0, log_level="error", lifespan="off")
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


def test_httpx_client(monkeypatch):
    httpx = pytest.importorskip("httpx")
    monkeypatch.syspath_prepend(APPS)

    async def main():
        async with uvicorn_server() as port, httpx.AsyncClient() as client:
            url = f"http://127.0.0.1:{port}/"
            answer = await client.get(url)
            assert (answer.status_code, answer.text) == (200, "Hello, world!")
            assert answer.headers["x-loop"] == kind()
            answers = await asyncio.gather(
                *[client.post(url, content=b"%d" % n) for n in range(50)]
            )
            assert [one.content for one in answers] == [b"Hello, world!%d" % n for n in range(50)]
            async with client.stream("POST", url, content=BODY) as answer:
                pieces = [piece async for piece in answer.aiter_bytes()]
            assert b"".join(pieces) == b"Hello, world!" + BODY

    run(main())


# ------------------------------------------------------------------------------------------ aiohttp


def aiohttp_application(web):
    async def handle(request):
        return web.Response(text=f"Hello, {request.match_info.get('name', 'Anonymous')}")

    async def upload(request):
        return web.Response(body=await request.read())

    async def talk(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{message.data}/answer")
        return socket

    app = web.Application(client_max_size=len(BODY) + 1)
    app.add_routes([web.get("/", handle), web.get("/ws", talk), web.post("/", upload)])
    app.add_routes([web.get("/{name}", handle)])
    return app


def test_aiohttp_server_and_client():
    aiohttp = pytest.importorskip("aiohttp")
    from aiohttp import web

    async def main():
        runner = web.AppRunner(aiohttp_application(web))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/you") as answer:
                assert (answer.status, await answer.text()) == (200, "Hello, you")
            async with session.post(url, data=BODY) as answer:
                assert await answer.read() == BODY
            async with session.ws_connect(f"{url}/ws") as socket:
                for number in range(100):
                    await socket.send_str(str(number))
                    assert (await socket.receive()).data == f"{number}/answer"
        await runner.cleanup()

    run(main())


# -------------------------------------------------------------------------------------------- AnyIO


def test_anyio():
    anyio = pytest.importorskip("anyio")

    async def echo(stream):
        async with stream:
            async for data in stream:
                await stream.send(data)

    async def talk(port):
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            with anyio.fail_after(20):
                async with anyio.create_task_group() as group:
                    group.start_soon(client.send, BODY)
                    received = b""
                    while len(received) < len(BODY):
                        received += await client.receive()
            assert received == BODY

    async def main():
        assert kind() == kind_made_before
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with anyio.create_task_group() as clients:
                for _ in range(10):
                    clients.start_soon(talk, port)
            group.cancel_scope.cancel()
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert await anyio.to_thread.run_sync(lambda: 6 * 7) == 42
        done = await anyio.run_process([sys.executable, "-c", "print('from a child')"])
        assert done.stdout == b"from a child\n"

    kind_made_before = kind_made()
    anyio.run(main, backend="asyncio", backend_options={"loop_factory": factory()})


# --------------------------------------------------------------------------------------- websockets


def test_websockets():
    pytest.importorskip("websockets")
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import serve

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async def main():
        async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
            port = server.sockets[0].getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}", max_size=None) as socket:
                for message in ["Hello world!", "", BODY, *map(str, range(100))]:
                    await socket.send(message)
                    assert await socket.recv() == message

    run(main())


# --------------------------------------------------------------------------------------- PostgreSQL


@pytest.fixture(scope="module")
def postgresql():
    with databases.postgresql() as url:
        yield url


def test_asyncpg(postgresql):
    asyncpg = pytest.importorskip("asyncpg")

    async def one(pool, number):
        async with pool.acquire() as connection:
            return await connection.fetchval("SELECT $1::int * 2", number)

    async def main():
        connection = await asyncpg.connect(postgresql)
        await connection.execute("CREATE TEMP TABLE users(id serial PRIMARY KEY, name text)")
        await connection.execute("INSERT INTO users(name) VALUES($1)", "Bob")
        row = await connection.fetchrow("SELECT * FROM users WHERE name = $1", "Bob")
        assert dict(row) == {"id": 1, "name": "Bob"}
        await connection.copy_records_to_table(
            "users", records=[(f"{number}",) for number in range(10_000)], columns=["name"]
        )
        assert await connection.fetchval("SELECT count(*) FROM users") == 10_001
        with pytest.raises(asyncio.TimeoutError):
            await connection.execute("SELECT pg_sleep(20)", timeout=0.05)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        async with asyncpg.create_pool(postgresql, min_size=2, max_size=5) as pool:
            found = await asyncio.gather(*[one(pool, number) for number in range(100)])
            assert found == [2 * number for number in range(100)]

    run(main())


def test_psycopg(postgresql):
    psycopg = pytest.importorskip("psycopg", exc_type=ImportError)

    async def main():
        async with await psycopg.AsyncConnection.connect(postgresql) as connection:
            async with connection.cursor() as cursor:
                await cursor.execute("CREATE TEMP TABLE test (id serial PRIMARY KEY, data text)")
                await cursor.executemany(
                    "INSERT INTO test (data) VALUES (%s)", [(f"{number}",) for number in range(500)]
                )
                await cursor.execute("SELECT data FROM test ORDER BY id")
                assert [row[0] async for row in cursor] == [f"{number}" for number in range(500)]
            sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(20)"))
            await asyncio.sleep(0.05)
            sleeping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sleeping
            await connection.rollback()
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)

    run(main())


# -------------------------------------------------------------------------------------------- Redis


@pytest.fixture(scope="module")
def redis_url():
    with databases.redis() as url:
        yield url


async def next_message(subscription):
    while not (message := await subscription.get_message(True, timeout=10)):
        pass
    return message


def test_redis(redis_url):
    redis = pytest.importorskip("redis.asyncio")

    async def main():
        async with redis.from_url(redis_url) as client:
            assert await client.ping()
            await client.set("foo", BODY)
            assert await client.get("foo") == BODY
            async with client.pipeline(transaction=True) as pipe:
                assert await pipe.set("n", 1).incr("n").get("n").execute() == [True, 2, b"2"]
            counts = await asyncio.gather(*[client.incr("count") for _ in range(100)])
            assert sorted(counts) == list(range(1, 101))
            async with client.pubsub() as subscription:
                await subscription.subscribe("news")
                assert (await subscription.get_message(timeout=10))["type"] == "subscribe"
                await client.publish("news", "Hello")
                assert (await next_message(subscription))["data"] == b"Hello"
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.blpop("nothing"), 0.05)
            assert await client.ping()

    run(main())
