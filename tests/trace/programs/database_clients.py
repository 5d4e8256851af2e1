"""psycopg and redis, at the addresses in the arguments."""

import asyncio
import sys

import psycopg
import redis

database, cache = sys.argv[1:]
with psycopg.connect(database) as connection:
    connection.execute("CREATE TEMPORARY TABLE notes (text text)")
    connection.execute("INSERT INTO notes VALUES (%s)", ["a note" * 10_000])
    assert connection.execute("SELECT count(*) FROM notes").fetchone() == (1,)


async def select():
    async with await psycopg.AsyncConnection.connect(database) as connection:
        cursor = await connection.execute("SELECT 1")
        assert await cursor.fetchone() == (1,)


asyncio.run(select())
with redis.Redis.from_url(cache) as client:
    client.set("key", "value")
    assert client.get("key") == b"value"
    with client.pipeline() as pipeline:
        pipeline.incr("number").incr("number")
        assert pipeline.execute() == [1, 2]
