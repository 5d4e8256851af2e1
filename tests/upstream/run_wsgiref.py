"""CPython's own tests of wsgiref, socketserver and http.server, run on zolal.

    python tests/upstream/run_wsgiref.py [--seed-defect] [--json FILE] SUITE

SUITE is test_wsgiref, test_socketserver or test_httpservers of the interpreter's package `test`
(Debian: libpython3.11-testsuite). zolal's modules are put where the tests import the standard ones
from, before they do. Prints a row a class; the exit status is 0 when no test failed.

The run proves itself. A test that succeeds counts as passed if zolal has recorded a call while it
ran, else as failed. wsgiref_exceptions.txt lists the tests to which that does not apply, and those
that may fail, each with its reason; a listed test that turns out to use zolal, or to pass, fails.
With --seed-defect what is written to a connection lacks its first byte: the run must fail."""

from __future__ import annotations

import argparse
import ast
import fnmatch
import importlib
import importlib.util
import pathlib
import socket
import sys
import types
import unittest
import wsgiref.handlers

from proof import Result, name_of, report

import zolal.handlers
import zolal.http_server
import zolal.simple_server
import zolal.socketserver
from zolal import _zolal

SUITES = ("test_wsgiref", "test_socketserver", "test_httpservers")
LIST = pathlib.Path(__file__).with_name("wsgiref_exceptions.txt")
NOT_APPLICABLE, MAY_FAIL = "not-applicable", "may-fail"
PATIENCE = 5
RECORDING_SIZE = 64 * 1024 * 1024


def listed(suite: str) -> list[tuple[str, str, str]]:
    """(pattern, kind, reason) of the suite's lines in the list."""
    lines = []
    for line in LIST.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern, kind, reason = line.split(None, 2)
        assert kind in (NOT_APPLICABLE, MAY_FAIL) and reason, line
        if pattern.startswith(suite + "."):
            lines.append((pattern, kind, reason))
    return lines


def replace_http_server() -> None:
    """http.server, but that the three classes which zolal has are zolal's: what else is there
    (SimpleHTTPRequestHandler, say) inherits from them."""
    spec = importlib.util.find_spec("http.server")
    tree = ast.parse(pathlib.Path(spec.origin).read_text())
    tree.body = [
        ast.parse(f"from zolal.http_server import {node.name}").body[0]
        if isinstance(node, ast.ClassDef) and node.name in zolal.http_server.__all__
        else node
        for node in tree.body
    ]
    module = types.ModuleType("http.server")
    module.__file__, module.__spec__ = spec.origin, spec
    sys.modules["http.server"] = module
    exec(compile(tree, spec.origin, "exec"), module.__dict__)
    importlib.import_module("http").server = module


def put_zolal_in_place() -> None:
    # Tests ask what stands in the module that they know.
    for module, name in ((zolal.socketserver, "socketserver"), (zolal.http_server, "http.server")):
        for public in module.__all__:
            getattr(module, public).__module__ = name
    sys.modules["socketserver"] = zolal.socketserver
    replace_http_server()
    for name in zolal.handlers.__all__:
        setattr(wsgiref.handlers, name, getattr(zolal.handlers, name))
    sys.modules["wsgiref.simple_server"] = zolal.simple_server
    wsgiref.simple_server = zolal.simple_server


def seed_defect() -> None:
    writer = zolal.socketserver._SocketWriter
    whole = writer.write

    def write(self, data):
        whole(self, bytes(data)[1:])
        return len(data)

    writer.write = write
    socket.setdefaulttimeout(PATIENCE)  # The tests' clients do not wait for the byte for ever.


class WsgirefResult(Result):
    def __init__(self, reader, lines):
        super().__init__(reader, ("call", "python_enter"))
        self.lines = lines

    def kind(self, name: str) -> tuple[str, str]:
        """What the list says of a test, and why; ("", "") where it says nothing."""
        name = name.removeprefix("test.")
        for pattern, kind, reason in self.lines:
            if fnmatch.fnmatchcase(name, pattern):
                return kind, reason
        return "", ""

    def startTest(self, test):
        super().startTest(test)
        self.drain()  # what was before is not this one's

    def stopTest(self, test):
        super().stopTest(test)
        name = name_of(test)
        kind, reason = self.kind(name)
        outcome, why = self.outcomes[name]
        if not kind or outcome == "skipped":
            return
        if kind == NOT_APPLICABLE and self.calls[name]:
            self.outcomes[name] = ("failed", "it is listed as not applicable, but uses zolal")
        elif kind == NOT_APPLICABLE:
            self.outcomes[name] = ("apart", reason)
        elif outcome == "passed":
            self.outcomes[name] = ("failed", "it is listed as one that may fail, but passes")
        else:
            self.outcomes[name] = ("expected", reason)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--seed-defect", action="store_true")
    parser.add_argument("--json", help="write what became of each test there")
    options = parser.parse_args()
    put_zolal_in_place()
    if options.seed_defect:
        seed_defect()
    module = importlib.import_module(f"test.{options.suite}")
    importlib.import_module("test.support").verbose = module.verbose = 0
    tests = unittest.defaultTestLoader.loadTestsFromModule(module)
    reader = _zolal.Reader(_zolal.recording_start(RECORDING_SIZE))
    result = WsgirefResult(reader, listed(options.suite))
    result.failfast = options.seed_defect
    tests.run(result)
    _zolal.recording_stop()
    return report(result, {}, ("passed", "failed", "expected", "apart", "skipped"), options.json)


if __name__ == "__main__":
    sys.exit(main())
