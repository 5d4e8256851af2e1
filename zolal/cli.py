"""The command zolal.

Exit codes: 0 after SIGTERM or SIGINT, 2 usage, 3 could not start, 4 the application could not be
loaded.

What is imported here is in every server's memory, and in its time to start: argparse, and nothing
that only a mistake needs."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from functools import partial

from zolal import _zolal
from zolal.address import url_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from zolal.xray.follow import Follower

EXIT_USAGE = 2
EXIT_CANNOT_START = 3
EXIT_CANNOT_LOAD = 4
INT_MAX = 2**31 - 1
UINT64_MAX = 2**64 - 1
STOPS = (signal.SIGTERM, signal.SIGINT)

EXAMPLES = """\
Examples:
  zolal mysite.wsgi                         Django: attribute `application`
  zolal "hello:create_app()"                a factory
  zolal hello:app -b :8000 -b unix:/run/hello.sock
  zolal hello:app --xray                    see each request's kernel calls
  zolal hello:app --debug                   develop: reloads, shows tracebacks in the browser
  zolal echo                                the TCP echo server: see zolal echo --help
  zolal trace -- python client.py           any program's kernel calls: see zolal trace --help
  zolal explain                             one request through five servers, side by side

Exit status: 0 after SIGTERM or Ctrl-C, 2 usage, 3 could not start,
4 the application could not be loaded. A second signal ends it at once.
"""


def say(text: str) -> None:
    print(f"zolal: {text}", file=sys.stderr, flush=True)


def fail(text: str, code: int) -> NoReturn:
    text = f"zolal: {text}"
    print(f"\x1b[31m{text}\x1b[0m" if sys.stderr.isatty() else text, file=sys.stderr)
    sys.exit(code)


def help_formatter(prog: str) -> argparse.HelpFormatter:
    """As wide as the terminal, and no wider than is well read. (Left to itself argparse imports
    shutil, and that compression.)"""
    try:
        width = os.get_terminal_size().columns
    except OSError:
        width = 100
    return argparse.RawDescriptionHelpFormatter(prog, width=min(width, 100), max_help_position=30)


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(f"{message}\nTry '{self.prog} --help' for help.", EXIT_USAGE)


def integer(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of an argument: a whole number in a range."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number") from None
        if number < least or (most is not None and number > most):
            bounds = f"{least} or more" if most is None else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"{text} is not in the range {bounds}")
        return number

    return convert


def seconds(text: str) -> float:
    """The type of an argument: what float() takes, but for "inf" and "nan"."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds; for ever is 0")
    return number


class Limit:
    """A flag that sets a limit of the core; 'seconds' flags set its milliseconds."""

    def __init__(self, name: str, *flags: str, seconds: bool = False, help: str) -> None:
        self.name = name
        self.flags = flags
        self.scale = 1000 if seconds else 1
        self.default = _zolal.limits[name][0] // self.scale
        self.help = f"{help}  [default: {self.default}]"

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            *self.flags,
            dest=self.name,
            type=integer(0) if self.scale == 1 else seconds,
            metavar="N" if self.scale == 1 else "SECONDS",
            help=self.help,
        )

    def scaled(self, value: float) -> int:
        """In the core's unit. What is too large to be given stays too large for the core, and the
        shortest time does not become 0, for ever."""
        if value == 0:
            return 0
        return max(1, round(min(value * self.scale, UINT64_MAX)))


# gunicorn's names, where it has one.
LIMITS = (
    Limit("request_line", "--limit-request-line", help="Most bytes of a request line."),
    Limit("request_fields", "--limit-request-fields", help="Most header fields of a request."),
    Limit(
        "request_field_size",
        "--limit-request-field-size",
        "--limit-request-field_size",
        help="Most bytes of a header field.",
    ),
    Limit(
        "request_head",
        "--limit-request-head",
        help="Most bytes of a request line and all header fields.",
    ),
    Limit(
        "request_body", "--limit-request-body", help="Most bytes of a request body; 0: no limit."
    ),
    Limit(
        "head_ms",
        "--header-timeout",
        seconds=True,
        help="Seconds for a request's header; 0: for ever.",
    ),
    Limit(
        "body_ms",
        "--body-timeout",
        seconds=True,
        help="Seconds between pieces of a body; 0: for ever.",
    ),
    Limit(
        "chunk_extensions",
        "--limit-chunk-extensions",
        help="Most bytes of chunk extensions in a body.",
    ),
    Limit("trailers", "--limit-trailers", help="Most bytes of the trailers of a chunked body."),
    Limit(
        "queue",
        "--limit-queue",
        help="Most requests that wait for a thread; more get 503.  "
        "0: no limit, but no connection is accepted meanwhile.",
    ),
    Limit(
        "pipeline",
        "--limit-pipeline",
        help="Most pipelined requests of a connection answered before others get their turn.",
    ),
    Limit(
        "body_rate",
        "--body-rate",
        help="Least bytes a second of a body that takes longer than --body-timeout; 0: any.",
    ),
    Limit(
        "send_ms",
        "--send-timeout",
        seconds=True,
        help="Seconds for a client to take some of a reply; 0: for ever.",
    ),
    Limit(
        "keep_alive_ms",
        "--keep-alive",
        seconds=True,
        help="Seconds to keep an idle connection; 0: for ever.",
    ),
    Limit(
        "graceful_ms",
        "--graceful-timeout",
        seconds=True,
        help="Seconds that running requests get at a stop; 0: for ever.",
    ),
)


