"""What is traced does what it does without, whatever that is, and what it calls is recorded."""

import collections
import os
import pathlib
import pwd
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from pythons import PYTHONS
from tracing import PATIENCE, PLAIN, ZOLAL, counted, hard, run, same, trace

from zolal.trace.load import load

TALK = """
import socket
a, b = socket.socketpair()
a.send(b"hello"); b.recv(5)
"""
pytestmark = pytest.mark.usefixtures("way")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")
needs_reach = pytest.mark.skipif(
    not all(os.stat(folder).st_mode & 1 for folder in pathlib.Path(sys.executable).parents),
    reason="another user cannot reach this interpreter, which lies in a folder of one user's own",
)


def python(text, *options):
    return [sys.executable, *options, "-c", text]


# ------------------------------------------------------------------------------ threads and signals


def test_eight_threads_of_c(tmp_path):
    by_thread = collections.Counter()
    for call in same(hard("threads"), tmp_path):
        by_thread[call.tid, call.name] += 1
    assert sorted(by_thread.values())[-16:] == [5000] * 16
    assert sum(by_thread.values()) == 80_000 + 8 * 3


EIGHT_THREADS = """
import socket, threading
def make(number):
    scope = {}
    text = f"def talk_{number}(a, b):\\n for _ in range(5000):\\n  a.send(b'x')\\n  b.recv(1)"
    exec(compile(text, f"file_{number}.py", "exec"), scope)
    return scope[f"talk_{number}"]
threads = [threading.Thread(target=make(n), args=socket.socketpair()) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.parametrize("version", PYTHONS)
def test_eight_threads_of_python_each_under_its_own_frames(tmp_path, version):
    calls = same([PYTHONS[version], "-c", EIGHT_THREADS], tmp_path)
    talked = [call for call in calls if call.name in ("sendto", "recvfrom")]
    places = collections.Counter((call.tid, call.name, *call.stack[-1][:3]) for call in talked)
    assert set(places.values()) == {5000}
    assert sorted((called, name, file, at) for _, called, name, file, at in places) == sorted(
        (called, f"talk_{n}", f"file_{n}.py", at)
        for n in range(8)
        for called, at in (("sendto", 3), ("recvfrom", 4))
    )


MANY_BEGIN = """
import socket, threading
a, b = socket.socketpair()
def talk():
    a.send(b"x")
