"""A server in a program of somebody else's, who has signal handlers and descriptors of his own."""

PROGRAM = """
import _thread, functools, os, signal, sys
from zolal import _zolal

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

def run_signalled(server, number):
    # Python code would take the signal before run() does: there is none between these two.
    calls = [
        functools.partial(_thread.interrupt_main, number),
        functools.partial(server.run, application),
    ]
    list(map(functools.partial.__call__, calls))
"""


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
