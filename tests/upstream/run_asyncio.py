"""CPython's own test_asyncio, with zolal's event loop in the place of asyncio's.

    run_asyncio.py [--loop MODULE:CLASS] [--standard] [--defect byte|callback] [--hangs-after S]
                   [--jobs N] [--json FILE] [MODULE | MODULE.CLASS | MODULE.CLASS.test]...

Runs the interpreter's `test` package, where every name by which a program makes a loop gives
zolal.EventLoop: asyncio.SelectorEventLoop, asyncio.EventLoop, what the policies make, and thereby
asyncio.new_event_loop, asyncio.run, asyncio.Runner and IsolatedAsyncioTestCase. A selector that a
test passes is closed and not used.

What counts: a test that builds a loop, which is to say that during it (setUp to clean-up) one of
these is made. It counts as passed only if a kernel call of that loop is in zolal's recording;
asyncio makes none there. One that succeeds without a loop (locks on a mocked one;
test_utils.TestLoop, which never asks a kernel) is `uncounted`. One in which asyncio's own selector
loop is made and zolal's is not has failed, but for those of asyncio_exceptions.OWN_LOOP. What is
known to fail stands there, too.

Each module runs in a process of its own, `--jobs` of them at a time (4: most of them wait). A test
that hangs or ends its process is cut, named and counted as failed; the others of its module run in
the next process.

`--loop`: another loop, to compare (uvloop:Loop); it counts as passed what builds one. `--standard`:
all is left as it was, and nothing may count as passed. `--defect`: what is received lacks a byte,
or each tenth callback is lost, which must turn the run red.

Prints a row a class; exits 0 when all passed, 1 when not, 77 without a `test` package.
"""

import argparse
import asyncio
import concurrent.futures
import importlib.util
import json
import pathlib
import pkgutil
import subprocess
import sys
import tempfile
import unittest

import asyncio_exceptions
from proof import Result, name_of, reason_for, report, settle, tests_of

PACKAGE = "test.test_asyncio"
OURS = "zolal:EventLoop"
RECORDING_SIZE = 16 << 20
NO_TEST_PACKAGE = 77
MODULE_S = 1800
LONG = ("test_tasks", "test_subprocess", "test_ssl")  # begin first


class Built:
    """How many loops were made since it was asked last: (in asyncio's place, asyncio's own)."""

    placed = own = 0

    def take(self):
        counts = self.placed, self.own
        self.placed = self.own = 0
        return counts


def loop_class(text):
    module, _, name = text.partition(":")
    return getattr(importlib.import_module(module), name)


def put_in_place(base, built):
    """From now on `base` is made where asyncio's selector loop was. Returns the class."""
    from asyncio import unix_events

    class Placed(base):
        def __init__(self, selector=None):
            if selector is not None:
                selector.close()
            super().__init__()
            built.placed += 1

    if not hasattr(base, "_default_executor"):
        Placed._default_executor = None  # at which test_utils looks when it closes a loop
    Placed.__name__, Placed.__qualname__ = base.__name__, base.__qualname__
    for module in (asyncio, unix_events):
        for name in ("SelectorEventLoop", "_UnixSelectorEventLoop", "EventLoop"):
            if hasattr(module, name):
                setattr(module, name, Placed)
    for value in list(vars(unix_events).values()):
        if hasattr(value, "_loop_factory"):
            value._loop_factory = Placed
    return Placed


def count_own(built, placed):
    """A selector loop that is none of those in place (None: there are none)."""
    from asyncio.selector_events import BaseSelectorEventLoop

    init = BaseSelectorEventLoop.__init__

    def counting(self, *arguments, **keywords):
        built.own += placed is None or not isinstance(self, placed)
        init(self, *arguments, **keywords)

    BaseSelectorEventLoop.__init__ = counting


def seed_byte(loop):
    """What is received lacks its last byte."""
    sock_recv, make = loop.sock_recv, loop._make_socket_transport

    async def lossy_recv(self, sock, count):
        return (await sock_recv(self, sock, count))[:-1]

    def lossy_transport(self, sock, protocol, *arguments, **keywords):
        of = type(protocol)
        if hasattr(of, "data_received"):

            def data_received(self, data):
                of.data_received(self, data[:-1])

            protocol.__class__ = type(of.__name__, (of,), {"data_received": data_received})
        return make(self, sock, protocol, *arguments, **keywords)

    loop.sock_recv, loop._make_socket_transport = lossy_recv, lossy_transport


def seed_callback(loop):
    """Each tenth callback is forgotten."""
    call_soon, made = loop.call_soon, [0]

    def forgetful(self, callback, *arguments, **keywords):
        made[0] += 1
        if made[0] % 10 == 0:
            callback, arguments = int, ()
        return call_soon(self, callback, *arguments, **keywords)

    loop.call_soon = forgetful


DEFECTS = {"byte": seed_byte, "callback": seed_callback}


# -------------------------------------------------------------------------- the process of a module


class AsyncioResult(Result):
    """Writes down what begins and what is over, a line each, so that it is known if the process is
    not there any more."""

    def __init__(self, reader, built, hangs_after, file):
        super().__init__(reader, ("call",), hangs_after)
        self.built, self.file = built, file
        self.counts = 0, 0

    def say(self, **words):
        print(json.dumps(words), file=self.file, flush=True)

    def drain(self):
        self.counts = self.built.take()
        return super().drain() if self.reader else self.counts[0]

    def startTest(self, test):
        super().startTest(test)
        self.drain()  # what was before is not this one's
        self.say(begins=name_of(test))

    def stopTest(self, test):
        super().stopTest(test)
        name = name_of(test)
        self.say(ends=name, outcome=self.outcomes[name], calls=self.calls[name])

    def without_a_call(self, name):
        placed, own = self.counts
        if placed:
            return ("failed", "no kernel call of its loop is in the recording")
        if not own:
            return ("uncounted", "builds no loop")
        reason = reason_for(name, asyncio_exceptions.OWN_LOOP)
        return ("uncounted", reason) if reason else ("failed", "asyncio's own loop is made in it")


