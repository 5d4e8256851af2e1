"""zolal trace --exact: each call as the kernel has it, however it is made; and what that costs the
program, nothing but time."""

import contextlib
import errno
import os
import pathlib
import platform
import pwd
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from by_exact import Both
from pythons import PYTHONS
from running import PATIENCE
from test_undisturbed import TALK, needs_reach, needs_root, python
from tracing import PLAIN, ZOLAL, counted, hard, run, same, trace

from zolal.trace.load import load

SOURCES = pathlib.Path(__file__).parent / "programs"
EXACT = [*ZOLAL, "trace", "--exact"]


@pytest.fixture(autouse=True)
def exactly(monkeypatch):
    monkeypatch.setattr("tracing.WAY", ["--exact"])


def built(tmp_path, source, *options):
    """A program of C, without a C library where the options say so."""
    program = tmp_path / source.stem
    done = run(["gcc", *options, "-o", program, source], tmp_path)
    assert done.status == 0, done.err.decode()
    return program


@pytest.fixture
def raw(tmp_path):
    """Calls by the machine's own instruction."""
    if platform.machine() != "x86_64":
        pytest.skip("it is written for x86-64")
    options = ["-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"]
    return built(tmp_path, SOURCES / "raw.c", *options)


def written(tmp_path, text, *options):
    source = tmp_path / "written.c"
    source.write_text(text)
    return built(tmp_path, source, *options)


def told(calls):
    return [(call.name, call.args, call.result) for call in calls]


# ------------------------------------------------------------------------------- however it is made


def test_a_program_without_a_c_library(tmp_path, raw):
    calls = same([raw, "talk"], tmp_path)
    assert told(calls) == [
        ("socketpair", "AF_UNIX, SOCK_STREAM, 0, [3, 4]", 0),
        ("write", "3, 16", 16),
        ("read", "4, 16", 16),
    ]
    assert [call.first_line for call in calls] == ["", "GET / HTTP/1.1", "GET / HTTP/1.1"]


def test_a_static_program(tmp_path):
    command = hard("threads", "hard_static")
    ended, calls = trace(command, tmp_path)
    assert ended == run(command, tmp_path)
    assert counted(calls) == {"socketpair": 8, "sendto": 40_000, "recvfrom": 40_000, "close": 16}


def test_what_the_c_library_does_inside_itself(tmp_path):
    text = "import socket; socket.getaddrinfo('localhost', 80)"
    assert counted(same(python(text), tmp_path))["socket"] > 0


def test_a_ring_is_said(tmp_path, raw):
    calls = same([raw, "ring"], tmp_path)
    assert [call.name for call in calls] == ["io_uring_setup", "io_uring_enter"]
    assert "io_uring" in calls[0].process.note


@pytest.mark.parametrize("word", ["old", "x32"])
def test_calls_of_32_bits_are_said(tmp_path, raw, word):
    plain = run([raw, word], tmp_path)
    if plain.status != 0:
        pytest.skip("this kernel does not take them")
    ended, calls = trace([raw, word], tmp_path)
    assert ended == plain
    assert calls == []
    [process] = load(str(tmp_path / "kept.trace")).processes
    assert "32-bit" in process.note


@pytest.mark.parametrize("version", PYTHONS)
def test_lines_of_python_are_those_that_the_library_sees(tmp_path, version):
    """Of one run, each call with its stack. At exit the library may see them longer."""
    program = Both([PYTHONS[version], "-S", "-E", str(SOURCES / "http_clients.py")], tmp_path)
    try:
        assert program.wait() == 0, program.log.read_text()
        program.folder.end(0)
        stacks = []
        for path in (program.kept, program.folder.path):
            calls = load(str(path)).calls
            stacks.append([(call.tid, call.name, call.stack) for call in calls if call.stack])
    finally:
        program.close()
    exact, library = stacks
    inside = [each for each in exact if each in library]  # what glibc does is not in the library's
    assert len(library) > 50
    assert sorted(inside) == sorted(library)