threads = [threading.Thread(target=talk) for _ in range(200)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.parametrize("version", PYTHONS)
def test_threads_that_begin_while_others_do_have_their_frames(tmp_path, version):
    calls = same([PYTHONS[version], "-c", MANY_BEGIN], tmp_path)
    sent = [call for call in calls if call.name == "sendto"]
    assert len(sent) == 200
    assert {call.stack[-1].function if call.stack else "" for call in sent} == {"talk"}


def test_threads_with_the_smallest_stack(tmp_path):
    assert counted(same(hard("small_stacks"), tmp_path))["sendto"] == 2000


def test_many_threads_one_after_another(tmp_path):
    assert counted(same(hard("many_threads"), tmp_path))["sendto"] == 4800


def test_threads_that_are_cancelled(tmp_path):
    same(hard("cancel"), tmp_path)


def test_signal_handlers_that_make_calls(tmp_path):
    """They come in between anywhere, also while a call is being recorded, and are all there."""
    ended, calls = trace(hard("handlers"), tmp_path)
    assert ended.status == 0
    handled, others = map(int, ended.err.split())
    counts = counted(calls)
    assert (counts["sendto"], counts["recvfrom"], counts["shutdown"]) == (handled, handled, others)


def test_handlers_that_never_return(tmp_path):
    calls = counted(same(hard("longjmps"), tmp_path))
    assert (calls["sendto"], calls["recvfrom"]) == (5000, 5000)


# ------------------------------------------------------------------------------- calls of all kinds


def test_errors_and_bad_pointers(tmp_path):
    calls = same(hard("errors"), tmp_path)
    assert {"bind", "connect", "epoll_ctl", "poll", "recvmsg", "sendmsg", "writev"} <= {
        call.name for call in calls if call.result < 0
    }


def test_a_datagram_that_is_longer_than_its_place(tmp_path):
    [call] = [call for call in same(hard("truncated"), tmp_path) if call.name == "recvfrom"]
    assert call.result == 4096


def test_hardened_programs(tmp_path):
    calls = same(hard("fortified", "hard_fortified"), tmp_path)
    assert [call.name for call in calls if call.name not in ("socketpair", "sendto")] == [
        "read",
        "recvfrom",
        "recvfrom",
        "poll",
        "ppoll",
    ]


def test_calls_by_their_number(tmp_path):
    calls = same(hard("raw"), tmp_path)
    assert [(call.name, call.args, call.result) for call in calls] == [
        ("socketpair", "AF_UNIX, SOCK_STREAM, 0, [3, 4]", 0),
        ("sendto", "3, 1", 1),
        ("read", "4, 1", 1),
        ("close", "4", 0),
    ]


def test_a_peek_is_no_message(tmp_path):
    text = """
import socket
a, b = socket.socketpair()
a.send(b"GET / HTTP/1.1\\r\\n")
b.recv(100, socket.MSG_PEEK)
b.recv(100)
"""
    calls = same(python(text), tmp_path)
    found = [(call.name, call.first_line) for call in calls if call.result == 16]
    first = "GET / HTTP/1.1"
    assert found == [("sendto", first), ("recvfrom", ""), ("recvfrom", first)]


# ------------------------------------------------------------------------ what is the program's own


def test_all_descriptors_closed(tmp_path):
    assert counted(same(hard("closes_all"), tmp_path))["sendto"] == 2


def test_descriptors_have_their_numbers(tmp_path):
    text = "import os, socket; s = socket.socket(); f = open('/dev/null')"
    text += "; print(s.fileno(), f.fileno(), os.listdir('/proc/self/fd'))"
    same(python(text), tmp_path)


@pytest.mark.parametrize("options", [["-I"], ["-S", "-E"], ["-I", "-S", "-E", "-B"]])
def test_options_of_python(tmp_path, options):
    calls = same(python(TALK, *options), tmp_path)
    assert [call.stack[-1].line for call in calls if call.name == "sendto"] == [4]


def test_the_environment_is_the_program_s(tmp_path):
    text = """
import ctypes, os, subprocess, sys
print(sorted(os.environ.items()))
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print([getenv(name) for name in (b"LD_PRELOAD", b"ZOLAL_TRACE", b"HOME")])
os.environ["MORE"] = "1"
show = "import os; print(sorted(os.environ.items()))"
sys.stdout.flush()
subprocess.run([sys.executable, "-c", show])
subprocess.run([sys.executable, "-c", show], env={"ONLY": "this"})
os.environ.clear()
os.execv(sys.executable, [sys.executable, "-c", show])
"""
    same(python(text), tmp_path)
    same(python(text), tmp_path, env={"LD_PRELOAD": "libm.so.6"})


def test_a_program_that_sets_its_own_preload(tmp_path):
    text = """
import os, sys
os.environ["LD_PRELOAD"] = "libm.so.6"
talk = "import os, socket; a, b = socket.socketpair(); a.send(b'x')"
talk += "; print(os.environ['LD_PRELOAD'])"
os.execv(sys.executable, [sys.executable, "-c", talk])
"""
    assert counted(same(python(text), tmp_path))["sendto"] == 1


def test_standard_error_is_the_program_s(tmp_path):
    text = "import os; os.write(2, b'to two'); os.write(1, b'to one'); os.close(2); os._exit(3)"
    assert run(python(text), tmp_path) == (3, b"to one", b"to two")
    same(python(text), tmp_path)


def test_standard_error_that_is_a_socket(tmp_path):
    text = "import os, sys; print('hello', file=sys.stderr); os.abort()"
    ended, calls = trace(python(TALK + text), tmp_path)
    assert ended.status == -signal.SIGABRT
    assert ended.err == b"hello\n"
    assert counted(calls)["sendto"] == 1


@pytest.mark.parametrize("status", [0, 1, 77, 255])
def test_exit_codes(tmp_path, status):
    same(python(f"import os; os._exit({status})"), tmp_path)


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT, signal.SIGPIPE]
)
def test_ends_by_a_signal(tmp_path, number):
    """The recording has all calls, up to the last."""
    text = f"{TALK}\nimport os, signal\nsignal.signal(13, signal.SIG_DFL)"
    text += f"\nos.kill(os.getpid(), {number})"
    calls = same(python(text), tmp_path)
    assert counted(calls)["recvfrom"] == 1


def test_signals_are_as_they_were(tmp_path, way):
    """Which are ignored, and which are blocked."""
    text = """
import signal
print([number for number in range(1, 32) if signal.getsignal(number) is signal.SIG_IGN])
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    same(python(text), tmp_path)
    ignored = "trap '' HUP USR1 INT; exec \"$@\""
    plain = run(["sh", "-c", ignored, "sh", *python(text)], tmp_path)
    words = [*ZOLAL, "trace", *way, "-o", tmp_path / "kept", "--", *python(text)]
    assert run(["sh", "-c", ignored, "sh", *words], tmp_path) == plain


WAITS = """
import os, signal, socket, sys, time
def ends(number, frame):
    # Not print(): it raises where the handler comes in between another print().
    os.write(1, b"ends by %d\\n" % number)
    sys.exit(5)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, ends)
