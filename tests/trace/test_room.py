"""Where recordings of `zolal trace` lie, and how many bytes they may take there."""

import errno
import os
import sys
import types

import pytest
from traced import Made
from tracing import ZOLAL, run

from zolal.trace import store
from zolal.trace.tree import ending, remarks

MIB = 1 << 20
SHM, TMP, VAR = "/dev/shm", "/tmp", "/var/tmp"


@pytest.fixture
def free(monkeypatch):
    """free[place] = bytes, None: no limit; other places there are none. The user is not root."""
    places = {}

    def statvfs(place):
        blocks = 0 if places[place] is None else 1 << 30
        pages = (places[place] or 0) // 4096
        return types.SimpleNamespace(f_blocks=blocks, f_bavail=pages, f_frsize=4096)

    monkeypatch.setattr(os, "statvfs", statvfs)
    monkeypatch.setattr(os, "access", lambda place, _mode: place in places)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for name in ("XDG_RUNTIME_DIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    return places


def test_memory_comes_first(free):
    free.update({SHM: 600 * MIB, TMP: 9000 * MIB})
    assert store.find_room(256 * MIB) == (SHM, 300 * MIB)


def test_a_container_has_less(free):
    """Docker's /dev/shm is 64 MiB: half of it is enough for who asks for nothing else."""
    free.update({SHM: 64 * MIB, TMP: 9000 * MIB})
    assert store.find_room(16 * MIB) == (SHM, 32 * MIB)
    assert store.find_room(256 * MIB) == (TMP, 4500 * MIB)


def test_where_no_place_has_enough_the_largest_is_taken(free):
    free.update({SHM: 2 * MIB, TMP: 8 * MIB, VAR: 20 * MIB})
    assert store.find_room(16 * MIB) == (VAR, 10 * MIB)


def test_a_file_system_in_memory_may_have_no_limit(free):
    free.update({SHM: None, TMP: 9000 * MIB})
    assert store.find_room(1024 * MIB)[0] == SHM


@pytest.fixture
def named(free, monkeypatch, tmp_path):
    """The user's own folders, as they are named to programs."""
    own, temporary = str(tmp_path), "/a/place"
    monkeypatch.setenv("XDG_RUNTIME_DIR", own)
    monkeypatch.setenv("TMPDIR", temporary)
    free.update({own: 64 * MIB, SHM: 32 * MIB, temporary: 64 * MIB, TMP: 64 * MIB})
    return own, temporary


def test_the_user_s_own_folders(free, named, monkeypatch):
    own, temporary = named
    if os.getuid() == 0:
        os.chown(own, 1000, -1)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(own).st_uid or 1000)
    assert store.find_room(32 * MIB)[0] == own
    free[own] = 0
    assert store.find_room(32 * MIB)[0] == temporary
    assert store.find_room(16 * MIB)[0] == SHM


def test_root_s_own_folders_are_for_no_other_user(free, named, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert store.find_room(16 * MIB)[0] == SHM
    assert store.find_room(32 * MIB)[0] == TMP


def test_no_room_at_all(free):
    with pytest.raises(OSError) as raised:
        store.find_room(16 * MIB)
    assert raised.value.errno == errno.ENOSPC


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """folder(room, budget, ...): a Folder where there is so much room."""
    made = []

    def folder(room, *arguments):
        monkeypatch.setattr(store, "find_room", lambda _least: (str(tmp_path), room))
        made.append(store.Folder(["true"], *arguments))
        return made[-1]

    yield folder
    for each in made:
        each.remove()


@pytest.mark.parametrize(
    ("room", "budget", "said"),
    [
        (32 * MIB, 256 * MIB, "32 MiB, half of what was free in "),
        (32 * MIB, 8 * MIB, "8 MiB, --max-size"),
    ],
)
def test_what_could_not_be_kept_is_said(folder, room, budget, said):
    taken = folder(room, budget, MIB)
    with open(os.path.join(taken.path, "shared"), "rb") as file:
        assert store.SHARED.unpack(file.read())[0] == min(room, budget)
    about, _ = store.open_store(taken.path)
    made = Made()
    trace = made.trace
    trace.budget, trace.cut_by = about["budget"], about["cut_by"]
    assert "room" not in ending(trace).plain
    made.process.filled_up = errno.EDQUOT
    assert f"room for recordings: {said}" in ending(trace).plain
    assert list(remarks(made.process)) == [
        "the room for recordings was used up: the oldest calls were dropped"
    ]


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")
OVER_SHM = 'mount -t tmpfs -o size=2m,mode=1777 none /dev/shm && exec "$@"'


@needs_root
def test_a_small_dev_shm_is_left_alone(tmp_path):
    text = """
import os, socket
a, b = socket.socketpair()
for _ in range(40_000):
    a.send(b"x")
    b.recv(1)
print(os.listdir("/dev/shm"), os.statvfs("/dev/shm").f_bfree == os.statvfs("/dev/shm").f_blocks)
"""
    command = [*ZOLAL, "trace", "--summary", "--", sys.executable, "-c", text]
    ended = run(["unshare", "-m", "sh", "-c", OVER_SHM, "sh", *command], tmp_path)
    if b"unshare" in ended.err or b"mount" in ended.err:
        pytest.skip(f"no file system can be mounted here: {ended.err.decode()}")
    assert (ended.status, ended.out) == (0, b"[] True\n")
    assert b"dropped" not in ended.err
    assert b" 40000 " in ended.err
