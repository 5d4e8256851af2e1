"""Several threads run the application: how many at once, which one, and what becomes of them."""

import collections
import contextlib
import json
import os
import pathlib
import re
import select
import signal
import sys
import time

import pytest
from gate import Gate
from http_client import PATIENCE, Client, TimedOut, request
from probe import descriptors, threads_of

from zolal import _zolal

THREADS = 16  # by default


class Crowd(contextlib.ExitStack):
    """Clients that have each asked for something, and the gate where their requests stand."""

    def __init__(self, server):
        super().__init__()
        self.server = server
        self.gate = self.enter_context(Gate())

    def connect(self):
        return self.enter_context(Client(self.server.address))

    def ask(self, count, target="/gated", wait=True):
        """So many requests; with `wait`: until all of them are at the gate."""
        clients = [self.connect() for _ in range(count)]
        for client in clients:
            client.send(request(f"{target}?{self.gate.path}"))
        for _ in clients if wait else []:
            self.gate.arrival()
        return clients

    def open(self, count):
        for _ in range(count):
            self.gate.open()


def get(server, target, *fields):
    with Client(server.address) as client:
        response = client.get(target, *fields)
        assert response.status == 200, response.text
        return response.body


def noted(server):
    return json.loads(get(server, "/noted"))


def eventually(question, answer):
    deadline = time.monotonic() + PATIENCE
    while (found := question()) != answer and time.monotonic() < deadline:
        time.sleep(0.01)
    assert found == answer


def expecting(target, length=3):
    return request(target, "Expect: 100-continue", f"Content-Length: {length}", method="POST")


def children_of(pid):
    """Those that still run."""
    paths = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    found = [child for path in paths for child in path.read_text().split()]
    states = [pathlib.Path(f"/proc/{child}/stat").read_text().rpartition(")")[2] for child in found]
    return [child for child, state in zip(found, states, strict=True) if state.split()[0] != "Z"]


def accepts(server):
    try:
        Client(server.address).close()
    except OSError:
        return False
    return True


def serve_threads(serve, count=THREADS, *arguments):
    return serve("threads_app:application", f"--threads={count}", *arguments)


# ---- how many at once


def test_as_many_at_once_as_there_are_threads(serve):
    server = serve_threads(serve)
    with Crowd(server) as crowd:
        late = crowd.connect()
        clients = crowd.ask(THREADS)
        late.send(request(f"/gated?{crowd.gate.path}"))
        crowd.open(1)
        crowd.gate.arrival()
        crowd.open(THREADS)
        for client in [*clients, late]:
            assert client.response().body == b"through"
    assert get(server, "/most") == b"%d" % THREADS


def test_blocked_requests_do_not_hold_up_quick_ones(serve):
    server = serve_threads(serve, 4)
    with Crowd(server) as crowd:
        clients = crowd.ask(3)
        with Client(server.address) as kept:
            for _ in range(100):
                assert get(server, "/quick") == b"quick"
                assert kept.get("/quick").body == b"quick"
        crowd.open(3)
        for client in clients:
            assert client.response().body == b"through"


@pytest.mark.parametrize("target", ["/computes", "/alarmed"])
def test_a_long_call_does_not_keep_the_loop(serve, target):
    """Also one that computes, and one during which signals come again and again."""
    server = serve_threads(serve, 2)
    with Client(server.address) as client:
        client.send(request(target))
        assert get(server, "/release") == b"released"
        assert client.response().body == b"released"


def test_a_stop_does_not_wait_for_ever_for_a_call_that_computes(serve):
    server = serve_threads(serve, 2, "--graceful-timeout=1")
    with Client(server.address) as client:
        client.send(request("/computes"))
        time.sleep(0.1)
        server.stop()


def test_a_stop_waits_for_a_call_whose_client_has_left(serve):
    server = serve_threads(serve, 2)
    with Crowd(server) as crowd:
        (client,) = crowd.ask(1, "/said")
        client.reset()
        os.kill(server.pid, signal.SIGTERM)
        eventually(lambda: accepts(server), False)
        time.sleep(0.5)  # more than the threads have once there is nothing to do for them
        crowd.open(1)
        assert server.process.wait(PATIENCE) == 0
    assert "it has ended" in server.stderr()


