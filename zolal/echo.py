"""zolal echo: the TCP echo server."""

from __future__ import annotations

import argparse
import os
import resource
import sys
from functools import partial

from zolal import _zolal, cli

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """\
Examples:
  zolal echo                                on 127.0.0.1:9999; then: telnet 127.0.0.1 9999
  zolal echo -b :7 -b unix:/run/echo.sock   several addresses
  zolal echo --xray                         see each kernel call as it happens

What a client sends comes back until it ends its side. A client that does not read is not read from
when 64 KiB wait for it.

Exit status: 0 after SIGTERM or Ctrl-C, 2 usage, 3 could not start. A second signal ends it at once.
"""


def print_connection(address: object) -> None:
    try:
        print(f"Connection from {address!r}", flush=True)
    except OSError as error:
        cli.say(f"prints no connections any more: standard output: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())


def raise_descriptor_limit() -> None:
    """As many connections as the system allows: there is no application here that would call
    select(2), which knows 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def make_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="zolal echo",
        usage="zolal echo [OPTIONS]",
        description="The TCP echo server: prints who connects, and sends back what comes.",
        epilog=EXAMPLES,
        formatter_class=cli.help_formatter,
        allow_abbrev=False,
    )
    cli.add_common(
        parser.add_argument,
        "127.0.0.1:9999",
        xray="Print each kernel call as it happens, under its connection.",
    )
    return parser


def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    cli.check_common(parser, options)
    raise_descriptor_limit()
    path = "" if options.no_recorder else cli.start_recording(options.xray)
    cli.run_server(
        _zolal.Echo(print_connection, cli.say),
        options.bind or ["127.0.0.1:9999"],
        options.backlog,
        "echo",
        str,
        partial(cli.start_xray, path, calls=True) if options.xray else None,
    )
