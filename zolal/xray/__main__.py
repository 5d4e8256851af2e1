"""python -m zolal.xray FILE: print a recording's journeys, or its calls; with --follow, as they
happen."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import time

from zolal._zolal import Reader
from zolal.xray.join import Joiner
from zolal.xray.live import Calls
from zolal.xray.render import Journeys

POLL_SECONDS = 0.03


def process_lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def print_all(reader: Reader, view: Journeys | Calls) -> None:
    while events := reader.read():
        view.feed(events)
    view.rest()


def is_asked_to_end() -> bool:
    """By something on standard input, or its end."""
    return bool(select.select([0], [], [], 0)[0])


def follow(
    reader: Reader, view: Journeys | Calls, until_input: bool, program: Reader | None
) -> None:
    """Until the recording has ended, or its process was killed."""
    source = Joiner(reader, program) if program else reader
    while True:
        over = reader.ended or not process_lives(reader.pid)
        over = over or (until_input and is_asked_to_end())
        events = source.read()
        view.feed(events)
        if events:
            continue
        view.settle()
        if over:
            break
        time.sleep(POLL_SECONDS)
    view.rest()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m zolal.xray",
        description="Print the journeys in a recording (zolal-PID.trace), "
        "of a server living or gone.",
    )
    parser.add_argument("file", help="the recording")
    parser.add_argument("program", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument(
        "--follow", action="store_true", help="print requests as they end, until the server ends"
    )
    parser.add_argument(
        "--calls",
        action="store_true",
        help="print each kernel call by itself, under its connection: of a server without requests",
    )
    parser.add_argument("--until-input", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    following = options.follow
    # Ctrl-C goes to the whole terminal: the server ends, the recording with it, and then we do.
    if following:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        reader = Reader(options.file)
        program = Reader(options.program) if options.program else None
    except (OSError, ValueError) as error:
        print(f"zolal.xray: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        sys.exit(3)
    view = Calls() if options.calls else Journeys()
    try:
        if following:
            follow(reader, view, options.until_input, program)
        else:
            print_all(reader, view)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read us has left


if __name__ == "__main__":
    main()
