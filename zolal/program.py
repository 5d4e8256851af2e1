"""zolal run: a Python program, its asyncio on zolal's event loop."""

from __future__ import annotations

import os
import runpy
import sys

from zolal import cli

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """\
Examples:
  zolal run server.py                what asyncio.run() runs in it runs on zolal's event loop
  zolal run --xray server.py         see each task, and each kernel call under its lines
  zolal run --xray -m http.server    a module

Programs that start others, or are not Python: zolal trace. Exit status: the program's; 2 usage,
3 the program cannot be read.
"""


def make_parser() -> cli.Parser:
    parser = cli.Parser(
        prog="zolal run",
        usage="zolal run [--xray] PROGRAM [ARGUMENT]...\n       zolal run [--xray] -m MODULE "
        "[ARGUMENT]...",
        description="Run a Python program, with zolal's event loop where it asks asyncio for one.",
        epilog=EXAMPLES,
        formatter_class=cli.help_formatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--xray",
        action="store_true",
        help="Print what each task does, and the kernel calls under the lines that made them.",
    )
    parser.add_argument("-m", dest="module", metavar="MODULE", help="Run a module.")
    parser.add_argument("program", metavar="PROGRAM", nargs="?", help="The file to run.")
    return parser


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our arguments, up to the program or the module, and the program's."""
    for at, word in enumerate(arguments):
        if word == "-m":
            return list(arguments[: at + 2]), list(arguments[at + 2 :])
        if not word.startswith("-"):
            return list(arguments[: at + 1]), list(arguments[at + 1 :])
    return list(arguments), []


def main(arguments: Sequence[str]) -> None:
    """The command."""
    own, rest = split(arguments)
    parser = make_parser()
    options = parser.parse_args(own)
    if not (options.program or options.module):
        parser.error("which program? zolal run PROGRAM, for example: zolal run server.py")
    if options.program and not os.path.isfile(options.program):
        cli.fail(f"cannot run {options.program}: there is no such file", cli.EXIT_CANNOT_START)
    if options.xray:
        from zolal import preload
        from zolal.recording import follow_recording

        preload.restart()
        os.environ["ZOLAL_XRAY"] = "1"
        follow_recording()
    use_loop()
    sys.argv = [options.program or options.module, *rest]
    if options.module:
        sys.path[0] = os.getcwd()
        runpy.run_module(options.module, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(options.program))
        runpy.run_path(options.program, run_name="__main__")


def use_loop() -> None:
    """What asks asyncio for a loop gets one of ours."""
    import asyncio
    import warnings

    from zolal.event_loop import new_event_loop

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return new_event_loop()

    with (
        warnings.catch_warnings()
    ):  # 3.14 would rather have a loop_factory, which is not ours to give
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(Policy())