# ------------------------------------------------------------------------------------------ signals

INTERRUPTED = """
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
static int pair[2];
static void on(int number) { send(pair[0], "handler", 7, 0); }
int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on, .sa_flags = argc > 1 ? SA_RESTART : 0};
    struct itimerval once = {.it_value = {.tv_usec = 100000}};
    char got[10];
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    sigaction(SIGALRM, &action, 0);
    setitimer(ITIMER_REAL, &once, 0);
    while (recv(pair[1], got, 10, 0) < 0 && errno == EINTR)
        ;
    shutdown(pair[0], SHUT_WR);
    return recv(pair[1], got, 10, 0);
}
"""


@pytest.mark.parametrize("options", [[], ["restart"]])
def test_a_call_that_a_signal_interrupts(tmp_path, options):
    """For its caller it has failed; or it is one call, in the midst of which the handler's is."""
    calls = same([written(tmp_path, INTERRUPTED), *options], tmp_path)
    assert [(call.name, call.result) for call in calls] == [
        ("socketpair", 0),
        ("recvfrom", 7 if options else -errno.EINTR),
        ("sendto", 7),
        *([] if options else [("recvfrom", 7)]),
        ("shutdown", 0),
        ("recvfrom", 0),
    ]
    waited, sent = calls[1], calls[2]
    assert waited.end_ns > sent.end_ns


STOPPED = """
import os, signal, socket, sys, time
a, b = socket.socketpair()
a.send(b"x")
pid = os.getpid()
if os.fork() == 0:
    time.sleep(0.2)
    os.kill(pid, signal.SIGSTOP)
    while "(stopped)" not in (line := open(f"/proc/{pid}/status").read()) and "stop)" not in line:
        time.sleep(0.01)
    os.write(1, b"it stands still\\n")
    time.sleep(0.2)
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.2)
    a.send(b"goes on")
    os._exit(0)
print(b.recv(1), b.recv(10), flush=True)
os.wait()
"""


def test_stopped_and_continued(tmp_path):
    ended, calls = trace(python(STOPPED), tmp_path)
    assert ended == run(python(STOPPED), tmp_path)
    assert ended.out == b"it stands still\nb'x' b'goes on'\n"
    assert [call.result for call in calls if call.name == "recvfrom"] == [1, 7]


def test_a_parent_that_waits_for_stops(tmp_path):
    """WUNTRACED and WCONTINUED tell the parent of the program what they would without, and who is
    stopped does nothing."""
    text = """
import os, signal, time
pid = os.fork()
if pid == 0:
    while True:
        pass
def used():
    return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[11]
def stands_still():
    before = used()
    time.sleep(0.3)
    return used() == before
for number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGTSTP, signal.SIGCONT, signal.SIGKILL):
    os.kill(pid, number)
    _, status = os.waitpid(pid, os.WUNTRACED | os.WCONTINUED)
    print(number.name, hex(status), os.WIFSTOPPED(status) and stands_still())
"""
    same(python(text), tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTRAP, signal.SIGSTKFLT, signal.SIGRTMIN])
def test_signals_of_the_program_s_own(tmp_path, number):
    text = f"""
import os, signal
signal.signal({number:d}, lambda number, frame: print("got", number))
os.kill(os.getpid(), {number:d})
signal.signal({number:d}, signal.SIG_DFL)
os.kill(os.getpid(), {number:d})
"""
    calls = same(python(TALK + text), tmp_path)
    assert counted(calls)["sendto"] == 1


def test_a_breakpoint_of_the_program_s_own(tmp_path):
    """int3: SIGTRAP, as nobody but the kernel sends it."""
    text = '#include <signal.h>\n#include <stdio.h>\nstatic void on(int n) { puts("trapped"); }\n'
    text += 'int main(void) { signal(5, on); __asm__("int3"); puts("on"); return 3; }'
    same([written(tmp_path, text)], tmp_path)


# --------------------------------------------------------------------------- threads, exec, the end