def open_access_log(path: str | None) -> int:
    if path is None:
        return -1
    if path == "-":
        return 1
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        fail(f"cannot write the access log {path}: {error.strerror}", EXIT_CANNOT_START)


def start_recording(xray: bool) -> str:
    """The recording's path, "" when only this process can read it."""
    size = 0
    if xray:
        from zolal.recording import XRAY_SIZE as size
        from zolal.recording import record_places

        record_places()
    try:
        path = _zolal.recording_start(size)
    except (OSError, MemoryError) as error:
        say(f"goes on without a recording: {error}")
        return ""
    if not path:
        say(
            "the recording lies in this process's memory: "
            "no room for a file in $XDG_RUNTIME_DIR or /dev/shm"
        )
    return path


def start_xray(path: str, calls: bool = False) -> Follower:
    if not path:
        fail("--xray needs a recording in a file, and there is no room for one", EXIT_CANNOT_START)
    from zolal import preload
    from zolal.xray.follow import Follower

    return Follower(path, calls, preload.join())


def add_common(add: Callable[..., object], default_bind: str, xray: str) -> None:
    """The options of every server that the command has."""
    add(
        "-b",
        "--bind",
        action="append",
        metavar="ADDRESS",
        help="Listen on host:port, [::]:port, :port or unix:PATH (repeatable).  "
        f"[default: {default_bind}]",
    )
    add(
        "--backlog",
        type=integer(1, INT_MAX),
        default=2048,
        metavar="N",
        help="Most waiting connections.  [default: 2048]",
    )
    add("--xray", action="store_true", help=xray)
    add("--no-recorder", action="store_true", help="Do not record kernel calls.")


