"""Calls that asyncio's loop makes for a coroutine are told under it."""

ECHO = """
import asyncio, socket, threading

async def echo(loop, client):
    while data := await loop.sock_recv(client, 100):
        await loop.sock_sendall(client, data)
    client.close()

async def listen(start):
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    client = asyncio.to_thread(ask, listener.getsockname())
    asked = asyncio.ensure_future(client)
    connection, _ = await loop.sock_accept(listener)
    await echo(loop, connection)
    await asked
    listener.close()

def ask(address):
    import time
    time.sleep(0.1)
    with socket.create_connection(address) as client:
        time.sleep(0.1)
        client.sendall(b"hello")
        client.recv(100)

asyncio.run(listen(None))
"""


def awaiting(call):
    return [frame["function"] for frame in call["stack"] if frame.get("awaits")]


def test_what_a_callback_of_the_loop_does_is_for_who_awaits_it(traced):
    calls = traced(ECHO).calls
    accepted = [call for call in calls if call["call"] == "accept4"]
    assert [call["result"] >= 0 for call in accepted] == [False, True]
    assert [name.rpartition(".")[2] for name in awaiting(accepted[1])] == ["listen", "sock_accept"]
    received = [call for call in calls if call["call"] == "recvfrom" and call["result"] == 5]
    for_echo = [call for call in received if awaiting(call)]
    assert [name.rpartition(".")[2] for name in awaiting(for_echo[0])] == [
        "listen",
        "echo",
        "sock_recv",
    ]
    named = [call for call in calls if call["call"] == "getsockname" and awaiting(call)]
    assert named, "what the callback does with the accepted socket is for the same"
    sent = [call for call in calls if call["call"] == "sendto" and "echo" in str(call["stack"])]
    assert not any(map(awaiting, sent)), "what a coroutine does by itself is awaited by nobody"
