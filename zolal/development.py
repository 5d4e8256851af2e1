"""Serving while one develops: --reload and --debug, `flask zolal`.

Nothing of this is imported by a server that is to serve users."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from zolal import _zolal, cli
from zolal.address import url_of
from zolal.application import ApplicationError

if TYPE_CHECKING:
    from zolal.reload import Tether

Application: TypeAlias = Callable[[dict[str, Any], Any], Iterable[bytes]]

DEVELOPMENT = "for development only: --reload and --debug are not for users. Ctrl-C ends it"


def develop(
    name: str,
    load: Callable[[], Application],
    bind: Sequence[str],
    *,
    backlog: int = 2048,
    xray: bool = False,
    record: bool = True,
    reload: bool = True,
    extra: Sequence[str] = (),
    debugger: bool = True,
    request_lines: bool = True,
    folder: str,
    **options: Any,
) -> None:
    """Serve what `load` returns (it may raise ApplicationError) until a signal.

    reload: start again when a file changes: what the application has imported, any .py file below
        the current folder, and `extra`, paths or patterns. The command line is run again for that,
        in `folder`.
    debugger: show Werkzeug's debugger for an exception that the application lets through.
    request_lines: log each request, as `flask run` does.
    options: those of _zolal.Server."""
    if debugger:
        need_werkzeug()
    if request_lines:
        options["on_answer"] = log_answer
    tether = None
    if reload:
        from zolal.reload import GRACE, Tether

        limits = options.setdefault("limits", {})
        limits["graceful_ms"] = min(limits.get("graceful_ms", 1000) or 1000, int(GRACE * 1000))
        tether = Tether.inherited()
        if tether is None:
            supervise(name, bind, backlog, extra, folder, options)
    try:
        serve(name, load, bind, backlog, xray, record, debugger, tether, options)
    except KeyboardInterrupt:  # while the application was being loaded
        sys.exit(0)


def announce(name: str, bound: Sequence[str]) -> None:
    addresses = " and ".join(map(url_of, bound))
    cli.say(f"{_zolal.version} serves {name} on {addresses} (pid {os.getpid()})")
    cli.say(DEVELOPMENT)


def make_server(options: dict[str, Any], xray: bool) -> _zolal.Server:
    try:
        return _zolal.Server(handle_signals=True, python_calls=xray, on_message=cli.say, **options)
    except ValueError as error:
        cli.fail(str(error), cli.EXIT_USAGE)


def supervise(
    name: str,
    bind: Sequence[str],
    backlog: int,
    extra: Sequence[str],
    folder: str,
    options: dict[str, Any],
) -> None:
    """The process that the command has started: it listens, and lets another one serve."""
    from zolal.reload import CannotReload, Reloader

    server = make_server(options, False)
    try:
        bound = [server.listen(address, backlog=backlog) for address in bind]
        reloader = Reloader(
            server.filenos(), folder=folder, root=os.getcwd(), extra=extra, say=cli.say
        )
        reloader.prepare()
        announce(name, bound)
        status = reloader.run()
    except (OSError, CannotReload) as error:
        cli.fail(getattr(error, "strerror", None) or str(error), cli.EXIT_CANNOT_START)
    finally:
        server.close()
    sys.exit(status)


def serve(
    name: str,
    load: Callable[[], Application],
    bind: Sequence[str],
    backlog: int,
    xray: bool,
    record: bool,
    debugger: bool,
    tether: Tether | None,
    options: dict[str, Any],
) -> None:
    """Serve in this process, on what the reloader listens on if there is one."""
    path = cli.start_recording(xray) if record else ""
    if tether:
        tether.records(path)
    server = make_server(options, xray)
    printer = None
    try:
        if tether:
            bound = [server.adopt(fd, leave_queue=True) for fd in tether.listeners]
            if debugger or "on_answer" in options:
                os.environ["WERKZEUG_RUN_MAIN"] = "true"  # Flask and applications of it ask
        else:
            bound = [server.listen(address, backlog=backlog) for address in bind]
        application = load_or_explain(load, debugger, tether)
        if debugger:
            application = with_debugger(application, bound)
        if xray:
            printer = cli.start_xray(path)
        # run() lets them through when it has its handlers: one that comes before waits for that.
        signal.pthread_sigmask(signal.SIG_BLOCK, cli.STOPS)
        if tether:
            tether.will_serve(server.stop)
        else:
            announce(name, bound)
        server.run(application)
    except OSError as error:
        cli.fail(error.strerror or str(error), cli.EXIT_CANNOT_START)
    finally:
        server.close()
        _zolal.recording_stop()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, cli.STOPS)
        if printer:
            printer.close()


# -------------------------------------------------------------------------------- the application


def load_or_explain(
    load: Callable[[], Application], debugger: bool, tether: Tether | None
) -> Application:
    """The application; where it cannot be loaded and will be loaded again, one that says why."""
    try:
        return load()
    except ApplicationError as error:
        failure = error.__cause__
        if failure is None or tether is None:
            cli.fail(str(error), cli.EXIT_CANNOT_LOAD)
    own_part = without_loading(failure.__traceback__)
    tether.failed(files_of(failure))
    sys.stderr.write("".join(traceback.format_exception(failure.with_traceback(own_part))))
    sys.stderr.flush()
    if not debugger:
        sys.exit(cli.EXIT_CANNOT_LOAD)
    return failing(failure, own_part)


def without_loading(frames: TracebackType | None) -> TracebackType | None:
    """A traceback from where the application's own code begins."""
    while frames and is_loading(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def is_loading(file: str) -> bool:
    return (
        file.startswith(os.path.dirname(__file__) + os.sep)
        or "importlib" in file
        or file.endswith(os.path.join("flask", "cli.py"))
    )


def files_of(failure: BaseException) -> set[str]:
    """Those that could mend it when they change."""
    files = {frame.filename for frame in traceback.extract_tb(failure.__traceback__)}
    if isinstance(failure, SyntaxError) and failure.filename:
        files.add(failure.filename)
    return {
        os.path.abspath(file) for file in files if os.path.isfile(file) and not is_loading(file)
    }


def failing(failure: BaseException, frames: TracebackType | None) -> Application:
    """An application that raises at each request what kept the real one from being loaded."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not isinstance(failure, Exception):
            raise RuntimeError(f"the application ended while it was loaded: {failure!r}")
        # With the frames that it had at first: each raise adds one.
        raise failure.with_traceback(frames)

    return application


# ----------------------------------------------------------------------------------- the debugger


def need_werkzeug() -> None:
    import importlib.util

    if importlib.util.find_spec("werkzeug") is None:
        cli.fail(
            "--debug shows Werkzeug's debugger, which is not installed: pip install werkzeug",
            cli.EXIT_CANNOT_START,
        )


def with_debugger(application: Application, bound: Sequence[str]) -> Application:
    """As `flask run --debug` has it: a console in every frame of a traceback, behind a PIN."""
    from werkzeug.debug import DebuggedApplication

    flask = sys.modules.get("flask")
    if flask is not None and isinstance(application, flask.Flask):
        found: Any = application
        found.debug = True
    before = os.environ.get("WERKZEUG_RUN_MAIN")
    os.environ["WERKZEUG_RUN_MAIN"] = "true"  # else it would not print its PIN
    debugged = DebuggedApplication(application, evalex=True)
    if before is None:
        del os.environ["WERKZEUG_RUN_MAIN"]
    else:
        os.environ["WERKZEUG_RUN_MAIN"] = before
    hosts = getattr(debugged, "trusted_hosts", None)  # since Werkzeug 3.0.3
    if hosts is not None:
        hosts += [address.rpartition(":")[0] for address in bound if not is_unix(address)]
    return debugged


def is_unix(address: str) -> bool:
    return address.startswith("unix:")


# ---------------------------------------------------------------------------------- request lines

ESCAPES = {code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)]}
ESCAPES[ord("\\")] = "\\\\"

MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def style_of(status: int) -> str:
    """Werkzeug's colours."""
    if status < 200:
        return "\x1b[1m"
    if status == 304:
        return "\x1b[36m"
    if 300 <= status < 400:
        return "\x1b[32m"
    if status == 404:
        return "\x1b[33m"
    if 400 <= status < 500:
        return "\x1b[31m\x1b[1m"
    return "\x1b[35m\x1b[1m" if status >= 500 else ""


def readable(request_line: str) -> str:
    """A request line with its path as a browser shows it."""
    method, blank, rest = request_line.partition(" ")
    path, blank, version = rest.rpartition(" ")
    try:
        if blank:
            path = unquote(path, errors="strict")
            request_line = f"{method} {path} {version}"
    except UnicodeDecodeError:
        pass
    return request_line.translate(ESCAPES)


def log_answer(
    host: str, port: int, request_line: str, status: int, size: int, refused: str | None
) -> None:
    """Log a request as `flask run` does, through the same logger: who has silenced or redirected
    that has done so here."""
    logger = logging.getLogger("werkzeug")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not has_handler(logger):
        logger.addHandler(logging.StreamHandler())
    now = time.localtime()
    date = f"{now.tm_mday:02d}/{MONTHS[now.tm_mon - 1]}/{time.strftime('%Y %H:%M:%S', now)}"
    begin = f"{host or '<local>'} - - [{date}]"
    if refused:
        logger.error("%s code %d, message %s", begin, status, refused)
    line = readable(request_line)
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ and (style := style_of(status)):
        line = f"{style}{line}\x1b[0m"
    logger.info('%s "%s" %d -', begin, line, status)


def has_handler(logger: logging.Logger) -> bool:
    """For what it lets through."""
    level = logger.getEffectiveLevel()
    current: logging.Logger | None = logger
    while current:
        if any(handler.level <= level for handler in current.handlers):
            return True
        current = current.parent if current.propagate else None
    return False
