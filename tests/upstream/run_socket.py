"""CPython's own test_socket and test_timeout, with zolal.socket in the place of `socket`.

    run_socket.py [--defect] [--standard] [--json FILE] [CLASS | CLASS.test]...

Runs the interpreter's `test` package, where `import socket` gives zolal.socket and `import _socket`
a module whose `socket` is _zolal.Socket. A test counts as passed only if a kernel call of zolal is
in the recording during it. What does not apply, has no call or is known to fail stands in
socket_exceptions.py, each with its reason. `--defect`: recv and recv_into lose a byte, which must
turn the run red. `--standard`: all is left as it was, and nothing may count as passed.

Prints a row a class; exits 0 when all passed, 1 when not, 77 without a `test` package.
"""

import argparse
import collections
import faulthandler
import importlib.util
import json
import sys
import time
import types
import unittest

import socket_exceptions

import zolal.socket
from zolal import _zolal

MODULES = ("test_socket", "test_timeout")
RECORDING_SIZE = 64 << 20
HANGS_AFTER_S = 120
NO_TEST_PACKAGE = 77


def put_in_place():
    """From now on `socket` and `_socket` are zolal's, for whoever imports them."""
    import _socket

    ours = types.ModuleType("_socket")
    ours.__dict__.update(vars(_socket))
    ours.socket = ours.SocketType = _zolal.Socket
    for name in ("dup", "close", "socketpair", "getdefaulttimeout", "setdefaulttimeout"):
        setattr(ours, name, getattr(zolal.socket, name))
    sys.modules["socket"], sys.modules["_socket"] = zolal.socket, ours


def seed_defect():
    """What is received lacks its last byte."""

    class Lossy(zolal.socket.socket):
        __slots__ = ()

        def recv(self, *arguments):
            return super().recv(*arguments)[:-1]

        def recv_into(self, *arguments, **keywords):
            return max(super().recv_into(*arguments, **keywords) - 1, 0)

    zolal.socket.socket.recv = Lossy.__dict__["recv"]
    zolal.socket.socket.recv_into = Lossy.__dict__["recv_into"]


def stay_at_home():
    """test_timeout connects to a web server in the internet and waits in vain for what it says:
    one on this machine that says nothing will do. Returns it, to be kept open."""
    from test import test_timeout

    quiet = zolal.socket.create_server(("127.0.0.1", 0), backlog=100)
    address = quiet.getsockname()
    test_timeout.resolve_address = lambda host, port: address
    return quiet


def name_of(test):
    """ "Class.test_method"; of what is no method (setUpClass) what unittest calls it."""
    method = getattr(test, "_testMethodName", None)
    return f"{type(test).__name__}.{method}" if method else str(test)


class Result(unittest.TestResult):
    """What became of each test: name -> (outcome, why)."""

    def __init__(self, reader):
        super().__init__()
        self.reader = reader
        self.outcomes = {}
        self.calls = {}

    def count_calls(self):
        count = 0
        while events := self.reader.read():
            count += sum(event.kind == "call" for event in events)
        return count

    def startTest(self, test):
        super().startTest(test)
        faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True)
        self.count_calls()
        self.began = time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()
        name = name_of(test)
        self.calls[name] = self.count_calls()
        self.outcomes.setdefault(name, ("passed", ""))
        if self.outcomes[name][0] == "passed" and not self.calls[name]:
            reason = exception_for(name, socket_exceptions.WITHOUT_A_CALL)
            self.outcomes[name] = (
                ("uncounted", reason)
                if reason
                else ("failed", "no kernel call of zolal is in the recording")
            )

    def fail(self, test, failure):
        self.outcomes[name_of(test)] = ("failed", self._exc_info_to_string(failure, test))

    def addError(self, test, err):
        self.fail(test, err)

    def addFailure(self, test, err):
        self.fail(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.fail(test, err)

    def addUnexpectedSuccess(self, test):
        self.outcomes[name_of(test)] = ("failed", "unexpected success")

    def addSkip(self, test, reason):
        self.outcomes.setdefault(name_of(test), ("skipped", reason))


def exception_for(name, table):
    """The reason that the table has for the test or its class."""
    for key, reason in table.items():
        if name == key or name.split(".")[0] == key:
            return reason
    return None


def tests_of(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item


def select(names):
    """The tests that apply, and the names of those that do not with the reason of each."""
    chosen, apart = unittest.TestSuite(), {}
    for module in MODULES:
        loaded = importlib.import_module(f"test.{module}")
        for test in tests_of(unittest.TestLoader().loadTestsFromModule(loaded)):
            name = name_of(test)
            if names and not {name, name.split(".")[0]} & set(names):
                continue
            if reason := exception_for(name, socket_exceptions.NOT_APPLICABLE):
                apart[name] = reason
            else:
                chosen.addTest(test)
    return chosen, apart


def settle(result):
    """Expected failures become such; one that passes is a failure: the list must stay true."""
    for name, (outcome, _) in list(result.outcomes.items()):
        reason = exception_for(name, socket_exceptions.EXPECTED_FAILURES)
        if not reason or outcome == "skipped":
            continue
        expected = outcome == "failed"
        result.outcomes[name] = (
            ("expected", reason) if expected else ("failed", "passes, but is listed as a failure")
        )


def print_table(outcomes):
    columns = ("passed", "failed", "expected", "uncounted", "skipped")
    rows = collections.defaultdict(collections.Counter)
    for name, (outcome, _) in outcomes.items():
        rows[name.split(".")[0]][outcome] += 1
        rows["all"][outcome] += 1
    print(f"{'class':48}" + "".join(f"{column:>10}" for column in columns))
    for name, row in rows.items():
        if name != "all":
            print(f"{name:48}" + "".join(f"{row[column]:10}" for column in columns))
    print(f"{'all':48}" + "".join(f"{rows['all'][column]:10}" for column in columns))
    return rows["all"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--defect", action="store_true")
    parser.add_argument("--standard", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    if not importlib.util.find_spec("test") or not importlib.util.find_spec("test.test_socket"):
        print("this interpreter has no test.test_socket (Debian: libpython3-testsuite)")
        return NO_TEST_PACKAGE
    if not options.standard:
        put_in_place()
    if options.defect:
        seed_defect()
    from test import support

    support.use_resources = ["walltime", "cpu", "network"]
    result = Result(_zolal.Reader(_zolal.recording_start(RECORDING_SIZE)))
    suite, apart = select(options.names)
    with stay_at_home():
        suite.run(result)
    settle(result)
    for name, (outcome, why) in result.outcomes.items():
        if outcome == "failed":
            print(f"FAILED {name}\n    " + why.strip().replace("\n", "\n    "))
    total = print_table(result.outcomes)
    print(f"{len(apart)} do not apply (socket_exceptions.py)")
    if options.json:
        with open(options.json, "w") as file:
            outcomes = {name: list(outcome) for name, outcome in result.outcomes.items()}
            json.dump({"outcomes": outcomes, "calls": result.calls, "apart": apart}, file)
    _zolal.recording_stop()
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
