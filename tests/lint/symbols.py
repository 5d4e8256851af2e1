"""Which object files may refer to which functions of the C library.

    symbols.py BUILD...     BUILD: a meson build folder of this project

The rules are in RULES: network calls in their two homes, allocation in one, no printing and no
exiting. What is read is what the compiler made, so no macro and no inline function hides a call.
Prints each violation, exits 1 when there is one.
"""

import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

SOURCE = pathlib.Path(__file__).parents[2] / "src"
CORE = {
    "base",
    "trace",
    "frames",
    "stacks",
    "socket",
    "event_loop",
    "http",
    "server",
    "echo",
    "exact",
}
CORE_AND_PYTHON = CORE | {"python"}


class Rule(NamedTuple):
    what: str
    functions: str  # names, blank separated; `*` at the end of one: any that begin so
    layers: set  # the folders of src/ that are held to it
    # "folder/file.c": (the functions that it may use, blank separated, or "*" for all; why)
    homes: dict


RULES = [
    Rule(
        "a network call",
        "socket socketpair bind connect listen accept accept4 recv recvfrom recvmsg recvmmsg send"
        " sendto sendmsg sendmmsg sendfile splice tee vmsplice shutdown getsockopt setsockopt"
        " getsockname getpeername poll ppoll select pselect epoll_* eventfd* signalfd timerfd_*"
        " io_uring_* getaddrinfo gethostby* res_* syscall",
        CORE_AND_PYTHON,
        {
            "socket/kernel.c": ("*", "the door to the network: one function a system call"),
            "event_loop/kernel_epoll.c": ("*", "the door to epoll(7) and eventfd(2)"),
            "socket/address.c": ("getaddrinfo", "a host's name, when its address is parsed"),
            "exact/launch.c": ("syscall", "close_range(2), which an older glibc does not have"),
        },
    ),
    Rule(
        "input or output on a descriptor",
        "read write close readv writev preadv* pwritev* pread pwrite dup dup2 dup3 fcntl ioctl"
        " open openat creat mkstemp* mkostemp* pipe pipe2 copy_file_range close_range closefrom",
        CORE_AND_PYTHON,
        {
            "socket/kernel.c": ("*", "the door to the network"),
            "event_loop/kernel_epoll.c": ("*", "the door to epoll(7) and eventfd(2)"),
            "trace/recording.c": ("open openat close", "the recording is a file that it maps"),
            "trace/reader.c": (
                "open openat close pread write",
                "reads and copies recordings",
            ),
            "server/spool.c": ("open mkostemp close pread pwrite", "a body's temporary file"),
            "server/output.c": (
                "pread fcntl close",
                "a part of a file that sendfile(2) cannot send",
            ),
            "frames/remote.c": ("open read close", "what another process has in /proc"),
            "exact/tracee.c": ("open read close", "the door to ptrace(2), and to /proc"),
            "exact/launch.c": (
                "open read write close pipe2 dup2 fcntl",
                "the processes that it begins wait for one another, and keep nothing of ours",
            ),
            "socket/listener.c": ("fcntl", "flags of a descriptor that was handed to us"),
        },
    ),
    Rule(
        "allocation",
        "malloc calloc realloc reallocarray free cfree strdup strndup wcsdup asprintf vasprintf"
        " posix_memalign aligned_alloc memalign valloc pvalloc getline getdelim getcwd brk sbrk"
        " open_memstream fopen fdopen tmpfile opendir fdopendir scandir glob",
        CORE_AND_PYTHON,
        {
            "base/memory.c": ("malloc calloc realloc reallocarray free", "the home of allocation"),
            "socket/port_owner.c": ("fopen opendir", "reads /proc, after a bind(2) has failed"),
            "exact/tracee.c": ("opendir", "the threads of a process are listed in /proc"),
        },
    ),
    Rule(
        "mapping memory",
        "mmap mremap munmap shm_open memfd_create",
        CORE_AND_PYTHON,
        {
            "trace/recording.c": ("mmap munmap", "the recording is a mapped file"),
            "trace/growth.c": ("mremap munmap", "of which more is mapped as it grows"),
            "exact/launch.c": ("mmap munmap", "what the processes that it begins share"),
            "stacks/numbers.c": ("mmap munmap", "made in a program that may be in malloc(3)"),
        },
    ),
    Rule(
        "printing",
        "printf vprintf fprintf vfprintf dprintf vdprintf puts fputs putc fputc putchar fwrite"
        " fflush perror psignal psiginfo syslog vsyslog openlog err errx warn warnx error stdout"
        " stderr PySys_WriteStd* PySys_FormatStd*",
        CORE_AND_PYTHON,
        {
            "python/wsgi/responder.c": (
                "PySys_FormatStderr",
                "an application's failure goes to sys.stderr, PEP 3333 Error Handling",
            ),
        },
    ),
    Rule(
        "exiting",
        "exit _exit _Exit quick_exit abort raise kill tgkill atexit on_exit pthread_exit"
        " pthread_kill pthread_cancel Py_Exit Py_FatalError Py_FatalErrorFunc",
        CORE_AND_PYTHON,
        {"exact/launch.c": ("_exit", "the processes that it begins end there")},
    ),
    Rule(
        "another process's",
        "ptrace process_vm_readv process_vm_writev kcmp pidfd_* wait wait3 wait4 waitpid waitid"
        " prctl fork vfork clone execve execv execvp execvpe fexecve posix_spawn posix_spawnp",
        CORE_AND_PYTHON,
        {
            "exact/tracee.c": ("ptrace process_vm_readv waitpid", "the door to ptrace(2)"),
            "exact/launch.c": ("fork execve prctl waitpid", "begins the program and its tracer"),
            "frames/memory.c": ("process_vm_readv", "the memory of the process that it walks"),
        },
    ),
    Rule(
        "the environment",
        "getenv secure_getenv setenv putenv unsetenv clearenv environ",
        CORE_AND_PYTHON,
        {
            "trace/recording.c": ("getenv secure_getenv", "XDG_RUNTIME_DIR says where to record"),
            "server/spool.c": ("getenv", "TMPDIR says where temporary files go, environ(7)"),
        },
    ),
]