EXECS = """
import os, socket, sys, threading, time
def become():
    time.sleep(0.1)
    talk = "import os, socket; a, b = socket.socketpair(); a.send(b'second'); print(os.getpid())"
    os.execv(sys.executable, [sys.executable, "-c", talk])
a, b = socket.socketpair()
def wait():
    b.recv(1)
threading.Thread(target=wait, daemon=True).start()
a.send(b"")
print(os.getpid(), flush=True)
threading.Thread(target=become).start()
time.sleep(100)
"""


def test_a_thread_that_becomes_another_program(tmp_path):
    """It takes the first one's number, and the others end."""
    ended, calls = trace(python(EXECS), tmp_path)
    assert ended.status == 0, ended.err
    [first, second] = ended.out.split()
    assert first == second
    [sent] = [call for call in calls if call.args.endswith(", 6")]
    assert sent.tid == sent.process.pid == int(first)
    [root] = load(str(tmp_path / "kept.trace")).roots
    assert root.children == [] and len(root.calls) > 0 or root.children[0].pid == int(first)


def test_what_goes_on_behind_the_program(tmp_path):
    """Its end is not waited for; it is traced still, and left alone."""
    done, go = tmp_path / "done", tmp_path / "go"
    text = f"""
import os, socket, time
if os.fork() == 0:
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    while not os.path.exists({str(go)!r}):
        time.sleep(0.01)
    a, b = socket.socketpair()
    a.send(b"x")
    open({str(done)!r}, "w").close()
"""
    assert run([*EXACT, "--", *python(text)], tmp_path).status == 0
    go.touch()
    wait_for(done.exists)


def wait_for(condition):
    for _ in range(int(PATIENCE * 50)):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("waited in vain")


WAITS = """
import os, socket
a, b = socket.socketpair()
a.send(b"x")
print(os.getpid(), flush=True)
b.recv(1)
b.recv(1)
"""


@pytest.fixture
def waiting(tmp_path):
    """A program under --exact that waits: its pid, and the command's process."""
    process = subprocess.Popen(
        [*EXACT, "-o", tmp_path / "kept.trace", "--", *python(WAITS)],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env=PLAIN,
    )
    pid = int(process.stdout.readline())
    yield pid, process
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)


def status_of(pid, name):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.split(None, 1)[1]
    return None


def test_killed(waiting, tmp_path):
    pid, process = waiting
    os.kill(pid, signal.SIGKILL)
    assert process.wait(PATIENCE) == -signal.SIGKILL
    assert counted(load(str(tmp_path / "kept.trace")).calls)["sendto"] == 1


def test_a_tracer_that_is_killed_leaves_nothing_stopped(waiting):
    """The filter would have the program's calls fail: it ends, too."""
    pid, process = waiting
    os.kill(int(status_of(pid, "TracerPid")), signal.SIGKILL)
    assert process.wait(PATIENCE) == -signal.SIGKILL
    assert not pathlib.Path(f"/proc/{pid}").exists()


def test_the_tracer_keeps_nothing_of_ours(waiting):
    pid, _ = waiting
    tracer = status_of(pid, "TracerPid")
    kept = {os.readlink(path) for path in pathlib.Path(f"/proc/{tracer}/fd").iterdir()}
    assert kept == {"/dev/null"}
    assert os.readlink(f"/proc/{tracer}/cwd") == "/"


# ---------------------------------------------------------------------------------- what is refused


def test_a_program_that_traces_is_said(tmp_path, raw):
    plain = run([raw, "trace"], tmp_path)
    ended, calls = trace([raw, "trace"], tmp_path)
    assert (plain.status, ended.status, calls) == (1, 0, [])
    [process] = load(str(tmp_path / "kept.trace")).processes
    assert "ptrace" in process.note