def test_what_comes_behind_a_body_is_not_mixed_with_others_requests(serve):
    server = serve_threads(serve, 2)
    with Crowd(server) as crowd, Client(server.address) as client:
        client.send(expecting(f"/reads?{crowd.gate.path}", 1))
        crowd.gate.arrival()
        client.send(b"z" + request("/quick", f"X-Mine: {'a' * 100}"))
        time.sleep(0.1)
        crowd.open(1)
        assert client.interim().status == 100
        crowd.gate.arrival()
        for _ in range(3):
            assert get(server, "/noted", f"X-Others: {'b' * 200}") == b"[]"
        crowd.open(1)
        assert client.response("POST").body == b"z"
        assert client.response().body == b"quick"


def test_what_was_answered_before_a_call_that_blocks_is_sent(serve):
    """Replies of one turn leave together, and behind such a call nobody would send them."""
    server = serve_threads(serve, 2)
    with Crowd(server) as crowd, Client(server.address) as client:
        for _ in range(10):
            client.send(request("/quick") * 3 + request(f"/gated?{crowd.gate.path}"))
            crowd.gate.arrival()
            for _ in range(3):
                assert client.response().body == b"quick"
            crowd.open(1)
            assert client.response().body == b"through"


def test_one_thread_runs_one_after_the_other(serve):
    server = serve_threads(serve, 1)
    with Crowd(server) as crowd:
        clients = crowd.ask(3, wait=False)
        for _ in clients:
            crowd.gate.pass_through()
        for client in clients:
            assert client.response().body == b"through"
    assert get(server, "/most") == b"1"
    assert len(threads_of(server.pid)) == 1


def everybody(server, count):
    """They are so many, and none of them is one that has only started another."""
    threads = threads_of(server.pid)
    if len(threads) != count:
        return None
    time.sleep(0.1)
    return threads if threads == threads_of(server.pid) else None


def test_the_threads_of_a_server_stay_the_same(serve):
    """All come at the start, and none comes or goes with what the others do."""
    server = serve_threads(serve, 8)
    assert get(server, "/quick") == b"quick"
    # The main thread, too, which watches over them.
    before = server.wait_until(lambda: everybody(server, 9), "not all of its threads came")
    for blocked in (3, 8):
        with Crowd(server) as crowd:
            crowd.ask(blocked)
            assert threads_of(server.pid) == before
            crowd.open(blocked)
    assert threads_of(server.pid) == before


# ---- more requests than threads


def test_connections_wait_for_a_thread(serve):
    server = serve_threads(serve, 2)
    with Crowd(server) as crowd:
        kept = crowd.connect()
        assert kept.get("/quick").body == b"quick"
        blocked = crowd.ask(2)
        late = [crowd.connect() for _ in range(20)]
        for client in [kept, *late]:
            client.send(request("/quick"))
        crowd.open(2)
        for client in [kept, *late]:
            assert client.response().body == b"quick"
        for client in blocked:
            assert client.response().body == b"through"


def test_one_more_than_may_wait_is_refused(serve):
    server = serve_threads(serve, 2, "--limit-queue=1")
    with Crowd(server) as crowd:
        blocked = crowd.ask(2)
        late = crowd.ask(2, "/quick", wait=False)
        readable, _, _ = select.select([client.socket for client in late], [], [], PATIENCE)
        refused, waiting = sorted(late, key=lambda client: client.socket not in readable)
        response = refused.response()
        assert response.status == 503
        assert response.closes
        assert re.fullmatch("[0-9]+", response.one("Retry-After"))
        refused.expect_end()
        crowd.open(2)
        assert waiting.response().body == b"quick"
        for client in blocked:
            assert client.response().body == b"through"
    assert get(server, "/quick") == b"quick"


# ---- one request, one thread


def test_a_streamed_answer_stays_in_its_thread(serve):
    """Of many at once, whose pieces are made in turn."""
    server = serve_threads(serve, 4)
    with Crowd(server) as crowd:
        clients = [crowd.connect() for _ in range(4)]
        for client in clients:
            client.send(request(f"/streamed?{crowd.gate.path},3"))
        for _ in range(3 * len(clients)):
            crowd.gate.pass_through()
        for client in clients:
            assert len(client.response().body) == 900_000
    eventually(lambda: noted(server), [1] * 4)