a, b = socket.socketpair()
print("ready", flush=True)
b.recv(1)
"""


@pytest.mark.parametrize(
    "number, to_group", [(signal.SIGTERM, False), (signal.SIGHUP, False), (signal.SIGINT, True)]
)
def test_a_signal_to_trace_is_the_program_s(tmp_path, way, number, to_group):
    """Ctrl-C goes to all of the group."""
    kept = tmp_path / "kept.trace"
    process = subprocess.Popen(
        [*ZOLAL, "trace", *way, "-o", kept, "--", *python(WAITS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=PLAIN,
        start_new_session=True,
    )
    assert process.stdout.readline() == b"ready\n"
    if to_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (5, b"")
    assert set(out.splitlines()) == {f"ends by {number}".encode()}
    assert counted(load(str(kept)).calls)["socketpair"] == 1


COUNTS = """
import os, signal, sys, time
counted = []
def count(number, frame):
    counted.append(number)
    os.write(1, b"%d\\n" % number)
for number in (signal.SIGTERM, signal.SIGHUP): signal.signal(number, count)
signal.signal(signal.SIGINT, lambda *_: sys.exit(len(counted)))
os.write(1, b"ready\\n")
while True: time.sleep(1000)
"""


def states(pid):
    """What /proc says of a process and its children, [] while one of them goes."""
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pathlib.Path(f"/proc/{each}/status").read_text() for each in (pid, *children)]
    except OSError:
        return []


def wait_until_dealt_with(pid):
    """Neither has it a signal that it has not taken, nor its witness, which is another then."""
    for _ in range(PATIENCE * 10):
        found = states(pid)
        is_quiet = all("ShdPnd:\t0000000000000000" in each for each in found)
        if is_quiet and any("Name:\tcat\n" in each for each in found):
            return
        time.sleep(0.01)
    raise AssertionError(f"it has not dealt with it: {found}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_group_comes_once(tmp_path, number):
    """Those to the group, those to trace alone: each of them comes, and comes once."""
    process = subprocess.Popen(
        [*ZOLAL, "trace", "--summary", "--", *python(COUNTS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env=PLAIN,
        start_new_session=True,
    )
    assert process.stdout.readline() == b"ready\n"
    for send in [os.killpg, os.killpg, os.kill, os.kill] * 5:
        send(process.pid, number)
        assert process.stdout.readline() == b"%d\n" % number
        wait_until_dealt_with(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (20, b"")


# ------------------------------------------------------------------------------------ limits, users


@pytest.mark.parametrize(
    "limit",
    [
        "RLIMIT_FSIZE, (0, 0)",
        "RLIMIT_FSIZE, (1 << 20, 1 << 20)",
        "RLIMIT_FSIZE, (1 << 24, 1 << 24)",
        "RLIMIT_NOFILE, (5, 5)",
        "RLIMIT_CORE, (0, 0)",
        "RLIMIT_AS, (200 << 20, 200 << 20)",
        "RLIMIT_DATA, (100 << 20, 100 << 20)",
        "RLIMIT_STACK, (1 << 20, 1 << 20)",
    ],
)
def test_limits(tmp_path, limit):
    """For itself, and for a child that begins a recording of its own below it."""
    text = f"""
import os, resource, signal, socket
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
a, b = socket.socketpair()
resource.setrlimit(resource.{limit})
a.send(b"before")
big = bytearray(50 << 20)
if os.fork() == 0:
    a.send(b"child")
    os._exit(7)
print(os.waitstatus_to_exitcode(os.wait()[1]))
a.send(b"after")
"""
    calls = same(python(text), tmp_path)
    assert counted(calls)["sendto"] >= 2


@pytest.mark.parametrize("size", ["100", "100000"])
def test_a_limit_that_was_there_before(tmp_path, way, size):
    """A shell's ulimit: what is recorded is less, or nothing; the program goes on."""
    text = TALK + "print('goes on')"
    limit = f'ulimit -f {size}; exec "$@"'
    plain = run(["sh", "-c", limit, "sh", *python(text)], tmp_path)
    words = [*ZOLAL, "trace", *way, "--summary", "--", *python(text)]
    ended = run(["sh", "-c", limit, "sh", *words], tmp_path)
    assert (ended.status, ended.out) == (plain.status, plain.out) == (0, b"goes on\n")


