"""zolal.run(main(), xray=True): each task's kernel calls, steps and waits; and what is advised."""

import os
import re
import subprocess
import sys

import pytest

HEAD = """\
import asyncio
import time
import zolal
from zolal import socket

def pair():
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    return ends

"""


@pytest.fixture
def shown(tmp_path):
    """A function: what a program that ends with main() prints, by the title of each tree."""

    def run(text, call="zolal.run(main(), xray=True)", **environ):
        (tmp_path / "program.py").write_text(HEAD + text + "\n" + call + "\n")
        done = subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        trees = {}
        for tree in filter(None, map(str.strip, done.stdout.split("\n\n"))):
            title = tree.partition("\n")[0]
            trees[title] = trees.get(title, "") + tree
        return trees

    def line_of(mark):
        lines = (tmp_path / "program.py").read_text().splitlines()
        (number,) = (n for n, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))
        return f"program.py:{number}"

    run.line_of = line_of
    return run


def lines_of(tree):
    """(depth, text without times) of each line."""
    found = []
    for line in tree.splitlines()[1:]:
        text = line.lstrip("│├└─ ")
        text = re.sub(r"  [\d.]+ (µs|ms|s)$", "", text)
        found.append(((len(line) - len(line.lstrip("│├└─ "))) // 4, text))
    return found


ECHO = """\
async def inner(loop, sock):
    data = await loop.sock_recv(sock, 100)  # receives
    return data

async def echo(loop, sock):
    await loop.sock_sendall(sock, await inner(loop, sock))  # asks

async def main():
    loop = asyncio.get_running_loop()
    a, b = pair()
    task = loop.create_task(echo(loop, a), name="the echo")
    await asyncio.sleep(0.01)  # sleeps
    b.send(b"hello")
    await task  # awaits
    a.close()
    b.close()
"""


@pytest.mark.parametrize(
    ("call", "environ"),
    [
        ("zolal.run(main(), xray=True)", {}),
        ("zolal.run(main())", {"ZOLAL_XRAY": "1"}),
        (
            "loop = zolal.new_event_loop(xray=True)\nloop.run_until_complete(main())\nloop.close()",
            {},
        ),
    ],
)
def test_a_task_with_its_await_chain_and_its_waits(shown, call, environ):
    trees = shown(ECHO, call, **environ)
    where, asks = shown.line_of("receives"), shown.line_of("asks")
    tree = lines_of(trees["task the echo: echo()  done"])
    fd = re.search(r"recvfrom\((\d+)", str(tree)).group(1)
    chain = [(2, f"echo, {asks}"), (3, f"inner, {where}")]
    assert [line for line in tree if "epoll" not in line[1] and "held" not in line[1]] == [
        (1, f"holds the loop  echo, {asks.partition(':')[0]}:{int(asks.partition(':')[2]) - 1}"),
        *chain,
        (4, f"recvfrom({fd}, 100) = -1 EAGAIN"),
        (1, f"waits for  sock_recv < inner, {where}"),
        (1, f"holds the loop  inner, {where}"),
        *chain,
        (4, f"recvfrom({fd}, 100) = 5"),
        (3, f"sendto({fd}, 5) = 5"),
    ]
    assert [depth for depth, text in tree if text.startswith("epoll_ctl")] == [4]
    assert [depth for depth, text in tree if text.startswith("epoll_wait")] == [2]
    assert re.match(r"held the loop .* in 2 steps, .* the longest; waited ", tree[-1][1])
    main = next(
        tree for title, tree in trees.items() if re.match(r"task Task-\d+: main\(\)", title)
    )
    assert f"waits for  sleep < main, {shown.line_of('sleeps')}" in main
    assert f"waits for  task echo < main, {shown.line_of('awaits')}" in main


def test_nothing_is_printed_and_nothing_recorded_of_tasks_unless_asked_for(shown):
    assert shown(ECHO, "zolal.run(main())", ZOLAL_XRAY="0") == {}


def test_protocols_and_streams(shown):
    trees = shown("""\
class Upper(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data.upper())  # writes

async def main():
    server = await asyncio.get_running_loop().create_server(Upper, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello")  # asks
    assert await reader.read(100) == b"HELLO"  # reads
    writer.close()
    await writer.wait_closed()
    server.close()
""")
    tree = trees["Upper: read_ready"]
    assert "recvfrom(" in tree and f"data_received, {shown.line_of('writes')}\n" in tree
    main = next(tree for title, tree in trees.items() if ": main()" in title)
    assert f"main, {shown.line_of('asks')}\n" in main and "write\n" in main
    assert f"read < main, {shown.line_of('reads')}" in main


def test_who_blocks_the_loop_is_named(shown):
    trees = shown("""\
def compute(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:  # computes
        pass

async def sleeps():
    time.sleep(0.2)  # sleeps

async def receives():
    a, b = socket.socketpair()
    b.settimeout(0.2)
    try:
        b.recv(1)  # receives
    except TimeoutError:
        pass

async def main():
    loop = asyncio.get_running_loop()
    await loop.create_task(sleeps())
    await loop.create_task(receives())
    loop.call_soon(compute, 0.2)
    await asyncio.sleep(0.01)
""")
    advice = [line for tree in trees.values() for line in tree.splitlines() if "advice: " in line]
    assert len(advice) == 3 and all("held the loop for " in line for line in advice)
    for mark, name in (("sleeps", "sleeps"), ("receives", "receives"), ("computes", "compute")):
        assert any(f" at {name}, {shown.line_of(mark)}:" in line for line in advice), advice


def test_receives_of_one_byte_are_named(shown):
    trees = shown("""\
async def main():
    loop = asyncio.get_running_loop()
    a, b = pair()
    b.send(b"x" * 21)
    for _ in range(20):
        await loop.sock_recv(a, 1)  # small
    await loop.sock_recv(a, 1)  # one more
""")
    advice = [line for tree in trees.values() for line in tree.splitlines() if "advice: " in line]
    assert len(advice) == 1
    assert f"advice: 20 receives of 1 byte at main, {shown.line_of('small')}:" in advice[0]


def test_what_was_never_awaited_or_retrieved_is_named(shown):
    trees = shown("""\
import gc

async def forgotten():
    pass

async def fails():
    raise ValueError("no")  # raises

async def main():
    a, b = pair()
    forgotten()  # forgets
    asyncio.get_running_loop().sock_recv(a, 1)  # receives nothing
    b.send(b"x")  # goes on
    asyncio.create_task(fails())
    await asyncio.sleep(0.001)
    gc.collect()
""")
    reports = [tree for title, tree in trees.items() if title.startswith("advice")]
    assert f"advice  forgotten() was never awaited  main, {shown.line_of('forgets')}" in reports
    unread = "advice  EventLoop.sock_recv() was never awaited"
    assert f"{unread}  main, {shown.line_of('receives nothing')}" in reports
    (tree,) = (tree for title, tree in trees.items() if ": main()" in title)
    assert f"main, {shown.line_of('goes on')}\n" in tree
    failed = "advice  Task exception was never retrieved: ValueError: no"
    assert f"{failed}  fails, {shown.line_of('raises')}" in reports
    assert any(": fails()  raised" in title for title in trees)


def test_a_task_that_goes_on_is_told_in_pieces(shown):
    trees = shown("""\
async def main():
    for _ in range(300):
        await asyncio.sleep(0)
    asyncio.get_running_loop().create_task(asyncio.sleep(3600), name="for ever")
    await asyncio.sleep(0.001)
""")
    (pieces,) = (tree for title, tree in trees.items() if "main()  goes on" in title)
    assert "in 200 steps" in pieces
    assert any("main()  done" in title for title in trees)
    assert any("for ever: sleep()  cancelled" in title for title in trees)


def test_loops_in_threads_of_their_own(shown):
    trees = shown(
        """\
import threading

async def forgotten(n):
    pass

async def main(n):
    loop = asyncio.get_running_loop()
    a, b = pair()
    for i in range(50):
        b.send(b"x" * (n + 1))
        assert len(await loop.sock_recv(a, 100)) == n + 1
        await asyncio.sleep(0)
    forgotten(n)

threads = [
    threading.Thread(target=zolal.run, args=(main(n),), kwargs={"xray": True}) for n in range(3)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
""",
        "",
    )
    mains = [tree for title, tree in trees.items() if ": main()" in title]
    assert len(mains) == 3
    for tree in mains:
        sizes = set(re.findall(r"(?:sendto|recvfrom)\(.*\) = (\d+)", tree))
        assert len(sizes) == 1
    assert sum(tree.count("was never awaited") for tree in trees.values()) == 3


@pytest.mark.parametrize("debug", [False, True])
def test_a_task_that_failed_is_not_held(shown, debug):
    """By the frames of those that watch: its exception has them, from Python 3.12 on."""
    trees = shown(
        """
import gc
import weakref

async def fails():
    await asyncio.sleep(0)
    raise ValueError("no")

async def main():
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    task = asyncio.ensure_future(fails())
    reference = weakref.ref(task)
    del task
    await asyncio.sleep(0.01)
    print("held" if reference() else "gone", end="\\n\\n", flush=True)

gc.disable()
""",
        f"zolal.run(main(), xray=True, debug={debug})",
    )
    assert "gone" in trees