def test_a_streamed_answer_stays_in_its_thread_though_its_client_is_slow(serve):
    server = serve_threads(serve, 4)
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(Client(server.address, receive_buffer=16_384)) for _ in range(4)
        ]
        for client in clients:
            client.send(request("/streamed?,20"))
        heads = [client.head() for client in clients]
        for client in clients[:2]:
            client.reset()
        for client, head in zip(clients[2:], heads[2:], strict=True):
            assert len(client.body(head).body) == 20 * 300_000
    eventually(lambda: noted(server), [1] * 4)


def test_django_has_a_connection_in_each_thread(serve, tmp_path):
    pytest.importorskip("django")
    server = serve("django_app", "--threads=4", env={"DJANGO_FOLDER": str(tmp_path)})
    want = "".join(f"{number} " for number in range(1, 501)).encode()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server.address)) for _ in range(8)]
        for _ in range(10):
            for client in clients:
                client.send(request("/rows") + request("/visits"))
            for client in clients:
                assert client.response().body == want
                assert json.loads(client.response().body) == {"visits": 1}
    alive = json.loads(get(server, "/alive"))
    assert alive["astray"] == []
    assert alive["started"] - alive["finished"] == 1


# ---- threads that do not come back, or not as they should


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt"])
def test_an_exception_that_would_end_a_thread_ends_a_request(serve, name):
    server = serve_threads(serve, 2)
    for _ in range(5):
        with Client(server.address) as client:
            assert client.get(f"/raises?{name}").status == 500
    with Crowd(server) as crowd:
        clients = crowd.ask(2)
        crowd.open(2)
        for client in clients:
            assert client.response().body == b"through"


def test_a_thread_that_is_stuck_does_not_keep_the_process(serve):
    server = serve_threads(serve, 4, "--graceful-timeout=1")
    with Crowd(server) as crowd:
        crowd.ask(2, "/stuck")
        crowd.open(2)
        assert get(server, "/quick") == b"quick"
        server.stop()
    assert "2 threads were still in the application when the server ended" in server.stderr()


def test_requests_under_way_are_finished_at_the_end(serve):
    server = serve_threads(serve, 4)
    with Crowd(server) as crowd:
        clients = crowd.ask(4)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises((ConnectionError, TimedOut)):
            while True:  # until it has stopped listening
                crowd.connect().send_end()
                time.sleep(0.01)
        crowd.open(4)
        for client in clients:
            assert client.response().body == b"through"
        server.process.wait(PATIENCE)
    server.stop()
    assert "left behind" not in server.stderr()


def test_the_applications_signal_handler_runs_while_all_threads_are_blocked(serve):
    server = serve_threads(serve, 2)
    with Crowd(server) as crowd:
        clients = crowd.ask(2)
        for count in range(1, 4):
            os.kill(server.pid, signal.SIGUSR1)
            server.wait_until(
                lambda count=count: server.stderr().count("the signal has come") == count,
                "the handler was not called",
            )
        crowd.open(2)
        for client in clients:
            assert client.response().body == b"through"


def test_a_signal_that_another_thread_has_taken_is_handled(serve):
    """As one that comes just before the main thread waits: nothing else wakes that."""
    server = serve_threads(serve, 2)
    for count in range(1, 6):
        assert get(server, "/signals") == b"sent"
        server.wait_until(
            lambda count=count: server.stderr().count("the signal has come") == count,
            "the handler was not called",
        )


def test_a_child_does_not_tell_its_parent_of_its_signals(serve):
    server = serve_threads(serve, 2)
    assert get(server, "/forks-and-looks") == b"7"


