"""The command `zolal explain`."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from typing import TYPE_CHECKING

from zolal import cli
from zolal.trace.command import end_as
from zolal.trace.explain.client import STOPS, ExplainError
from zolal.trace.explain.measure import tell
from zolal.trace.explain.servers import SERVERS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from zolal.trace.explain.measure import Story
    from zolal.trace.explain.servers import Server

NAMES = [server.name for server in SERVERS]
EXAMPLES = """\
Examples:
  zolal explain                            all of them: wsgiref, runserver, gunicorn, zolal, asyncio
  zolal explain runserver asyncio          a thread for each connection, and a task
  zolal explain --as markdown > journey.md

Each is run on a free port of 127.0.0.1, asked for hello, recorded, and ended. Django and gunicorn
are not zolal's: where one is not installed it is left out, and that is said.

Exit status: 0, 2 usage, 3 a server could not be run or recorded.
"""


class Stopped(BaseException):
    """By a signal: the servers are ended on the way out."""

    def __init__(self, number: int) -> None:
        self.number = number


def stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def server_named(name: str) -> Server:
    """The type of an argument."""
    for server in SERVERS:
        if server.name == name:
            return server
    raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(NAMES)}")


def make_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="zolal explain",
        usage="zolal explain [--as text|markdown] [NAME]...",
        description="One hello through servers, side by side: each as a tree of Python and kernel "
        "calls.",
        epilog=EXAMPLES,
        formatter_class=cli.help_formatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "servers",
        metavar="NAME",
        nargs="*",
        type=server_named,
        help=f"Which: {', '.join(NAMES)}.  [default: all]",
    )
    parser.add_argument(
        "--as",
        dest="view",
        choices=("text", "markdown"),
        default="text",
        help="How to show it.  [default: text]",
    )
    return parser


def tell_all(servers: Sequence[Server]) -> list[Story]:
    stories = []
    for server in servers:
        if sys.stderr.isatty():
            cli.say(f"runs {server.title}")
        try:
            stories.append(tell(server))
        except ExplainError as error:
            cli.fail(str(error), cli.EXIT_CANNOT_START)
        except OSError as error:
            cli.fail(f"cannot record {server.name}: {error}", cli.EXIT_CANNOT_START)
    return stories


def show(stories: Sequence[Story], missing: Sequence[Server], view: str) -> None:
    from zolal.trace.explain import views
    from zolal.trace.explain.page import page
    from zolal.xray.render import make_console

    blocks = page(stories, missing)
    if view == "markdown":
        # Whatever the locale: it is a file of UTF-8.
        sys.stdout.buffer.write(views.markdown(blocks).encode())
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    views.print_text(make_console(), blocks)


def main(arguments: Sequence[str]) -> None:
    """The command."""
    options = make_parser().parse_args(arguments)
    asked = list(dict.fromkeys(options.servers or SERVERS))
    there = [server for server in asked if server.is_there]
    missing = [server for server in asked if server not in there]
    if not there:
        packages = " ".join(server.package for server in missing)
        cli.fail(f"not installed: {packages} (pip install {packages})", cli.EXIT_CANNOT_START)
    for number in STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        show(tell_all(there), missing, options.view)
        sys.stdout.flush()
    except Stopped as stopped:
        end_as(-stopped.number)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read us has left