def check_common(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.xray and options.no_recorder:
        parser.error("--xray needs the recorder: leave --no-recorder out")


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="zolal",
        usage="zolal [OPTIONS] MODULE[:ATTRIBUTE]\n       zolal echo [OPTIONS]\n"
        "       zolal run [--xray] PROGRAM...\n       zolal trace [OPTIONS] -- COMMAND...\n"
        "       zolal xray FILE [OPTIONS]\n       zolal explain [OPTIONS] [NAME]...",
        description="Serve a WSGI application.",
        epilog=EXAMPLES,
        formatter_class=help_formatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "application",
        metavar="MODULE[:ATTRIBUTE]",
        nargs="?",
        help="Where the application is: an attribute, or the call of a factory.",
    )
    add_common(
        add,
        "127.0.0.1:8000",
        xray="Print each request's journey: kernel calls under Python calls.",
    )
    add(
        "--app-dir",
        "--chdir",
        metavar="DIR",
        help="Change to this folder first; modules are sought there.",
    )
    add(
        "--access-logfile",
        metavar="FILE",
        help="Write a line for each request; - is standard output.",
    )
    add(
        "--header-map",
        choices=["drop", "refuse", "dangerous"],
        default="drop",
        help="What to do with header names that have an underscore.  [default: drop]",
    )
    add(
        "--debug",
        action="store_true",
        help="For development: Werkzeug's interactive debugger, FLASK_DEBUG=1, a coloured line for "
        "each request, and --reload.",
    )
    add(
        "--reload",
        action="store_true",
        default=None,
        help="For development: start again when a .py file below the current folder, or of an "
        "imported module, changes.",
    )
    add(
        "--no-reload",
        dest="reload",
        action="store_false",
        help="With --debug: do not reload.",
    )
    add(
        "--reload-extra",
        action="append",
        default=[],
        metavar="FILE",
        help="Reload when this changes, too: a file, a folder or a pattern (repeatable).",
    )
    add(
        "--threads",
        type=integer(1, 1024),
        default=16,
        metavar="N",
        help="Threads that may be in the application at once; quick requests need one.  "
        "[default: 16]",
    )
    add("-w", "--workers", type=integer(1), default=1, help=argparse.SUPPRESS)
    for limit in LIMITS:
        limit.add_to(parser)
    add(
        "--version",
        action="version",
        version=f"zolal {_zolal.version}",
        help="Show the version and exit.",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: serve a WSGI application, or what the first argument names."""
    is_command = arguments is None
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments[:1]) == ["echo"]:
        from zolal.echo import main as echo

        return echo(arguments[1:])
    if list(arguments[:1]) == ["trace"]:
        from zolal.trace.command import trace_main

        return trace_main(arguments[1:])
    if list(arguments[:1]) == ["run"]:
        from zolal.program import main as run_program

        return run_program(arguments[1:])
    if list(arguments[:1]) == ["xray"]:
        from zolal.trace.command import xray_main

        return xray_main(arguments[1:])
    if list(arguments[:1]) == ["explain"]:
        from zolal.trace.explain.command import main as explain

        return explain(arguments[1:])
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.application is None:
        parser.error("which application? Name it as MODULE:ATTRIBUTE, for example mysite.wsgi")
    if options.application == "echo":
        parser.error("echo comes first: zolal echo [OPTIONS]; the application is echo:application")
    if options.workers != 1:
        # What a later release brings is refused by name, not ignored.
        parser.error(
            f"--workers {options.workers}: this release has one; "
            "leave --workers out or write --workers 1"
        )
    check_common(parser, options)
    if options.xray and is_command:
        from zolal import preload

        preload.restart()
    reload = options.debug if options.reload is None else options.reload
    if options.reload_extra and not reload:
        parser.error("--reload-extra needs --reload")
    folder = os.getcwd()
    enter_folder(options.app_dir)
    keywords: dict[str, Any] = {
        "backlog": options.backlog,
        "xray": options.xray,
        "record": not options.no_recorder,
        "access_log_fd": open_access_log(options.access_logfile),
        "limits": {
            limit.name: limit.scaled(value)
            for limit in LIMITS
            if (value := getattr(options, limit.name)) is not None
        },
        "header_map": options.header_map,
        "threads": options.threads,
    }
    target, bind = options.application, options.bind or ["127.0.0.1:8000"]
    if not reload and not options.debug:
        serve(target, bind, **keywords)
        return
    from zolal.application import load
    from zolal.development import develop

    if options.debug:
        os.environ["FLASK_DEBUG"] = "1"
    develop(
        target,
        lambda: load(target),
        bind,
        reload=reload,
        extra=options.reload_extra,
        debugger=options.debug,
        request_lines=options.debug and options.access_logfile is None,
        folder=folder,
        **keywords,
    )


def enter_folder(app_dir: str | None) -> None:
    if app_dir is not None:
        try:
            os.chdir(app_dir)
        except OSError as error:
            fail(f"cannot change to the folder {app_dir}: {error.strerror}", EXIT_CANNOT_START)
    sys.path.insert(0, os.getcwd())


def load(target: str) -> Any:
    from zolal.application import ApplicationError
    from zolal.application import load as load_application

    try:
        return load_application(target)
    except ApplicationError as error:
        fail(str(error), EXIT_CANNOT_LOAD)


def serve(
    target: str,
    bind: Sequence[str],
    backlog: int,
    xray: bool,
    record: bool,
    **options: Any,
) -> None:
    path = start_recording(xray) if record else ""
    try:
        server = _zolal.Server(handle_signals=True, python_calls=xray, on_message=say, **options)
    except ValueError as error:
        fail(str(error), EXIT_USAGE)
    printer = partial(start_xray, path) if xray else None
    run_server(server, bind, backlog, target, url_of, printer, lambda: [load(target)])


def run_server(
    server: Any,
    bind: Sequence[str],
    backlog: int,
    what: str,
    shown: Callable[[str], str],
    start_printer: Callable[[], Follower] | None,
    prepare: Callable[[], list[Any]] = list,
) -> None:
    """Listen first, since a port in use is known at once; then prepare what run() takes, the
    application; then run until a signal. `shown`: an address for the user."""
    printer = None
    try:
        bound = [server.listen(address, backlog=backlog) for address in bind]
        arguments = prepare()
        if start_printer:
            printer = start_printer()
        addresses = " and ".join(map(shown, bound))
        # run() lets them through when it has its handlers: one that comes before waits for that.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        say(f"{_zolal.version} serves {what} on {addresses} (pid {os.getpid()})")
        server.run(*arguments)
    except OSError as error:
        fail(error.strerror or str(error), EXIT_CANNOT_START)
    finally:
        server.close()
        _zolal.recording_stop()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)  # run() may have failed before that
        if printer:
            printer.close()