EMBEDDED = """
import os, signal, sys, threading
from threads_app import application
from zolal import _zolal

signal.signal(signal.SIGINT, signal.default_int_handler)  # it may come ignored
server = _zolal.Server(threads=3)
address = server.listen("127.0.0.1:0")

def run():
    print(f"serves it on http://{address} (pid {os.getpid()})", file=sys.stderr, flush=True)
    try:
        server.run(application)
    except KeyboardInterrupt:
        print("interrupted", len(threading.enumerate()), flush=True)
    server.close()
"""


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_ctrl_c_while_a_thread_is_started(outcome_of, moment, number):
    """Before there is a thread, and once it is at work: threading's own code is not interrupted."""
    script = """
class Interrupted(threading.Thread):
    def start(self):
        here = self.name == "zolal-%d"
        if here and "%s" == "before":
            os.kill(os.getpid(), signal.SIGINT)
        super().start()
        if here and "%s" == "after":
            os.kill(os.getpid(), signal.SIGINT)

threading.Thread = Interrupted
run()
"""
    script %= (number, moment, moment)
    out, err = outcome_of(EMBEDDED + script)
    assert out == "interrupted 1\n"
    assert "Traceback" not in err
    assert "left behind" not in err


def test_a_programs_own_wakeup_descriptor_stays(outcome_of):
    script = """
import socket
ours, theirs = socket.socketpair()
ours.setblocking(False)
for before in (-1, ours.fileno()):
    signal.set_wakeup_fd(before)
    server = _zolal.Server(threads=3)
    server.listen("127.0.0.1:0")
    timer = threading.Timer(0.1, signal.pthread_kill, [threading.get_ident(), signal.SIGINT])
    timer.start()
    held = len(os.listdir("/proc/self/fd"))
    try:
        server.run(application)
    except KeyboardInterrupt:
        timer.join()
    assert len(os.listdir("/proc/self/fd")) <= held
    assert signal.set_wakeup_fd(-1) == before
print(theirs.recv(10))
"""
    assert outcome_of(EMBEDDED + script)[0] == "b'\\x02'\n"


# ---- threads that cannot be started


SCARCE = """
import resource, sys, threading
from zolal.cli import main

room = int(sys.argv.pop(1)) << 30
threading.stack_size(1 << 30)
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + room + (1 << 29), -1))
main()
"""
"""Room for so many threads, whose stacks are large."""


def scarce(launch_command, room):
    arguments = [f"{room}", "threads_app:application", "--threads=4", "--bind=127.0.0.1:0"]
    return launch_command([sys.executable, "-c", SCARCE, *arguments])


def test_no_thread_can_be_started(launch_command):
    server = scarce(launch_command, 0)
    try:
        assert server.process.wait(PATIENCE) == 3
        last = server.stderr().splitlines()[-1]
        assert last.startswith("zolal: cannot start a thread: Resource temporarily unavailable; ")
        assert "ulimit -u" in last
        assert "Traceback" not in server.stderr()
    finally:
        server.kill()


def test_not_all_threads_can_be_started(launch_command):
    server = scarce(launch_command, 2)
    try:
        server.wait_for_start()
        with Crowd(server) as crowd:
            clients = crowd.ask(2)
            assert len(threads_of(server.pid)) == 1 + 2
            crowd.open(2)
            for client in clients:
                assert client.response().body == b"through"
        assert re.search("cannot start a thread: .*: goes on with 2 of 4; ", server.stderr())
        assert "Traceback" not in server.stderr()
        server.stop()
    finally:
        server.kill()


# ---- threads that the application has started


def test_a_body_is_read_in_a_thread_of_the_applications(serve):
    server = serve_threads(serve, 2)
    for length in (3, 300_000):
        with Client(server.address) as client:
            client.send(expecting("/helped", length))
            assert client.interim().status == 100
            assert get(server, "/quick") == b"quick"
            client.send(b"x" * length)
            assert client.response("POST").body == b"%d" % length


@pytest.mark.parametrize("client_leaves", [False, True])
def test_a_request_ends_while_a_thread_of_the_applications_reads_its_body(serve, client_leaves):
    server = serve_threads(serve, 2)
    for count in range(1, 11):
        with Crowd(server) as crowd:
            client = crowd.connect()
            client.send(expecting(f"/abandoned?{crowd.gate.path}"))
            crowd.gate.arrival()
            assert client.interim().status == 100
            if client_leaves:
                client.reset()
                eventually(lambda count=count: len(noted(server)), count)
            crowd.open(1)
            if not client_leaves:
                response = client.response("POST")
                assert response.body == b"no body is needed"
                assert response.closes
        eventually(lambda count=count: len(noted(server)), count)
    assert set(noted(server)) <= {"BrokenPipeError", "ConnectionResetError", "OSError"}
    assert "Traceback" not in server.stderr()


