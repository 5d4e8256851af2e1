"""The command zolal.

Exit codes: 0 after SIGTERM or SIGINT, 2 usage, 3 could not start, 4 the application could not be
loaded."""

from __future__ import annotations

import math
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from zolal import _zolal

if TYPE_CHECKING:
    import subprocess

EXIT_CANNOT_START = 3
EXIT_CANNOT_LOAD = 4
XRAY_SIZE = 16 * 1024 * 1024
INT_MAX = (1 << 31) - 1
UINT64_MAX = (1 << 64) - 1

EXAMPLES = """\b
Examples:
  zolal mysite.wsgi                         Django: attribute `application`
  zolal "hello:create_app()"                a factory
  zolal hello:app -b :8000 -b unix:/run/hello.sock
  zolal hello:app --xray                    see each request's kernel calls

\b
Exit status: 0 after SIGTERM or Ctrl-C, 2 usage, 3 could not start,
4 the application could not be loaded. A second signal ends it at once.
"""


class Seconds(click.FloatRange):
    """What float() takes, but for "inf" and "nan"."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value} is not a number of seconds; for ever is 0", param, ctx)
        return seconds


class Limit:
    """A flag that sets a limit of the core; 'seconds' flags set its milliseconds."""

    def __init__(self, name: str, *flags: str, seconds: bool = False, help: str) -> None:
        self.name = name
        self.flags = flags
        self.scale = 1000 if seconds else 1
        self.default = _zolal.limits[name][0] // self.scale
        self.help = f"{help}  [default: {self.default}]"

    @property
    def parameter(self) -> str:
        return self.flags[0].lstrip("-").replace("-", "_")

    def option(self, command: Any) -> Any:
        kind: Any = click.IntRange(min=0) if self.scale == 1 else Seconds(min=0)
        return click.option(*self.flags, self.parameter, type=kind, help=self.help)(command)

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


def limit_options(command: Any) -> Any:
    for limit in reversed(LIMITS):
        command = limit.option(command)
    return command


def say(text: str) -> None:
    click.echo(f"zolal: {text}", err=True)


def fail(text: str, code: int) -> NoReturn:
    click.secho(f"zolal: {text}", fg="red" if sys.stderr.isatty() else None, err=True)
    sys.exit(code)


def refuse_later_features(workers: int) -> None:
    """A flag that a later release brings is refused by name, not ignored."""
    if workers != 1:
        raise click.UsageError(
            f"--workers {workers}: this release has one; leave --workers out or write --workers 1"
        )


def collect_limits(options: dict[str, Any]) -> dict[str, int]:
    given = {
        limit: options[limit.parameter] for limit in LIMITS if options[limit.parameter] is not None
    }
    return {limit.name: limit.scaled(value) for limit, value in given.items()}


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
    try:
        path = _zolal.recording_start(XRAY_SIZE if xray else 0)
    except (OSError, MemoryError) as error:
        say(f"goes on without a recording: {error}")
        return ""
    if not path:
        say(
            "the recording lies in this process's memory: "
            "no room for a file in $XDG_RUNTIME_DIR or /dev/shm"
        )
    return path


def start_xray(path: str) -> subprocess.Popen[bytes]:
    """Printing is another process's work, so that it costs the server nothing."""
    import subprocess

    if not path:
        fail("--xray needs a recording in a file, and there is no room for one", EXIT_CANNOT_START)
    # By its path: with -m a folder named zolal in the current one would come first.
    printer = os.path.join(os.path.dirname(__file__), "xray", "__main__.py")
    # By descriptor: a server that ends at once may have removed the file before the printer is up.
    recording = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        command = [sys.executable, printer, "--follow", f"/dev/fd/{recording}"]
        return subprocess.Popen(command, pass_fds=(recording,))
    finally:
        os.close(recording)


def address_to_open(bound: str) -> str:
    """What a person gives a browser, for the address of a listener."""
    if bound.startswith("unix:"):
        return bound
    host, _, port = bound.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "localhost"}.get(host, host)
    return f"http://{host}:{port}"


def print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"zolal {_zolal.version}")
        context.exit()


@click.command(
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("application", metavar="MODULE[:ATTRIBUTE]")
@click.option(
    "-b",
    "--bind",
    multiple=True,
    metavar="ADDRESS",
    help="Listen on host:port, [::]:port, :port or unix:PATH (repeatable).  "
    "[default: 127.0.0.1:8000]",
)
@click.option(
    "--backlog",
    type=click.IntRange(min=1, max=INT_MAX),
    default=2048,
    show_default=True,
    help="Most waiting connections.",
)
@click.option(
    "--app-dir",
    "--chdir",
    "app_dir",
    metavar="DIR",
    help="Change to this folder first; modules are sought there.",
)
@click.option(
    "--access-logfile", metavar="FILE", help="Write a line for each request; - is standard output."
)
@click.option(
    "--header-map",
    type=click.Choice(["drop", "refuse", "dangerous"]),
    default="drop",
    show_default=True,
    help="What to do with header names that have an underscore.",
)
@click.option(
    "--xray", is_flag=True, help="Print each request's journey: kernel calls under Python calls."
)
@click.option("--no-recorder", is_flag=True, help="Do not record kernel calls.")
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    default=16,
    show_default=True,
    help="Threads that run the application.  Only as many as are needed at once are used.",
)
@click.option("-w", "--workers", type=int, default=1, hidden=True)
@limit_options
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Show the version and exit.",
)
def main(
    application: str,
    bind: tuple[str, ...],
    backlog: int,
    app_dir: str | None,
    access_logfile: str | None,
    header_map: str,
    xray: bool,
    no_recorder: bool,
    threads: int,
    workers: int,
    **limits: Any,
) -> None:
    """Serve a WSGI application."""
    refuse_later_features(workers)
    if xray and no_recorder:
        raise click.UsageError("--xray needs the recorder: leave --no-recorder out")
    enter_folder(app_dir)
    serve(
        application,
        bind or ("127.0.0.1:8000",),
        backlog,
        xray,
        not no_recorder,
        access_log_fd=open_access_log(access_logfile),
        limits=collect_limits(limits),
        header_map=header_map,
        threads=threads,
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
    bind: tuple[str, ...],
    backlog: int,
    xray: bool,
    record: bool,
    **options: Any,
) -> None:
    """Listen first, since a port in use is known at once; then load the application; then run."""
    path = start_recording(xray) if record else ""
    try:
        server = _zolal.Server(handle_signals=True, python_calls=xray, on_message=say, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    printer = None
    try:
        bound = [server.listen(address, backlog=backlog) for address in bind]
        application = load(target)
        if xray:
            printer = start_xray(path)
        addresses = " and ".join(address_to_open(address) for address in bound)
        say(f"{_zolal.version} serves {target} on {addresses} (pid {os.getpid()})")
        server.run(application)
    except OSError as error:
        fail(error.strerror or str(error), EXIT_CANNOT_START)
    finally:
        server.close()
        _zolal.recording_stop()
        if printer:
            printer.wait()
