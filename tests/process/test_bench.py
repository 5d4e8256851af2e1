"""`./dev bench peers` with the limit program and zolal alone: that it runs, and that it knows wrong
answers and missing ones. What it measures is not looked at."""

import argparse
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import peers  # noqa: E402
from measuring import candidates, load, workloads  # noqa: E402

HELLO = workloads.WORKLOADS[0]
REQUEST = HELLO.asks[0].request
OPTIONS = argparse.Namespace(rounds=1, seconds=0.1, rate=None, no_latency=False)


@pytest.fixture
def limit(tmp_path):
    """limit(body, asks): the limit program, answering each `asks` requests with that body."""
    started = []

    def limit(body, asks=1):
        reply = tmp_path / "reply"
        reply.write_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        started.append(candidates.limit(reply, asks * len(REQUEST), close=False))
        return started[-1]

    yield limit
    for one in started:
        one.stop()


def test_one_round(tmp_path):
    found = tmp_path / "found.json"
    command = [sys.executable, str(ROOT / "bench" / "peers.py"), "hello", "mixed", "start"]
    command += ["--rounds", "1", "--seconds", "0.2", "--only", "limit,zolal", "--idle", "50"]
    run = subprocess.run([*command, "--json", str(found)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    result = json.loads(found.read_text())
    for workload, names in (("hello", ["limit", "zolal"]), ("mixed", ["zolal"])):
        rows = result["workloads"][workload]["rows"]
        assert [row["name"] for row in rows] == names
        for row in rows:
            assert row["wrong"] == ""
            for sample in row["fast"] + row["paced"]:
                assert sample["answers"] > 0 and sample["cpu_us"] > 0
                assert sample["wrong"] == ""
            assert row["paced"][0]["latency_ms"]["p50"] > 0
    started = {row["name"]: row for row in result["start"]}
    assert started["zolal"]["wrong"] == "" and len(started["zolal"]["idle_kib"]) == 1


def test_echo(tmp_path):
    found = tmp_path / "found.json"
    command = [sys.executable, str(ROOT / "bench" / "echo.py"), "--rounds", "1"]
    command += ["--seconds", "0.1", "--connections", "4", "--json", str(found)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    rows = json.loads(found.read_text())["4"]
    assert list(rows) == ["limit", "zolal echo", "without the recorder"]
    for ((cpu_us, rate),) in rows.values():
        assert cpu_us > 0 and rate > 0


def test_loop(tmp_path):
    found = tmp_path / "found.json"
    command = [sys.executable, str(ROOT / "bench" / "loop.py"), "sock", "micro"]
    command += ["--rounds", "1", "--seconds", "0.1", "--idle", "50", "--json", str(found)]
    command += ["--only", "native epoll,asyncio,zolal,none"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (python,) = json.loads(found.read_text())["pythons"]
    tables = [*python["works"]["sock"].values(), *python["micro"].values()]
    assert len(tables) == 4 + 7
    for table in tables:
        assert table["zolal"]["wrong"] == table["asyncio"]["wrong"] == ""
        assert table["zolal"]["values"][0] > 0
        assert table["none"]["wrong"]


def test_applications_alone():
    command = [sys.executable, str(ROOT / "bench" / "application.py")]
    command += ["--rounds", "1", "--seconds", "0.05"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["Flask", "Django"]
    assert all(line.endswith(" us of CPU a call") for line in lines)


def test_right_and_wrong_answers(limit):
    right = peers.run_workload(HELLO, [limit(workloads.HELLO)], OPTIONS).rows[0]
    assert right.is_right() and right.fast[0].answers > 0
    wrong = peers.run_workload(HELLO, [limit(b"Hello, World!\n")], OPTIONS).rows[0]
    assert wrong.wrong.startswith("wrong: 200, 14 bytes")
    assert wrong.fast == [] and not wrong.is_right()


@pytest.mark.parametrize("body", [b"Hello, World!\n", b"Hello", workloads.HELLO * 2])
def test_the_load_compares_every_body(limit, tmp_path, body):
    server = limit(body)
    server.start(None, REQUEST)
    sample = load.measure(server, HELLO, tmp_path, None, 0.1)
    assert sample.answers == 0 and " wrong (status 200, " in sample.wrong


def test_the_load_compares_the_status(limit, tmp_path):
    server = limit(workloads.HELLO)
    reply = tmp_path / "reply"
    reply.write_bytes(reply.read_bytes().replace(b"200 OK", b"201 Created"))
    server.start(None, REQUEST)
    sample = load.measure(server, HELLO, tmp_path, None, 0.1)
    assert sample.answers == 0 and " wrong (status 201, 14 bytes of 14)" in sample.wrong


def test_a_server_that_does_not_answer(limit, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "DRAIN_SECONDS", 0.2)
    server = limit(workloads.HELLO, asks=2)
    server.start(None, REQUEST * 2)
    sample = load.measure(server, HELLO, tmp_path, None, 0.1)
    assert sample.answers == 0 and sample.wrong == "64 unanswered" and sample.cpu_us is None
    paced = load.measure(server, HELLO, tmp_path, None, 0.1, rate=2000)
    assert paced.wrong == "64 unanswered" and "not even sent" in paced.slow


def test_a_server_that_ends(limit, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "DRAIN_SECONDS", 0.2)
    server = limit(workloads.HELLO)
    server.start(None, REQUEST)
    server.process.kill()
    server.process.wait()
    sample = load.measure(server, HELLO, tmp_path, None, 0.1)
    assert sample.answers == 0 and sample.cpu_us is None
    assert sample.wrong.startswith("it ended with status -9; ")


def test_a_server_that_cannot_be_started(limit, tmp_path):
    missing = candidates.Candidate("missing", [str(tmp_path / "missing")])
    ends = candidates.Candidate("ends", [sys.executable, "-c", "raise SystemExit('no such thing')"])
    rows = peers.run_workload(HELLO, [missing, ends, limit(workloads.HELLO)], OPTIONS).rows
    assert [row.wrong for row in rows] == [
        "missing is not installed",
        "it ended with status 1: no such thing",
        "",
    ]
    assert rows[2].fast[0].answers > 0


def test_chunks_and_ends(limit, tmp_path):
    """The framings that the load must read besides a length: chunks, and the connection's end."""
    server = limit(workloads.HELLO)
    reply = tmp_path / "reply"
    head, chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5;x=y\r\nHello\r\n"
    reply.write_bytes(head + chunked + b"9\r\n, world!\n\r\n0\r\nTrailer: yes\r\n\r\n")
    server.start(None, REQUEST)
    sample = load.measure(server, HELLO, tmp_path, None, 0.1)
    assert sample.answers > 0 and sample.wrong == ""
    server.stop()
    reply.write_bytes(b"HTTP/1.1 200 OK\r\n\r\n" + workloads.HELLO)
    server.command.append("close")
    server.start(None, REQUEST)
    sample = load.measure(server, HELLO, tmp_path, None, 0.1)
    assert sample.answers > 0 and sample.wrong == ""
    assert sample.rate > 0


def test_percentiles():
    histogram = [[100.5, 50], [200.5, 49], [900.5, 1]]
    assert load.percentiles(histogram) == {
        "p50": 0.1005,
        "p99": 0.2005,
        "p99.9": 0.9005,
        "most": 0.9005,
    }
    assert load.percentiles([]) == {}


def test_trace(tmp_path):
    found = tmp_path / "found.json"
    command = [sys.executable, str(ROOT / "bench" / "trace.py"), "--rounds", "1", "--requests", "5"]
    run = subprocess.run([*command, "--json", str(found)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    works = json.loads(found.read_text())
    assert len(works) == 6
    for by_way in works.values():
        assert {"alone", "zolal trace"} <= by_way.keys()
        assert all(figure > 0 for figures in by_way.values() for figure in figures)
