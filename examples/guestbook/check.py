#!/usr/bin/env python
"""Serve the guestbook with --xray, ask for a page of each kind, stop it, say what was seen.

Exit status 1 when anything was not as it should be. Everything it writes lies in a folder of its
own that is removed afterwards.
"""

from __future__ import annotations

import http.cookiejar
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
START_SECONDS = 60
STOP_SECONDS = 30
ATTACHMENT = bytes(range(256)) * 1000
ROWS = 20_000
PASSWORD = uuid.uuid4().hex

failures = 0


def saw(good: bool, what: str) -> None:
    global failures
    failures += not good
    print(f"  {'saw' if good else 'MISSED'}  {what}", flush=True)


def prepare(environment: dict[str, str]) -> None:
    """A database with its tables and somebody who may use the admin."""
    manage = [sys.executable, "manage.py"]
    quiet = {"cwd": HERE, "check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([*manage, "migrate", "--noinput"], env=environment, **quiet)
    create = [
        *manage,
        "createsuperuser",
        "--noinput",
        "--username=admin",
        "--email=admin@example.org",
    ]
    subprocess.run(create, env={**environment, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}, **quiet)


def start(environment: dict[str, str], folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """The running server and its address, from the line it says on stderr."""
    errors = folder / "errors"
    command = [sys.executable, "-m", "zolal", "guestbook.wsgi:application"]
    with open(folder / "xray", "wb") as xray, open(errors, "wb") as stderr:
        server = subprocess.Popen(
            [*command, "--app-dir", str(HERE), "--xray", "--bind", "127.0.0.1:0"],
            cwd=folder,
            env=environment,
            stdout=xray,
            stderr=stderr,
        )
    for _ in range(START_SECONDS * 20):
        found = re.search(r"http://[\d.]+:\d+", errors.read_text())
        if found:
            return server, found.group()
        try:
            server.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    server.kill()
    sys.exit(f"the server did not start:\n{errors.read_text()}")


class Visitor:
    """A browser without a window: keeps cookies, follows redirects, knows Django's CSRF token."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.cookies)
        )

    def get(self, path: str) -> tuple[int, bytes]:
        return self._open(urllib.request.Request(self.base + path))

    def post(self, path: str, body: bytes, content_type: str) -> tuple[int, bytes]:
        headers = {"Content-Type": content_type, "Referer": self.base + path}
        return self._open(urllib.request.Request(self.base + path, body, headers))

    def post_fields(self, path: str, **fields: str) -> tuple[int, bytes]:
        fields["csrfmiddlewaretoken"] = self.token()
        body = urllib.parse.urlencode(fields).encode()
        return self.post(path, body, "application/x-www-form-urlencoded")

    def token(self) -> str:
        return next(
            (str(cookie.value) for cookie in self.cookies if cookie.name == "csrftoken"), ""
        )

    def _open(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with self.opener.open(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


def multipart(token: str, name: str, message: str, file: bytes) -> tuple[bytes, str]:
    boundary = uuid.uuid4().hex
    body = b""
    for field, value in (("csrfmiddlewaretoken", token), ("name", name), ("message", message)):
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n'.encode()
        body += value.encode() + b"\r\n"
    body += f'--{boundary}\r\nContent-Disposition: form-data; name="attachment"; '.encode()
    body += b'filename="bytes.bin"\r\nContent-Type: application/octet-stream\r\n\r\n' + file
    return body + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def visit_pages(visitor: Visitor) -> None:
    status, page = visitor.get("/")
    saw(status == 200 and b"Nobody has written yet" in page, "the first page, without entries")
    status, page = visitor.post_fields("/", name="Ada", message="limpid <water>")
    saw(status == 200 and b"limpid &lt;water&gt;" in page, "a form posted, its entry on the page")
    body, content_type = multipart(visitor.token(), "Grace", "with a file", ATTACHMENT)
    status, page = visitor.post("/", body, content_type)
    saw(status == 200 and b"with a file" in page, f"a file of {len(ATTACHMENT):,} bytes uploaded")
    status, file = visitor.get("/entries/2/attachment")
    saw(status == 200 and file == ATTACHMENT, "the same bytes downloaded")
    status, rows = visitor.get(f"/entries.csv?rows={ROWS}")
    saw(status == 200 and rows.count(b"\n") == ROWS + 1, f"a download of {ROWS:,} rows, streamed")
    status, page = visitor.get("/error")
    saw(status == 500 and b"raises on purpose" in page, "the error page, 500")
    saw(visitor.get("/nowhere")[0] == 404, "a page that is not there, 404")


def visit_admin(visitor: Visitor) -> None:
    status, page = visitor.get("/admin/login/")
    saw(status == 200 and b"csrfmiddlewaretoken" in page, "the admin's login page")
    status, style = visitor.get("/static/admin/css/base.css")
    saw(status == 200 and len(style) > 10_000, "a static file of the admin")
    credentials = {"username": "admin", "password": PASSWORD, "next": "/admin/entries/entry/"}
    status, page = visitor.post_fields("/admin/login/", **credentials)
    saw(status == 200 and b"Grace" in page, "the admin, logged in, with the entries")


def stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGTERM)
    try:
        status = server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        status = server.wait()
    saw(status == 0, f"an orderly stop, exit status {status}")


def look_at_xray(text: str) -> None:
    """Each kind of page has its tree, with kernel calls and Python calls in it."""
    trees = re.split(r"\n\n", text)

    def tree(title: str, *parts: str) -> None:
        found = [
            one for one in trees if one.startswith(title) and all(part in one for part in parts)
        ]
        saw(bool(found), f"the tree of {title} with {', '.join(parts)}")

    tree("server", "bind(", "listen(")
    tree("GET /", "accept4(", "recvfrom(", "calls the application", "sendto(")
    tree("POST /", "the application reads", "recvfrom(")
    tree("GET /entries/2/attachment", "sendfile(")
    tree("GET /entries.csv", "asks for the next piece", "more like this")
    tree("GET /error", "500")
    tree("GET /static/admin/css/base.css", "calls close()")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="guestbook-") as name:
        folder = Path(name)
        environment = {**os.environ, "GUESTBOOK_DATA": str(folder / "data")}
        prepare(environment)
        server, base = start(environment, folder)
        print(f"the guestbook on {base}", flush=True)
        steps: list[Callable[[], None]] = [
            lambda: visit_pages(Visitor(base)),
            lambda: visit_admin(Visitor(base)),
        ]
        try:
            for step in steps:
                step()
        finally:
            stop(server)
        look_at_xray((folder / "xray").read_text())
    print("all as it should be" if failures == 0 else f"{failures} not as it should be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
