"""The commands `zolal trace` and `zolal xray`."""

from __future__ import annotations

import argparse
import os
import signal
import stat
import sys
from importlib import import_module

from zolal import cli
from zolal.trace import run
from zolal.trace.options import VIEWS, check_options, make_trace_parser
from zolal.trace.store import Folder, StoreError, recordings_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from zolal.trace.model import Trace

EXIT_CANNOT_READ = 3
EXIT_NOT_EXECUTABLE = 126  # as a shell has it
EXIT_NOT_FOUND = 127

XRAY_EXAMPLES = """\
Examples:
  zolal xray run.trace                        the tree that zolal trace printed
  zolal xray run.trace --as summary           time by call and by line
  zolal xray run.trace --as jsonl | jq .call  each kernel call, a line of JSON
  zolal xray run.trace --as html > run.html   a page that tells the journey to a reader
  zolal xray run.trace --as perfetto > run.json    for ui.perfetto.dev
  zolal xray run.trace --as folded | flamegraph.pl > run.svg

Exit status: 0, 2 usage, 3 the file cannot be read or is no recording.
"""


def refuse(text: str, code: int) -> None:
    cli.fail(text, code)


def find(name: str) -> str | None:
    """The path of a program, as execvp(3) looks for it."""
    folders = [""] if "/" in name else os.get_exec_path()
    for path in (os.path.join(folder, name) for folder in folders):
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def check_program(name: str, is_exact: bool) -> None:
    """Say what is wrong with what is to be run, before it is."""
    path = find(name)
    if path is None:
        if os.path.exists(name) and "/" in name:
            refuse(f"cannot run {name}: it is not executable", EXIT_NOT_EXECUTABLE)
        refuse(f"cannot run {name}: command not found", EXIT_NOT_FOUND)
        return
    status = os.stat(path)
    changes_user = status.st_mode & stat.S_ISUID and status.st_uid != os.geteuid()
    changes_group = status.st_mode & stat.S_ISGID and status.st_gid != os.getegid()
    if changes_user or changes_group:
        why = "the loader takes no library of others into such a program"
        if is_exact:
            why = "the kernel would not let it become another user while it is traced"
        refuse(
            f"cannot trace {name}: it is set-uid or set-gid, and {why}. Trace it as the user that "
            "it becomes.",
            EXIT_NOT_EXECUTABLE,
        )
    if is_static(path) and not is_exact:
        cli.say(
            f"{name} is statically linked: it makes its kernel calls without the C library that is "
            "watched here; only what it starts can be seen. --exact sees all"
        )