def test_traced_already_is_said(tmp_path):
    words = ["strace", "-f", "-o", "/dev/null", *EXACT, "--", "touch", tmp_path / "run"]
    if run(["strace", "-o", "/dev/null", "true"], tmp_path).status != 0:
        pytest.skip("strace cannot trace here")
    ended = run(words, tmp_path)
    assert ended.status == 126
    assert b"cannot trace touch" in ended.err and b"traced already" in ended.err
    assert not (tmp_path / "run").exists()


NO_FILTER = """
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    struct sock_filter refuses[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ, SYS_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ, PR_SET_SECCOMP, 0, 1),
        BPF_STMT(BPF_RET, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {6, refuses};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        return 77;
    execvp(argv[1], argv + 1);
    return 78;
}
"""


def test_without_a_filter_all_calls_stop(tmp_path):
    """A container may refuse one: what is recorded is the same."""
    no_filter = written(tmp_path, NO_FILTER)
    words = [*EXACT, "-o", "kept.trace", "--", *python(TALK)]
    ended = run([no_filter, *words], tmp_path)
    assert (ended.status, ended.err) == (0, b"")
    told_so = told(load(str(tmp_path / "kept.trace")).calls)
    assert told_so == told(trace(python(TALK), tmp_path)[1])


@needs_root
@needs_reach
def test_a_program_that_hides_its_memory(tmp_path):
    """PR_SET_DUMPABLE: its calls are known, and not what it has there; root sees it all."""
    nobody = pwd.getpwnam("nobody")
    text = TALK + "import ctypes; print(ctypes.CDLL(None).prctl(4, 0, 0, 0, 0))\na.send(b'more')"
    with tempfile.TemporaryDirectory(prefix="zolal-test-") as folder:
        os.chown(folder, nobody.pw_uid, -1)
        words = [*EXACT, "-o", f"{folder}/kept", "--", *python(text)]
        become = f"""
import os
os.setgid({nobody.pw_gid}); os.setuid({nobody.pw_uid})
os.environ["XDG_RUNTIME_DIR"] = {folder!r}
os.execv({sys.executable!r}, {words!r})
"""
        ended = run([sys.executable, "-c", become], pathlib.Path("/"))
        assert (ended.status, ended.out) == (0, b"0\n"), ended.err
        [process] = load(f"{folder}/kept").processes
    sent = [call for call in process.calls if call.name == "sendto"]
    assert [(call.result, bool(call.stack)) for call in sent] == [(5, True), (4, False)]
    assert "PR_SET_DUMPABLE" in process.note


def test_calls_of_python_need_the_library(tmp_path):
    ended = run([*EXACT, "--calls", "--", "true"], tmp_path)
    assert ended.status == 2
    assert b"--calls" in ended.err and b"--exact" in ended.err


def test_the_oldest_calls_go(tmp_path):
    text = TALK + "for _ in range(20_000): a.send(b'x'); b.recv(1)"
    ended, calls = trace(python(text), tmp_path, "--max-size", "1M")
    assert ended.status == 0
    assert 1000 < len(calls) < 20_000
    assert calls[-1].name == "close"


def test_no_python(tmp_path):
    ended, calls = trace(["sh", "-c", "echo hello"], tmp_path)
    assert (ended.status, ended.out, calls) == (0, b"hello\n", [])
    view = run([*ZOLAL, "xray", "kept.trace"], tmp_path).out.decode()
    assert "not Python" in view


@needs_root
def test_lines_of_python_in_a_container(tmp_path):
    """Where its threads have other numbers."""
    words = ["unshare", "--pid", "--fork", *python(TALK)]
    if run(words, tmp_path).status != 0:
        pytest.skip("no namespace can be had here")
    _, calls = trace(words, tmp_path)
    [sent] = [call for call in calls if call.name == "sendto"]
    assert sent.stack[-1].line == 4


# ------------------------------------------------------------------------------------- every call

