"""CPython's own tests of wsgiref, socketserver and http.server, run on zolal.

    python tests/upstream/run_wsgiref.py [--seed-defect] [--counts FILE] [-v] SUITE...

SUITE is test_wsgiref, test_socketserver or test_httpservers of the interpreter's package `test`
(Debian: libpython3.11-testsuite). zolal's modules are put where the tests import the standard ones
from, before they do. A suite is one line of numbers; the exit status is 0 when no test failed.

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
import json
import pathlib
import socket
import sys
import types
import unittest
import wsgiref.handlers

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
PROOF = ("call", "python_enter")


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


class Result(unittest.TextTestResult):
    """Which tests have passed, and whether zolal took part in them."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.outcomes: dict[str, str] = {}

    def watch(self, reader: _zolal.Reader, lines: list[tuple[str, str, str]]) -> None:
        self.reader, self.lines = reader, lines

    def recorded(self) -> int:
        """Calls since this was last asked."""
        count = 0
        while events := self.reader.read():
            count += sum(event.kind in PROOF for event in events)
        return count

    def kind(self, test: unittest.TestCase) -> str | None:
        name = test.id().removeprefix("test.")
        return next((k for pattern, k, _ in self.lines if fnmatch.fnmatchcase(name, pattern)), None)

    def startTest(self, test):
        self.recorded()
        super().startTest(test)

    def stopTest(self, test):
        used = self.recorded()
        outcome = self.outcomes.get(test.id(), "skipped")
        kind = self.kind(test)
        if outcome != "skipped":
            if kind == NOT_APPLICABLE and used:
                outcome = "failed: it is listed as not applicable, but uses zolal"
            elif kind == NOT_APPLICABLE:
                outcome = "not applicable"
            elif kind == MAY_FAIL and outcome == "passed":
                outcome = "failed: it is listed as one that may fail, but passes"
            elif kind == MAY_FAIL:
                outcome = "excepted"
            elif outcome == "passed" and not used:
                outcome = "failed: zolal has recorded no call"
        self.outcomes[test.id()] = outcome
        super().stopTest(test)

    def addSuccess(self, test):
        self.outcomes.setdefault(test.id(), "passed")
        super().addSuccess(test)

    def addExpectedFailure(self, test, error):
        self.outcomes.setdefault(test.id(), "passed")
        super().addExpectedFailure(test, error)

    def addUnexpectedSuccess(self, test):
        self.outcomes[test.id()] = "failed"
        super().addUnexpectedSuccess(test)

    def addSkip(self, test, reason):
        self.outcomes.setdefault(test.id(), "skipped")
        super().addSkip(test, reason)

    def addFailure(self, test, error):
        self.outcomes[test.id()] = "failed"
        super().addFailure(test, error)

    def addError(self, test, error):
        self.outcomes[test.id()] = "failed"
        super().addError(test, error)

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.outcomes[test.id()] = "failed"
        super().addSubTest(test, subtest, error)


def run(suite: str, verbosity: int, failfast: bool) -> dict[str, int]:
    """Run one suite; its counts."""
    module = importlib.import_module(f"test.{suite}")
    importlib.import_module("test.support").verbose = 0
    module.verbose = 0
    tests = unittest.defaultTestLoader.loadTestsFromModule(module)
    reader = _zolal.Reader(RECORDING)
    runner = unittest.TextTestRunner(resultclass=Result, verbosity=verbosity, failfast=failfast)
    make_result = runner._makeResult

    def watching():
        result = make_result()
        result.watch(reader, listed(suite))
        return result

    runner._makeResult = watching
    outcomes = runner.run(tests).outcomes
    reader.close()
    for name, outcome in outcomes.items():
        if outcome.startswith("failed"):
            print(f"{name}: {outcome}")
    kinds = ("passed", "failed", "excepted", "not applicable", "skipped")
    counts = {kind: sum(one.startswith(kind) for one in outcomes.values()) for kind in kinds}
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print(f"{suite}, Python {sys.version.split()[0]}: {said}", flush=True)
    return counts


def main() -> int:
    global RECORDING
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], metavar="SUITE")
    parser.add_argument("--seed-defect", action="store_true")
    parser.add_argument("--counts", type=pathlib.Path, help="write the numbers there, as JSON")
    parser.add_argument("-v", action="count", default=0)
    arguments = parser.parse_args()
    put_zolal_in_place()
    if arguments.seed_defect:
        seed_defect()
    RECORDING = _zolal.recording_start(RECORDING_SIZE)
    suites = arguments.suites or SUITES
    counts = {suite: run(suite, arguments.v, arguments.seed_defect) for suite in suites}
    _zolal.recording_stop()
    if arguments.counts:
        arguments.counts.write_text(json.dumps(counts))
    return any(one["failed"] for one in counts.values())


if __name__ == "__main__":
    sys.exit(main())
