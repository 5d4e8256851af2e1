"""The lint of the C library's functions, on object files made for the purpose."""

import pathlib
import subprocess

import pytest
import symbols


@pytest.fixture
def build(tmp_path):
    """build(file, body): an object file where meson would put src/`file`; returns the folder."""

    def compile_into(file, body, *flags):
        layer, name = file.split("/", 1)
        folder = tmp_path / "src" / layer / f"lib{layer}.a.p"
        folder.mkdir(parents=True, exist_ok=True)
        source = tmp_path / "source.c"
        source.write_text(body)
        target = folder / (name.replace("/", "_") + ".o")
        command = ["cc", "-D_GNU_SOURCE", "-w", *flags, "-c", str(source), "-o", str(target)]
        subprocess.run(command, check=True)
        return tmp_path

    return compile_into


def call(header, expression):
    function = f"long zolal_test(int fd, void *data) {{ return (long)({expression}); }}"
    return f"#include <{header}>\n{function}\n"


RECV = call("sys/socket.h", "recv(fd, data, 1, 0)")


@pytest.mark.parametrize(
    ("file", "body", "reason"),
    [
        ("server/worker.c", RECV, "recv: a network call"),
        ("python/wsgi/input.c", RECV, "recv: a network call"),
        ("python/socket/receiving.c", RECV, "src/python/socket/receiving.c: recv: a network call"),
        ("socket/listener.c", call("sys/socket.h", "listen(fd, 1)"), "listen: a network call"),
        ("event_loop/loop.c", call("sys/epoll.h", "epoll_create1(0)"), "epoll_create1: a network"),
        ("http/date.c", call("unistd.h", "close(fd)"), "close: input or output on a descriptor"),
        ("trace/reader.c", call("unistd.h", "dup(fd)"), "dup: input or output"),
        ("server/limits.c", call("stdlib.h", "malloc(1)"), "malloc: allocation"),
        ("http/token.c", call("string.h", "strdup(data)"), "strdup: allocation"),
        ("base/error.c", call("stdio.h", "printf(data)"), "puts: printing|printf: printing"),
        ("base/error.c", call("stdio.h", "fprintf(stderr, data, fd)"), "printing outside its home"),
        ("trace/event.c", call("stdlib.h", "(exit(fd), 0)"), "exit: exiting"),
        ("base/error.c", call("stdlib.h", "(abort(), 0)"), "abort: exiting"),
        ("server/worker.c", call("stdlib.h", "getenv(data)"), "getenv: the environment"),
        ("socket/stream.c", call("unistd.h", "syscall(45, fd)"), "syscall: a network call"),
    ],
)
def test_a_call_outside_its_home_is_named(build, file, body, reason):
    violations = list(symbols.check(build(file, body)))
    assert violations
    assert any(text in violations[0] for text in reason.split("|"))


@pytest.mark.parametrize(
    ("file", "body"),
    [
        ("socket/kernel.c", RECV),
        ("event_loop/kernel_epoll.c", call("sys/epoll.h", "epoll_create1(0)")),
        ("base/memory.c", call("stdlib.h", "malloc(1)")),
        ("http/token.c", "#include <assert.h>\nvoid zolal_test(int x) { assert(x); }\n"),
        ("http/date.c", call("stdio.h", "snprintf(data, 9, data, fd)")),
        ("server/worker.c", "int memory_new(void);\nint zolal_test(void) { return memory_new(); }"),
    ],
)
def test_a_call_at_home_is_allowed(build, file, body):
    assert list(symbols.check(build(file, body))) == []


def test_a_fortified_call_is_seen_too(build):
    function = "long zolal_test(int fd, long n) { char b[9]; return read(fd, b, n) + b[0]; }"
    body = f"#include <unistd.h>\n{function}\n"
    violations = list(symbols.check(build("http/date.c", body, "-O2", "-D_FORTIFY_SOURCE=2")))
    assert "read: input or output on a descriptor" in violations[0]


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("__read_chk", "read"),
        ("open64", "open"),
        ("__printf_chk", "printf"),
        ("malloc@GLIBC_2.2.5", "malloc"),
        ("__isoc99_sscanf", "sscanf"),
        ("getenv", "getenv"),
    ],
)
def test_the_name_in_the_source_is_found(symbol, name):
    assert symbols.plain_name(symbol) == name


def test_nothing_to_look_at_is_a_failure(tmp_path):
    assert "no object files" in "".join(symbols.check(tmp_path))


def test_every_exception_names_a_file_and_says_why():
    source = pathlib.Path(symbols.__file__).parents[2] / "src"
    for rule in symbols.RULES:
        for file, (functions, why) in rule.homes.items():
            assert functions and why
            assert (source / file).is_file(), f"the exception for {file} has outlived it"
