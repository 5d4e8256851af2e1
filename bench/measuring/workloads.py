"""What the servers are asked, and what must come back."""

from __future__ import annotations

import html
from dataclasses import dataclass

BROWSER = b"""\
Connection: keep-alive
Cache-Control: max-age=0
sec-ch-ua: "Chromium";v="142", "Not=A?Brand";v="24"
sec-ch-ua-mobile: ?0
sec-ch-ua-platform: "Linux"
Upgrade-Insecure-Requests: 1
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
Chrome/142.0.0.0 Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8
Sec-Fetch-Site: same-origin
Sec-Fetch-Mode: navigate
Sec-Fetch-User: ?1
Sec-Fetch-Dest: document
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-GB,en;q=0.9,fa;q=0.8
Cookie: session=4c1d8a7be2f04a0f9d7a6d2b; theme=dark; csrftoken=Zk3vQmP0aXw8Lr5T
""".replace(b"\n", b"\r\n")
COOKIE = b"Cookie: session=" + b"0123456789" * 99 + b"01\r\n"
HELLO = b"Hello, world!\n"
SLOW = b"Sorry that you had to wait.\n"
UPLOAD = b"0123456789" * 1024
LARGE = b"0123456789abcdef" * 65536
ENTRIES = "".join(
    f"<li><b>Guest {number}</b>: {html.escape(f'Entry <{number}> & more')}</li>\n"
    for number in range(1, 21)
)
ENTRIES = f"<!doctype html>\n<title>Guests</title>\n<ul>\n{ENTRIES}</ul>\n"


@dataclass(frozen=True)
class Ask:
    """A request, the body that must come, and how many of a hundred requests are so."""

    request: bytes
    body: bytes
    share: int = 100
    name: str = ""


@dataclass(frozen=True)
class Workload:
    """`rate`: requests a second when the latency is measured. `blocks`: the application sleeps; the
    limit program does not do that. `idle`: connections that only stay open beside the busy ones."""

    name: str
    title: str
    asks: tuple[Ask, ...]
    app: str = "plain:hello"
    rate: float = 1000
    connections: int = 64
    pipeline: int = 1
    close: bool = False
    idle: int = 0
    blocks: bool = False


def get(path: bytes = b"/", fields: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n" + fields + b"\r\n"


def post(body: bytes) -> bytes:
    fields = b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
    return b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + fields + body


HELLOS = (Ask(get(), HELLO),)

WORKLOADS = [
    Workload("hello", "hello over kept connections", HELLOS),
    Workload("fields", "16 fields of a browser", (Ask(get(fields=BROWSER), HELLO),)),
    Workload("cookie", "a cookie of 1,000 bytes", (Ask(get(fields=COOKIE), HELLO),)),
    Workload("post", "POST of 10 KB, echoed", (Ask(post(UPLOAD), UPLOAD),), "plain:echo"),
    Workload("large", "a body of 1 MB", (Ask(get(), LARGE),), "plain:large", 200, 16),
    Workload(
        "close",
        "Connection: close",
        (Ask(get(fields=b"Connection: close\r\n"), HELLO),),
        close=True,
    ),
    Workload("pipeline", "16 requests in a row", HELLOS, rate=3200, pipeline=16),
    Workload(
        "flask", "Flask", (Ask(get(b"/hello/you"), b"Hello, you!\n"),), "flask_app:application"
    ),
    Workload(
        "django",
        "Django: SQLite, a template",
        (Ask(get(b"/entries/"), ENTRIES.encode()),),
        "django_app:application",
        500,
    ),
    Workload("sleep", "an application that sleeps 5 ms", HELLOS, "plain:sleeps", blocks=True),
    Workload(
        "mixed",
        "5 % of requests sleep 20 ms, latency of the others",
        (Ask(get(), HELLO, 95, "quick"), Ask(get(b"/slow"), SLOW, 5, "slow")),
        "plain:mixed",
        500,
        blocks=True,
    ),
    Workload("idle1000", "one busy connection beside 1,000 idle", HELLOS, connections=1, idle=1000),
    Workload(
        "idle10000", "one busy connection beside 10,000 idle", HELLOS, connections=1, idle=10000
    ),
]