FILES = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void)
{
    static char large[200];
    for (int i = 0; i < 199; i++)
        large[i] = 'x';
    mkdir("made", 0750);
    int fd = openat(AT_FDCWD, "made/file", O_CREAT | O_WRONLY, 0640);
    write(fd, "hello", 5);
    lseek(fd, -2, SEEK_END);
    close(fd);
    rename("made/file", "made/\\"other\\"");
    access(large, R_OK);
    access((char *)8, R_OK);
    munmap(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096);
    kill(getpid(), 0);
    syscall(4000, 1, 2, 3, 4, 5, 6);
    syscall(SYS_exit_group, 3);
}
"""


def test_every_call(tmp_path):
    program = written(tmp_path, FILES)
    ended, calls = trace([program], tmp_path, "--all-syscalls")
    assert ended.status == 3
    begin = next(at for at, call in enumerate(calls) if call.name == "mkdir")
    pid, made = calls[0].process.pid, calls[begin + 8].result
    assert told(calls[begin:]) == [
        ("mkdir", '"made", 0750', 0),
        ("openat", 'AT_FDCWD, "made/file", O_WRONLY|O_CREAT, 0640', 3),
        ("write", "3, 5", 5),
        ("lseek", "3, -2, SEEK_END", 3),
        ("close", "3", 0),
        ("rename", r'"made/file", "made/\"other\""', 0),
        ("access", f'"{"x" * 94}"..., 04', -errno.ENOENT),
        ("access", "0x8, 04", -errno.EFAULT),
        ("mmap", "NULL, 4096, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0x0", made),
        ("munmap", f"{made:#x}, 4096", 0),
        ("getpid", "", pid),
        ("kill", f"{pid}, 0", 0),
        ("syscall_4000", "0x1, 0x2, 0x3, 0x4, 0x5, 0x6", -errno.ENOSYS),
        ("exit_group", "3", 0),
    ]
    tree = run([*ZOLAL, "xray", "kept.trace"], tmp_path).out.decode()
    assert f"= {made:#x}" in tree and "exit_group(3) = ?" in tree


def test_every_call_of_python_below_its_lines(tmp_path):
    text = "import os, sys\ndef look():\n    os.stat('/')\nlook()\nos.execv('/bin/true', ['true'])"
    calls = trace(python(text), tmp_path, "--all-syscalls")[1]
    [looked] = [call for call in calls if call.stack and call.stack[-1].function == "look"]
    assert (looked.name, looked.stack[-1].line) == ("newfstatat", 3)
    assert looked.args.startswith('AT_FDCWD, "/", 0x')
    [became] = [call for call in calls if call.name == "execve"]
    assert became.args.startswith('"/bin/true", 0x') and became.process.program == ["true"]


@pytest.mark.parametrize("word", ["threads", "errors", "handlers", "vforks"])
def test_every_call_leaves_a_program_as_it_is(tmp_path, word):
    ended, calls = trace(hard(word), tmp_path, "--all-syscalls")
    if word != "handlers":  # it says how many there were
        assert ended == run(hard(word), tmp_path)
    assert {"mmap", "exit_group"} <= counted(calls).keys()


@pytest.mark.parametrize("view", ["tree", "summary", "html", "perfetto", "folded", "jsonl"])
def test_every_view_has_every_call(tmp_path, view):
    trace(python(TALK), tmp_path, "--all-syscalls")
    ended = run([*ZOLAL, "xray", "kept.trace", "--as", view], tmp_path)
    assert ended.status == 0
    assert b"newfstatat" in ended.out


def test_every_call_is_what_strace_says(tmp_path):
    """Their names and results, of a program that does the same each time but for addresses."""
    program = written(tmp_path, FILES)
    done = run(["strace", "-o", "strace", program], tmp_path)
    if done.status != 3:
        pytest.skip("strace cannot trace here")
    run(["rm", "-r", "made"], tmp_path)
    lines = (tmp_path / "strace").read_text().splitlines()[1:]  # not the first execve
    theirs = [line.partition("(")[0] for line in lines if "(" in line and line[0] != "+"]
    calls = trace([program], tmp_path, "--all-syscalls")[1]
    assert [call.name for call in calls] == [
        name if not name.startswith("syscall_") else "syscall_4000" for name in theirs
    ]
