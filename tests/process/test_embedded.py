"""A server in a program of somebody else's, who has signal handlers and descriptors of his own."""

PROGRAM = """
import _thread, functools, os, signal, socket, sys, threading
from zolal import _zolal

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

def run_for_one_request(server, application):
    global port
    address, _, port = server.listen("127.0.0.1:0").rpartition(":")
    def ask():
        with socket.create_connection((address, int(port))) as client:
            client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            while client.recv(1000):
                pass
        server.stop()
    client = threading.Thread(target=ask)
    client.start()
    server.run(application)
    return client

def run_signalled(server, number):
    # Python code would take the signal before run() does: there is none between these two.
    calls = [
        functools.partial(_thread.interrupt_main, number),
        functools.partial(server.run, application),
    ]
    list(map(functools.partial.__call__, calls))
"""


def test_a_server_is_initialised_once(outcome_of):
    """Also after close(): what it has remembered would be lost."""
    script = """
server = _zolal.Server()
for _ in range(2):
    try:
        server.__init__()
    except RuntimeError as error:
        print(error)
    server.close()
"""
    assert outcome_of(PROGRAM + script)[0] == "the server was initialised before\n" * 2


def test_a_listener_after_one_that_failed(outcome_of):
    """Its requests are told its own port."""
    script = """
def looks(environ, start_response):
    print(environ["SERVER_PORT"] == port)
    return application(environ, start_response)

server = _zolal.Server()
links = {fd: os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
epoll = next(int(fd) for fd, target in links.items() if target.endswith("[eventpoll]"))
aside = os.dup(epoll)
os.dup2(os.open("/dev/null", os.O_RDONLY), epoll)
try:
    server.listen("127.0.0.1:0")
except OSError as error:
    print(error.strerror)
os.dup2(aside, epoll)
run_for_one_request(server, looks).join()
"""
    out, _ = outcome_of(PROGRAM + script)
    assert out == "cannot watch a listening socket: Invalid argument\nTrue\n"


# ---- signals that come when run() begins


def test_ctrl_c_when_run_begins(outcome_of):
    """Also in a program that has not imported signal."""
    script = """
signal.signal(signal.SIGINT, signal.default_int_handler)
server = _zolal.Server()
server.stop()
del sys.modules["signal"]
try:
    run_signalled(server, 2)
except KeyboardInterrupt:
    print("interrupted")
"""
    assert outcome_of(PROGRAM + script)[0] == "interrupted\n"


def test_a_handler_when_run_begins_finds_a_server_that_runs(outcome_of):
    script = """
def on_signal(number, frame):
    for call in (server.close, lambda: server.run(application)):
        try:
            call()
        except RuntimeError as error:
            print(error)
    server.stop()

signal.signal(signal.SIGUSR1, on_signal)
server = _zolal.Server()
run_signalled(server, signal.SIGUSR1)
server.close()
"""
    assert outcome_of(PROGRAM + script)[0].splitlines() == [
        "the server is running: stop() it first",
        "run() may be called once",
    ]


def test_a_run_that_a_handler_has_not_let_begin(outcome_of):
    """It may be tried again, and nothing of it is left."""
    script = """
import gc
signal.signal(signal.SIGINT, signal.default_int_handler)
server = _zolal.Server()
def fail():
    try:
        run_signalled(server, signal.SIGINT)
    except KeyboardInterrupt:
        pass
fail()
gc.collect()
before = len(gc.get_objects()), len(os.listdir("/proc/self/fd"))
for _ in range(100):
    fail()
gc.collect()
after = len(gc.get_objects()), len(os.listdir("/proc/self/fd"))
print(after[0] - before[0] < 50, after[1] - before[1])
server.stop()
server.run(application)
"""
    assert outcome_of(PROGRAM + script)[0] == "True 0\n"


# ---- the descriptor that Python writes to for each signal


def test_a_wakeup_descriptor_that_the_program_has_closed(outcome_of):
    """It cannot be put back, but ours must not stay there, for whoever gets its number."""
    script = """
server = _zolal.Server()
reading, writing = os.pipe2(os.O_NONBLOCK)
signal.set_wakeup_fd(writing)
os.close(reading)
os.close(writing)
# Nor does the server get that number by chance.
others = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]
server.stop()
server.run(application)
print(signal.set_wakeup_fd(-1))
"""
    assert outcome_of(PROGRAM + script)[0] == "-1\n"


def test_a_wakeup_descriptor_that_the_application_sets(outcome_of):
    script = """
ours, theirs = socket.socketpair()
ours.setblocking(False)
def sets_its_own(environ, start_response):
    signal.set_wakeup_fd(ours.fileno())
    return application(environ, start_response)

run_for_one_request(_zolal.Server(), sets_its_own).join()
print(signal.set_wakeup_fd(-1) == ours.fileno())
"""
    assert outcome_of(PROGRAM + script)[0] == "True\n"


FORKS = """
parent = os.getpid()

def forks(environ, start_response):
    global held
    before_fork()
    if os.fork() == 0:
        os.closerange(3, 64)
        held = [os.open("/dev/null", os.O_RDWR | os.O_NONBLOCK) for _ in range(20)]
        signal.set_wakeup_fd(held[-1])
    return application(environ, start_response)

client = run_for_one_request(_zolal.Server(), forks)
if os.getpid() != parent:
    assert held == list(range(3, 23))
    for fd in held:
        os.fstat(fd)
    os._exit(7 if signal.set_wakeup_fd(-1) == held[-1] else 8)
client.join()
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_descriptors_of_a_child_that_comes_back_from_run(outcome_of):
    """They have the numbers of its parent's, which it has closed."""
    script = """
def before_fork():
    pass
"""
    assert outcome_of(PROGRAM + script + FORKS)[0] == "7\n"


def test_descriptors_of_a_child_of_a_server_within_a_server(outcome_of):
    script = """
def before_fork():
    signal.set_wakeup_fd(-1)
    inner = _zolal.Server()
    inner.stop()
    inner.run(application)
"""
    assert outcome_of(PROGRAM + script + FORKS)[0] == "7\n"