def chosen(module, names, done):
    """The tests of a module that are asked for and not done."""
    suite = unittest.TestSuite()
    asked = [name for name in names if name != module and name.partition(".")[0] == module]
    for test in tests_of(unittest.defaultTestLoader.loadTestsFromName(f"{PACKAGE}.{module}")):
        name = name_of(test)
        if name not in done and (not asked or reason_for(name, dict.fromkeys(asked, "asked"))):
            suite.addTest(test)
    return suite


def run_here(module, options, done, file):
    """What a process of its own does for one module."""
    built = Built()
    placed = None if options.standard else put_in_place(loop_class(options.loop), built)
    if placed and options.defect:
        DEFECTS[options.defect](placed)
    count_own(built, placed)
    from test import support

    support.use_resources = ["walltime", "cpu", "network"]
    reader = None
    if options.loop == OURS:
        from zolal import _zolal

        reader = _zolal.Reader(_zolal.recording_start(RECORDING_SIZE))
    result = AsyncioResult(reader, built, options.hangs_after, file)
    # A suite of suites, so that the fixtures of modules and classes run, too.
    unittest.TestSuite([chosen(module, options.names, done)]).run(result)
    result.say(outcomes=result.outcomes, calls=result.calls)


# ----------------------------------------------------------------------------------- the whole run


class Found:
    """What processes have found, as proof.report() takes it."""

    def __init__(self):
        self.outcomes, self.calls = {}, {}

    def add(self, other):
        self.outcomes |= other.outcomes
        self.calls |= other.calls

    def run_process(self, module, options):
        """Returns whether it came to its end; if not, the test that it died in has failed."""
        with tempfile.TemporaryDirectory() as folder:
            found = pathlib.Path(folder) / "found"
            words = [sys.executable, __file__, "--child", str(found), *options.passed_on, module]
            process = subprocess.run(
                words,
                input=json.dumps(list(self.outcomes)),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                timeout=MODULE_S,
            )
            lines = found.read_text().splitlines() if found.exists() else []
        running = None
        for line in map(json.loads, lines):
            running = line.get("begins")
            if "ends" in line:
                self.outcomes[line["ends"]] = tuple(line["outcome"])
                self.calls[line["ends"]] = line["calls"]
            elif "outcomes" in line:
                self.outcomes |= {name: tuple(one) for name, one in line["outcomes"].items()}
                self.calls |= line["calls"]
                return True
        if running:
            hangs = "Timeout (" in process.stderr
            what = (
                f"hangs: cut after {options.hangs_after} s"
                if hangs
                else (f"ends the process with status {process.returncode}")
            )
            self.outcomes[running] = ("failed", f"{what}\n{process.stderr[-3000:]}")
        elif not lines:
            print(process.stderr[-3000:])
        return False


def run_module(module, options):
    """What it has found, in as many processes as it takes."""
    found, before = Found(), None
    while len(found.outcomes) != before:
        before = len(found.outcomes)
        if found.run_process(module, options):
            return found
    why = "its process ends with no test begun"
    found.outcomes[f"{PACKAGE}.{module}.None"] = ("failed", why)
    return found


def modules():
    package = importlib.import_module(PACKAGE)
    names = [one.name for one in pkgutil.iter_modules(package.__path__)]
    names = [name for name in names if name.startswith("test_")]
    return sorted(names, key=lambda name: name not in LONG)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loop", default=OURS)
    parser.add_argument("--standard", action="store_true")
    parser.add_argument("--defect", choices=DEFECTS)
    parser.add_argument("--hangs-after", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--json")
    parser.add_argument("--child")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    options.passed_on = [f"--loop={options.loop}", f"--hangs-after={options.hangs_after}"]
    options.passed_on += ["--standard"] if options.standard else []
    options.passed_on += [f"--defect={options.defect}"] if options.defect else []
    options.passed_on += [name for name in options.names if "." in name]
    return options


def main():
    options = arguments()
    if not importlib.util.find_spec("test") or not importlib.util.find_spec(PACKAGE):
        print("this interpreter has no test.test_asyncio (Debian: libpython3-testsuite)")
        return NO_TEST_PACKAGE
    if options.child:
        with open(options.child, "w") as file:
            run_here(options.names[-1], options, set(json.load(sys.stdin)), file)
        return 0
    wanted = {name.partition(".")[0] for name in options.names}
    names = [name for name in modules() if not wanted or name in wanted]
    apart = {name: reason_for(name, asyncio_exceptions.NOT_APPLICABLE) for name in names}
    apart = {name: reason for name, reason in apart.items() if reason}
    whole = Found()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        asked = [name for name in names if name not in apart]
        for found in pool.map(run_module, asked, [options] * len(asked)):
            whole.add(found)
    settle(whole, asyncio_exceptions.expected(sys.version_info))
    columns = ("passed", "failed", "expected", "uncounted", "skipped")
    return report(whole, apart, columns, options.json)


if __name__ == "__main__":
    sys.exit(main())
