"""trace_enter and trace_leave: how Python code records calls of its own."""

import pytest

SCRIPT = """
from zolal import _zolal
{without}
path = _zolal.recording_start()
_zolal.trace_enter("outer (a.py)", 7)
_zolal.trace_enter("inner")
_zolal.trace_leave(True)
_zolal.trace_enter("outer (a.py)", 8)
_zolal.trace_leave()
_zolal.trace_leave(False)
reader = _zolal.Reader(path)
for event in reader.read():
    print(event.kind, event.op, event.name, event.argument, event.result)
"""


def test_what_is_entered_is_recorded_with_its_name_and_line(outcome_of):
    out, err = outcome_of(SCRIPT.format(without=""))
    assert out.splitlines() == [
        "python_enter call outer (a.py) 7 0",
        "python_enter call inner 0 0",
        "python_leave call  0 -1",
        "python_enter call outer (a.py) 8 0",
        "python_leave call  0 0",
        "python_leave call  0 0",
    ]
    assert err == ""


def test_without_a_recording_nothing_happens(outcome_of):
    without = '_zolal.trace_enter("before")\n_zolal.trace_leave()'
    assert len(outcome_of(SCRIPT.format(without=without))[0].splitlines()) == 6


@pytest.mark.parametrize("arguments", ["", "1", "'a', 'b'", "'a', 1, 2", "'a', 1 << 80"])
def test_wrong_arguments_are_said(outcome_of, arguments):
    script = f"""
from zolal import _zolal
try:
    _zolal.trace_enter({arguments})
except (TypeError, OverflowError) as error:
    print(type(error).__name__)
"""
    assert outcome_of(script)[0] in ("TypeError\n", "OverflowError\n")


def test_more_texts_than_there_is_room_for_are_unnamed(outcome_of):
    script = """
from zolal import _zolal
path = _zolal.recording_start()
for i in range(3000):
    _zolal.trace_enter(f"a text of some length, number {i}")
    _zolal.trace_leave()
names = [event.name for event in _zolal.Reader(path).read() if event.kind == "python_enter"]
print(bool(names[0]), names[-1] == "")
"""
    assert outcome_of(script)[0] == "True True\n"
