"""python -m zolal.xray FILE: print a recording's journeys; with --follow, as they happen."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import time

from zolal._zolal import Reader
from zolal.xray.render import Printer
from zolal.xray.tree import Weaver

POLL_SECONDS = 0.03


def process_lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def print_all(reader: Reader, printer: Printer) -> None:
    weaver = Weaver()
    while events := reader.read():
        printer.show(weaver.feed(events))
    printer.show(weaver.rest())


def is_asked_to_end() -> bool:
    """By something on standard input, or its end."""
    return bool(select.select([0], [], [], 0)[0])


def follow(reader: Reader, printer: Printer, until_input: bool) -> None:
    """Until the recording has ended, or its process was killed."""
    weaver = Weaver()
    while True:
        over = reader.ended or not process_lives(reader.pid)
        over = over or (until_input and is_asked_to_end())
        events = reader.read()
        printer.show(weaver.feed(events))
        if events:
            continue
        printer.show(weaver.settle())
        if over:
            break
        time.sleep(POLL_SECONDS)
    printer.show(weaver.rest())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m zolal.xray",
        description="Print the journeys in a recording (zolal-PID.trace), "
        "of a server living or gone.",
    )
    parser.add_argument("file", help="the recording")
    parser.add_argument(
        "--follow", action="store_true", help="print requests as they end, until the server ends"
    )
    parser.add_argument("--until-input", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    following = options.follow
    # Ctrl-C goes to the whole terminal: the server ends, the recording with it, and then we do.
    if following:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        reader = Reader(options.file)
    except (OSError, ValueError) as error:
        print(f"zolal.xray: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        sys.exit(3)
    printer = Printer()
    try:
        if following:
            follow(reader, printer, options.until_input)
        else:
            print_all(reader, printer)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read us has left


if __name__ == "__main__":
    main()
