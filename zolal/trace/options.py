"""The options of `zolal trace`."""

from __future__ import annotations

import argparse

from zolal import cli
from zolal.trace import run

VIEWS = ("tree", "summary", "html", "perfetto", "folded", "jsonl")
UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

TRACE_EXAMPLES = """\
Examples:
  zolal trace -- python manage.py runserver      then visit a page, and Ctrl-C
  zolal trace --summary -- python client.py      tables instead of trees
  zolal trace --calls -- python app.py           with every call of Python between the kernel's
  zolal trace -o run.trace -- gunicorn app:app   keep the recording: zolal xray run.trace
  zolal trace --report journey.html -- python server.py      a page that tells it to a reader
  zolal trace --exact -- ./static-server         whatever makes the calls, and however
  zolal trace --all-syscalls --summary -- python app.py      files, memory and locks, too
  zolal trace -p 4711                            a program that runs, until Ctrl-C

The program runs as it would without: what it prints, its exit code, its descriptors stay the same.
What is told is printed to standard error when it ends. Its children are traced, too.

What cannot be seen: calls that a program makes without the C library (statically linked ones, raw
instructions, io_uring), calls that the C library makes inside itself (looking up host names,
stdio), programs that are set-uid. Python lines and calls (--calls) are shown for CPython 3.10 to
3.14: not in subinterpreters; calls before 3.12 not while a thread has a profile function of
the program's (sys.setprofile, cProfile).

With --exact nothing is loaded into the program: the kernel stops it at each call that is recorded
(ptrace(2)), and all of these are seen but what goes through an io_uring's rings. A call that stops
costs the program nine times its CPU time, some more than under strace -f; a request to wsgiref
takes 2.6 times as long. (Without --exact it is 1.4 and 1.1 times.) --all-syscalls and -p stop the
program at every call. A program that is traced so cannot be looked at by a
debugger, nor become another user by a set-uid program.

Exit status: the program's; 126 it cannot be run or traced, 127 it was not found, 2 usage, 3 the
recording cannot be written; with -p 0.
"""


def size(text: str) -> int:
    """The type of an argument: bytes, with k, M or G behind it."""
    digits, unit = (text[:-1], text[-1:].lower()) if text[-1:].lower() in UNITS else (text, "")
    try:
        number = int(digits)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a size: 64M, for example") from None
    number *= UNITS.get(unit, 1)
    if not run.SIZE_LEAST <= number <= 1 << 40:
        raise argparse.ArgumentTypeError(f"{text} is not in the range 1M to 1024G")
    return number


def process_number(text: str) -> int:
    """The type of an argument: the number of a process, or of a thread of it."""
    if not text.isdecimal() or not 0 < int(text) < 1 << 22:
        raise argparse.ArgumentTypeError(f"{text} is not the number of a process")
    return int(text)


def make_trace_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="zolal trace",
        usage="zolal trace [OPTIONS] -- COMMAND [ARGUMENT]...\n       zolal trace [OPTIONS] -p PID",
        description="Run a program and show its kernel calls under the lines of Python that made "
        "them.",
        epilog=TRACE_EXAMPLES,
        formatter_class=cli.help_formatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="What to run.")
    view = parser.add_mutually_exclusive_group()
    view.add_argument(
        "--as", dest="view", choices=VIEWS, default=None, help="What to print.  [default: tree]"
    )
    view.add_argument(
        "--summary",
        dest="view",
        action="store_const",
        const="summary",
        help="Tables by call and by line: the same as --as summary.",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="Keep the recording there, and print nothing but what --as or --summary asks for.",
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        help="Write the journey there as a page to read (HTML), and print nothing but what --as or "
        "--summary asks for.",
    )
    parser.add_argument(
        "--calls",
        action="store_true",
        help="Every call of a Python function, too, and of a C function by Python.",
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="By ptrace(2): each call as the kernel has it, however the program makes it; slower.",
    )
    parser.add_argument(
        "--all-syscalls",
        action="store_true",
        help="Every call: of files, memory, locks, too; slower still (implies --exact).",
    )
    parser.add_argument(
        "-p",
        "--pid",
        type=process_number,
        metavar="PID",
        help="Trace a program that runs, all its threads and what it starts, until Ctrl-C or its "
        "end (implies --exact).",
    )
    parser.add_argument(
        "--max-size",
        type=size,
        metavar="SIZE",
        help="Most bytes of the recording; beyond it the oldest calls go.  [default: 256M, 64M "
        "with --calls; less where memory has less]",
    )
    return parser


def check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """What belongs together."""
    if options.pid is not None and options.command:
        parser.error("-p traces a program that runs: there is no command to be run, then")
    if options.pid is None and not options.command:
        parser.error("which program? zolal trace -- COMMAND, for example: -- python app.py")
    options.exact |= options.all_syscalls or options.pid is not None
    if options.exact and options.calls:
        parser.error(
            "--calls needs the library in the program, and --exact leaves it out (so do "
            "--all-syscalls and -p)"
        )
    # Who asks for a size is to have it, on a disk if need be.
    options.least = options.max_size or run.SIZE_ENOUGH
    options.max_size = options.max_size or (64 << 20 if options.calls else 256 << 20)