def check_output(path: str) -> None:
    """Say that the recording cannot be written before the program has run for it."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    except OSError as error:
        cli.fail(f"cannot write the recording {path}: {error.strerror}", cli.EXIT_CANNOT_START)


def is_static(path: str) -> bool:
    """Is it an ELF file without an interpreter (the loader) in it?"""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if head[:5] != b"\x7fELF\x02":
                return False
            file.seek(int.from_bytes(head[32:40], "little"))
            width, count = (int.from_bytes(head[at : at + 2], "little") for at in (54, 56))
            headers = file.read(width * min(count, 1024))
    except OSError:
        return False
    kinds = [headers[at : at + 4] for at in range(0, len(headers), width or 1)]
    return bool(kinds) and (3).to_bytes(4, "little") not in kinds  # PT_INTERP


def say_why_nothing(name: str) -> None:
    if not is_static(find(name) or ""):
        cli.say(why_nothing(name))


def why_nothing(name: str) -> str:
    """Why a program that was run may have left no recording at all."""
    try:
        with open(find(name) or name, "rb") as file:
            program = file.read(1 << 28)
    except OSError:
        program = b""
    if b"libasan.so" in program:
        return (
            f"{name} is built with AddressSanitizer, whose library wants to be the first: run it "
            "with ASAN_OPTIONS=verify_asan_link_order=0"
        )
    if b"/ld-musl-" in program[:4096]:
        return (
            f"{name} is linked with musl: only the GNU C library's calls can be watched. --exact "
            "sees all"
        )
    return "nothing was recorded: no process took the library that watches. --exact needs none"


def print_view(trace: Trace, view: str, to_stderr: bool) -> None:
    file = sys.stderr if to_stderr else sys.stdout
    if view == "html":
        from zolal.trace import report

        file.buffer.write(report.html(trace).encode("utf-8", "backslashreplace"))
        return
    if view in ("jsonl", "perfetto", "folded"):
        for line in import_module(f"zolal.trace.{view}").lines(trace):
            file.buffer.write(f"{line}\n".encode("utf-8", "backslashreplace"))
        return
    from rich.console import Console

    from zolal.trace import summary, tree

    width = None if file.isatty() else 100_000
    console = Console(file=file, highlight=False, markup=False, emoji=False, width=width)
    (tree if view == "tree" else summary).show(console, trace)


def end_as(status: int) -> None:
    """With the exit code of the program; as it did where that was a signal."""
    sys.stderr.flush()
    if status >= 0:
        sys.exit(status)
    if -status not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-status, signal.SIG_DFL)
    # No core of ours besides the program's.
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    os.kill(os.getpid(), -status)
    sys.exit(128 - status)


def trace_main(arguments: Sequence[str]) -> None:
    """The command `zolal trace`."""
    parser = make_trace_parser()
    options = parser.parse_args(arguments)
    if options.command[:1] == ["--"]:
        del options.command[0]
    check_options(parser, options)
    command = options.command or program_of(options.pid)
    if options.pid is None:
        check_program(command[0], options.exact)
    if options.output is not None:
        check_output(options.output)
    try:
        folder = Folder(command, options.max_size, options.least)
    except OSError as error:
        cli.fail(f"cannot record: {error}", cli.EXIT_CANNOT_START)
    try:
        status = run_traced(command, folder, options)
        if not options.exact and not recordings_in(folder.path):
            say_why_nothing(command[0])
        tell(folder, options.view, options.output, options.report)
    except OSError as error:
        cli.fail(f"cannot run {command[0]}: {error.strerror}", EXIT_NOT_EXECUTABLE)
    finally:
        folder.remove()
    end_as(status)


def program_of(pid: int) -> list[str]:
    """The arguments of a process, as far as there are any."""
    try:
        with open(f"/proc/{pid}/cmdline", errors="surrogateescape") as file:
            return file.read().rstrip("\0").split("\0")
    except OSError:
        return [f"process {pid}"]


def run_traced(command: list[str], folder: Folder, options: argparse.Namespace) -> int:
    most = min(options.max_size, 1 << 30)
    if not options.exact:
        return run.run(command, folder, most, options.calls)
    from zolal.trace import exact

    try:
        if options.pid is not None:
            attach(options.pid, folder, most, options.all_syscalls)
            return 0
        path = find(command[0]) or command[0]
        return run.run_exact(path, command, folder, most, options.all_syscalls)
    except exact.NotTraced as error:
        if options.pid is not None:
            why = exact.why_not(options.pid, error)
            cli.fail(f"cannot trace process {options.pid}: {why}", EXIT_NOT_EXECUTABLE)
        cli.fail(f"cannot trace {command[0]}: {exact.why_not_ours(error)}", EXIT_NOT_EXECUTABLE)


def attach(pid: int, folder: Folder, most: int, has_all: bool) -> None:
    from zolal.trace import exact

    attached = exact.Attached(pid, folder, most, has_all)
    name = "".join(each if each.isprintable() else " " for each in " ".join(program_of(pid))[:80])
    cli.say(f"process {pid} ({name}) is traced; Ctrl-C lets it go")
    attached.follow()
    folder.end(attached.status)


def tell(folder: Folder, view: str | None, output: str | None, report: str | None) -> None:
    if output is not None:
        try:
            folder.keep(output)
        except OSError as error:
            cli.fail(
                f"cannot write the recording {output}: {error.strerror}", cli.EXIT_CANNOT_START
            )
    if report is None and output is not None and view is None:
        return
    from zolal.trace.load import load

    trace = load(folder.path)
    if report is not None:
        write_report(trace, report)
    if view is not None or report is None:
        try:
            print_view(trace, view or "tree", to_stderr=True)
        except BrokenPipeError:
            pass


def write_report(trace: Trace, path: str) -> None:
    from zolal.trace import report

    try:
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(report.html(trace))
    except OSError as error:
        cli.fail(f"cannot write the report {path}: {error.strerror}", cli.EXIT_CANNOT_START)


def make_xray_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="zolal xray",
        usage="zolal xray FILE [OPTIONS]",
        description="Show a recording of zolal trace.",
        epilog=XRAY_EXAMPLES,
        formatter_class=cli.help_formatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="What zolal trace -o has kept.")
    parser.add_argument(
        "--as", dest="view", choices=VIEWS, default="tree", help="What to show.  [default: tree]"
    )
    return parser


def xray_main(arguments: Sequence[str]) -> None:
    """The command `zolal xray`."""
    options = make_xray_parser().parse_args(arguments)
    from zolal.trace.load import load

    try:
        trace = load(options.file)
    except StoreError as error:
        cli.fail(str(error), EXIT_CANNOT_READ)
    except OSError as error:
        cli.fail(f"cannot read {options.file}: {error.strerror or error}", EXIT_CANNOT_READ)
    try:
        print_view(trace, options.view, to_stderr=False)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read us has left
