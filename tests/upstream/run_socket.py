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
import importlib.util
import sys
import types
import unittest

import socket_exceptions
from proof import Result, name_of, reason_for, report, settle, tests_of

import zolal.socket
from zolal import _zolal

MODULES = ("test_socket", "test_timeout")
RECORDING_SIZE = 64 << 20
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


class SocketResult(Result):
    def startTest(self, test):
        super().startTest(test)
        self.drain()  # what was before is not this one's

    def without_a_call(self, name):
        reason = reason_for(name, socket_exceptions.WITHOUT_A_CALL)
        return ("uncounted", reason) if reason else super().without_a_call(name)


def select(names):
    """The tests that apply, and the names of those that do not with the reason of each."""
    chosen, apart = unittest.TestSuite(), {}
    for module in MODULES:
        loaded = importlib.import_module(f"test.{module}")
        for test in tests_of(unittest.TestLoader().loadTestsFromModule(loaded)):
            name = name_of(test)
            if names and not reason_for(name, dict.fromkeys(names, "asked for")):
                continue
            if reason := reason_for(name, socket_exceptions.NOT_APPLICABLE):
                apart[name] = reason
            else:
                chosen.addTest(test)
    return chosen, apart


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
    result = SocketResult(_zolal.Reader(_zolal.recording_start(RECORDING_SIZE)), ("call",))
    suite, apart = select(options.names)
    with stay_at_home():
        suite.run(result)
    settle(result, socket_exceptions.EXPECTED_FAILURES)
    columns = ("passed", "failed", "expected", "uncounted", "skipped")
    status = report(result, apart, columns, options.json)
    _zolal.recording_stop()
    return status


if __name__ == "__main__":
    sys.exit(main())
