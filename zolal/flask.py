"""Flask on zolal while one develops: the command `flask zolal`, and run().

    flask --app hello zolal --debug

finds the application as `flask run` does (--app, FLASK_APP, wsgi.py, app.py; .env and .flaskenv)
and takes its options, and those of FLASK_RUN_*.

app.run() itself always serves on Werkzeug's server: it calls werkzeug.serving.run_simple(), which
makes one of its own classes and lets nobody choose another. To have zolal there one would replace a
function of Werkzeug. Say instead

    if __name__ == "__main__":
        zolal.flask.run(app, debug=True)

or, to serve users or to go on in the same program, zolal.Server(app)."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import flask
from flask.cli import (
    NoAppException,
    ScriptInfo,
    SeparatedPathType,
    pass_script_info,
    show_server_banner,
)
from flask.helpers import get_debug_flag

from zolal.application import ApplicationError

Function = TypeVar("Function", bound=Callable[..., Any])

HOST, PORT = "127.0.0.1", 5000
THREADS = 16


def bind_of(host: str, port: int) -> str:
    """For zolal. Werkzeug writes unix://path."""
    if host.startswith("unix:"):
        return "unix:" + host.removeprefix("unix:").removeprefix("//")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def run(
    app: flask.Flask,
    host: str | None = None,
    port: int | None = None,
    debug: bool | None = None,
    *,
    use_reloader: bool | None = None,
    use_debugger: bool | None = None,
    extra_files: Sequence[str] = (),
    threads: int = THREADS,
    xray: bool = False,
) -> None:
    """In the place of app.run(). Where the `flask` command imports the module, it does nothing, as
    app.run() does. Reloading runs the whole script again."""
    from zolal.development import develop

    if os.environ.get("FLASK_RUN_FROM_CLI") == "true":
        return
    if debug is None:
        debug = get_debug_flag() or app.debug
    app.debug = debug
    named_host, _, named_port = (app.config.get("SERVER_NAME") or "").partition(":")
    host = host or named_host or HOST
    port = int(named_port or PORT) if port is None else port
    develop(
        app.name,
        lambda: app,
        [bind_of(host, port)],
        reload=debug if use_reloader is None else use_reloader,
        debugger=debug if use_debugger is None else use_debugger,
        extra=extra_files,
        xray=xray,
        threads=threads,
        folder=os.getcwd(),
    )


def load(info: ScriptInfo) -> flask.Flask:
    """The application that Flask finds. What Flask says of one that is not there stands as it is;
    what the application itself has raised is the cause of an ApplicationError."""
    try:
        return info.load_app()
    except NoAppException as error:
        inner = error.__context__
        if isinstance(inner, ImportError) and inner.__traceback__ and inner.__traceback__.tb_next:
            raise ApplicationError(error.format_message()) from inner
        raise ApplicationError(error.format_message()) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ApplicationError(traceback.format_exc().rstrip()) from error


def set_debug(context: click.Context, parameter: click.Parameter, value: bool | None) -> None:
    """Early, and in the environment: a factory may ask."""
    if value is not None:
        os.environ["FLASK_DEBUG"] = "1" if value else "0"


def option(*names: str, env: str = "", **keywords: Any) -> Callable[[Function], Function]:
    """An option that FLASK_RUN_... sets as well, since people have that set."""
    if env:
        keywords["envvar"] = [f"FLASK_ZOLAL_{env}", f"FLASK_RUN_{env}"]
    return click.option(*names, **keywords)


@click.command("zolal", short_help="Run a development server: zolal.")
@option(
    "--debug/--no-debug",
    default=None,
    expose_value=False,
    callback=set_debug,
    is_eager=True,
    help="Set debug mode.",
)
@option(
    "--host",
    "-h",
    env="HOST",
    default=HOST,
    show_default=True,
    help="The interface to bind to; unix:PATH is a UNIX socket.",
)
@option("--port", "-p", env="PORT", default=PORT, show_default=True, help="The port to bind to.")
@option(
    "--reload/--no-reload",
    env="RELOAD",
    default=None,
    help="Enable or disable the reloader. By default it is active if debug is enabled.",
)
@option(
    "--debugger/--no-debugger",
    env="DEBUGGER",
    default=None,
    help="Enable or disable the debugger. By default it is active if debug is enabled.",
)
@option(
    "--with-threads/--without-threads",
    env="WITH_THREADS",
    default=True,
    help="Enable or disable multithreading.",
)
@option(
    "--threads",
    type=click.IntRange(1, 1024),
    default=THREADS,
    show_default=True,
    help="Threads that may be in the application at once.",
)
@option(
    "--extra-files",
    env="EXTRA_FILES",
    default=None,
    type=SeparatedPathType(),
    help="Extra files that trigger a reload on change. Multiple paths are separated by "
    f"{os.path.pathsep!r}.",
)
@option(
    "--xray", is_flag=True, help="Print each request's journey: kernel calls under Python calls."
)
@pass_script_info
def command(
    info: ScriptInfo,
    host: str,
    port: int,
    reload: bool | None,
    debugger: bool | None,
    with_threads: bool,
    threads: int,
    extra_files: list[str] | None,
    xray: bool,
) -> None:
    """Run a local development server on zolal.

    It is found, set and used as `flask run` is. The reloader and debugger are enabled by default
    with the '--debug' option. To serve users, say `zolal MODULE:APP`.
    """
    from zolal import reload as reloading
    from zolal.development import develop

    debug = get_debug_flag()
    if not os.environ.get(reloading.VARIABLE):
        show_server_banner(debug, info.app_import_path)
    develop(
        info.app_import_path or "the application",
        lambda: load(info),
        [bind_of(host, port)],
        reload=debug if reload is None else reload,
        debugger=debug if debugger is None else debugger,
        extra=extra_files or (),
        xray=xray,
        threads=threads if with_threads else 1,
        folder=os.getcwd(),
    )