def test_a_thread_of_the_applications_reads_nothing_when_the_request_has_ended(serve):
    server = serve_threads(serve, 2)
    with Crowd(server) as crowd, Client(server.address) as client:
        client.send(expecting(f"/late?{crowd.gate.path}"))
        assert client.response("POST").body == b"no body is needed"
        client.expect_end()
        crowd.gate.pass_through()
        eventually(lambda: len(noted(server)), 1)
    assert noted(server) == [0]
    assert "Traceback" not in server.stderr()


# ---- children


def test_an_application_thread_forks(serve):
    server = serve_threads(serve, 4)
    held = None
    with Crowd(server) as crowd:
        clients = crowd.ask(2)
        for _ in range(10):
            assert get(server, "/forks") == b"7"
            assert get(server, "/runs") == b"2\n"
            held = held or descriptors(server.pid)
        crowd.open(2)
        for client in clients:
            assert client.response().body == b"through"
    assert descriptors(server.pid, at_most=held) <= held


# ---- what is written down


@pytest.mark.parametrize("threads", [1, 2])
def test_a_child_writes_no_line(serve, tmp_path, threads):
    path = tmp_path / "log"
    server = serve_threads(serve, threads, "--access-logfile", str(path))
    assert get(server, "/forks-and-returns") == b"forked"
    eventually(lambda: children_of(server.pid), [])
    server.stop()
    assert path.read_text().count("GET /forks-and-returns") == 1


def test_each_request_has_its_line_in_the_access_log(serve, tmp_path):
    path = tmp_path / "log"
    server = serve_threads(serve, 4, "--access-logfile", str(path))
    with Crowd(server) as crowd:
        clients = crowd.ask(4)
        crowd.open(4)
        for number, client in enumerate(clients):
            assert client.response().body == b"through"
            client.send(b"".join(request(f"/quick/{number}/{n}") for n in range(50)))
        for client in clients:
            for _ in range(50):
                assert client.response().body == b"quick"
    server.stop()
    lines = path.read_text().splitlines()
    asked = collections.Counter(re.search(r'"GET (\S+) HTTP/1.1" 200 ', line)[1] for line in lines)
    assert len(asked) == 201
    assert {asked.pop(target) for target in list(asked) if "gated" in target} == {4}
    assert set(asked.values()) == {1}


def events_of(path):
    reader = _zolal.Reader(str(path))
    events = []
    while batch := reader.read():
        events.extend(batch)
    reader.close()
    return events


def test_the_recording_of_several_threads(serve, tmp_path):
    server = serve("threads_app:application", "--threads=4", env={"XDG_RUNTIME_DIR": str(tmp_path)})
    (path,) = pathlib.Path(tmp_path).rglob("*.trace")
    with Crowd(server) as crowd:
        for _ in range(5):
            clients = crowd.ask(4)
            assert [crowd.open(1) for _ in clients]
            for client in clients:
                assert client.response().body == b"through"
                assert client.get("/quick").body == b"quick"
                client.close()
    events = events_of(path)
    assert "lost" not in {event.kind for event in events}
    assert len({event.thread for event in events if event.kind == "request_begin"}) >= 4
    requests = collections.defaultdict(list)
    for event in events:
        if event.request:
            requests[event.request].append(event)
    answered = [of for of in requests.values() if "request_begin" in {e.kind for e in of}]
    assert len(answered) == 40
    for of in answered:
        kinds = [event.kind for event in of]
        assert kinds.count("request_begin") == kinds.count("request_end") == 1
        assert kinds.index("request_begin") < kinds.index("request_end")
        assert len({event.connection for event in of}) == 1
        # From its begin to its end it is one thread's.
        begin = of[kinds.index("request_begin")]
        end = of[kinds.index("request_end")]
        assert begin.thread == end.thread
        assert end.result == 200
        sent = [event for event in of if event.op in ("sendto", "sendmsg")]
        assert sum(event.result for event in sent) > end.argument > 0
    for event in events:
        assert event.begin_ns <= event.end_ns