@needs_root
def test_another_user(tmp_path):
    nobody = pwd.getpwnam("nobody")
    text = f"""
import os, socket
os.setgid({nobody.pw_gid}); os.setuid({nobody.pw_uid})
a, b = socket.socketpair()
if os.fork() == 0:
    a.send(b"from the child")
    os._exit(0)
os.wait()
a.send(b"from nobody")
print(os.getuid())
"""
    with tempfile.TemporaryDirectory(prefix="zolal-test-") as folder:
        runtime = pathlib.Path(folder)
        calls = same(python(text, "-B"), tmp_path, env={"XDG_RUNTIME_DIR": str(runtime)})
    assert counted(calls)["sendto"] == 2
    assert len({call.process.pid for call in calls}) == 2


@needs_root
def test_another_user_cannot_load_the_library(tmp_path):
    """Where it may not read it, no loader complains on the program's standard error."""
    nobody = pwd.getpwnam("nobody")
    text = f"""
import os
os.setgid({nobody.pw_gid}); os.setuid({nobody.pw_uid})
os.execv("/bin/echo", ["echo", "hello"])
"""
    same(python(text), tmp_path)


@needs_root
def test_another_root(tmp_path):
    (tmp_path / "root").mkdir()
    text = f"""
import os, socket
a, b = socket.socketpair()
os.chroot({str(tmp_path / "root")!r}); os.chdir("/")
if os.fork() == 0:
    a.send(b"x")
    os._exit(0)
os.wait()
a.send(b"x")
print(os.listdir("/"))
"""
    assert counted(same(python(text), tmp_path))["sendto"] >= 1


OVER_SHM = 'mount --bind "$0" /dev/shm && exec "$@"'
"""The recordings of root lie in /dev/shm: here that is a smaller one, for this program alone."""


FILLS_SHM = """
import os
with open("/dev/shm/big", "wb", 0) as big:
    file_system = os.statvfs("/dev/shm")
    big.write(bytes(file_system.f_bavail * file_system.f_frsize - (1 << 20)))
    for _ in range(50_000): a.send(b"x"); b.recv(1)
    try:
        while True: big.write(bytes(4096))
    except OSError:
        print("goes on")
"""


@needs_root
def test_a_full_disk_ends_the_recording(tmp_path, way):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "none", disk], tmp_path)
    if mounted.status != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.err.decode()}")
    try:
        text = TALK + FILLS_SHM
        command = [*ZOLAL, "trace", *way, "--summary", "--", *python(text)]
        ended = run(["unshare", "-m", "sh", "-c", OVER_SHM, disk, *command], tmp_path)
        assert (ended.status, ended.out) == (0, b"goes on\n")
        assert b"sendto" in ended.err
        assert b"the file system that it is recorded on was used up" in ended.err
        assert list(disk.iterdir()) == [disk / "big"]
    finally:
        run(["umount", disk], tmp_path)


# ---------------------------------------------------------------------------- what cannot be traced


@needs_root
def test_set_uid_programs_are_refused(tmp_path, way):
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        program = pathlib.Path(folder, "su-true")
        program.write_bytes(pathlib.Path("/bin/true").read_bytes())
        os.chown(program, pwd.getpwnam("nobody").pw_uid, -1)
        program.chmod(0o4755)
        ended = run([*ZOLAL, "trace", *way, "--", program], tmp_path)
    assert ended.status == 126
    assert b"set-uid" in ended.err


@pytest.mark.parametrize("way", ["library"], indirect=True)
def test_static_programs_are_said(tmp_path):
    plain = run(hard("threads", "hard_static"), tmp_path)
    ended = run([*ZOLAL, "trace", "--", *hard("threads", "hard_static")], tmp_path)
    assert (ended.status, ended.out) == (plain.status, plain.out)
    assert b"statically linked" in ended.err


@pytest.mark.parametrize("way", ["library"], indirect=True)
def test_programs_of_address_sanitizer_are_said(tmp_path):
    """They end by themselves, unless they are told that another library may come first."""
    text = "#include <sys/socket.h>\nint main(void) { return socket(1, 1, 0) != 3; }"
    (tmp_path / "hello.c").write_text(text)
    built = run(["gcc", "-fsanitize=address", "-o", "hello", "hello.c"], tmp_path)
    if built.status != 0:
        pytest.skip(f"gcc cannot build it here: {built.err.decode()}")
    ended, calls = trace(["./hello"], tmp_path)
    assert ended.status == 1 and b"verify_asan_link_order=0" in ended.err
    assert calls == []
    env = {"ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"}
    assert [call.name for call in same(["./hello"], tmp_path, env=env)] == ["socket"]


def test_a_program_that_is_none(tmp_path, way):
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    assert run([*ZOLAL, "trace", *way, "--", "./text"], tmp_path).status == 126
    assert run([*ZOLAL, "trace", *way, "--", "./nothing"], tmp_path).status == 127