# The compiler and the C library rename some calls; `read` may become any of these.
ALIAS = re.compile(r"(?:__)?(?P<name>\w+?)(?:64|_2)?(?:_chk)?")


def plain_name(symbol):
    """The function that a source file meant: `__read_chk` is read, `open64` is open."""
    symbol = symbol.split("@")[0]
    if symbol.startswith(("__isoc99_", "__isoc23_")):
        symbol = symbol.split("_", 3)[3]
    return ALIAS.fullmatch(symbol)["name"]


def covers(functions, name):
    return any(
        name.startswith(word[:-1]) if word.endswith("*") else name == word
        for word in functions.split()
    )


def refuse(source, symbol):
    """Why the file `source` ("folder/file.c") may not refer to `symbol`, or None."""
    if symbol in ("__assert_fail", "__stack_chk_fail"):
        return None
    name = plain_name(symbol)
    layer = source.split("/")[0]
    for rule in RULES:
        if layer not in rule.layers or not covers(rule.functions, name):
            continue
        allowed, _ = rule.homes.get(source, ("", ""))
        if allowed != "*" and not covers(allowed, name):
            return f"{name}: {rule.what} outside its home"
    return None


def undefined_symbols(objects):
    """object file -> the names that it refers to and does not define."""
    command = ["nm", "--undefined-only", "--print-file-name", "--format=posix", *map(str, objects)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    symbols = {str(path): set() for path in objects}
    for line in lines:
        path, rest = line.split(": ", 1)
        symbols[path].add(rest.split()[0])
    return symbols


def source_of(path):
    """BUILD/src/trace/libtrace.a.p/recording.c.o -> trace/recording.c; meson writes python/wsgi/x.c
    as wsgi_x.c.o in the folder of the library."""
    parts = pathlib.Path(path).parts
    below = parts[max(i for i, part in enumerate(parts) if part == "src") + 1 :]
    folders = [part for part in below[:-1] if not part.endswith(".p")]
    name = below[-1].removesuffix(".o")
    deeper = name.replace("_", "/", 1)
    if SOURCE.joinpath(*folders, deeper).is_file():
        name = deeper
    return "/".join([*folders, name])


def check(build):
    """Every violation in the object files of the build folder, as text."""
    objects = sorted(pathlib.Path(build, "src").rglob("*.c.o"))
    if not objects:
        yield f"{build} holds no object files: build first"
        return
    for path, names in sorted(undefined_symbols(objects).items()):
        for name in sorted(names):
            wrong = refuse(source_of(path), name)
            if wrong:
                yield f"src/{source_of(path)}: {wrong}"


def main():
    violations = [wrong for build in sys.argv[1:] for wrong in check(build)]
    print("\n".join(violations) or "who calls what: as it should be")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
