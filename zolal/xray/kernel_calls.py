"""The arguments of kernel calls of all kinds, as strace(1) would write them: those that are
recorded with --all-syscalls besides the ones of calls.py. src/exact/names.py reads the table, too,
when the package is built: nothing of zolal is imported here."""

from __future__ import annotations

import signal
import struct
from collections.abc import Callable

SIGNATURES = {
    name: letters
    for line in """
    access so|alarm u|arch_prctl xp|brk x|capget pp|capset pp|chdir s|chmod so|chown suu
    chroot s|clock_adjtime dp|clock_getres dp|clock_gettime dp|clock_nanosleep dxpp
    clock_settime dp|clone xppp|clone3 pu|copy_file_range fpfpux|creat so|execve spp
    execveat fsppx|exit d|exit_group d|faccessat fso|faccessat2 fsox|fadvise64 fuud
    fallocate fduu|fanotify_init xx|fchdir f|fchmod fo|fchmodat fso|fchown fuu|fchownat fsuux
    fdatasync f|fgetxattr fspu|flistxattr fpu|flock fx|fork|fremovexattr fs|fsetxattr fspux
    fstat fp|fstatfs fp|fsync f|ftruncate fu|futex pFupp|futex_wait ppupp|futex_wake pupp
    getcpu ppp|getcwd pu|getdents fpu|getdents64 fpu|getegid|geteuid|getgid|getgroups dp
    getitimer dp|getpgid d|getpgrp|getpid|getppid|getpriority dd|getrandom pux|getresgid ppp
    getresuid ppp|getrlimit dp|getrusage dp|getsid d|gettid|gettimeofday pp|getuid|getxattr sspu
    inotify_add_watch fsx|inotify_init|inotify_init1 x|inotify_rm_watch fd|io_cancel ppp
    io_destroy p|io_getevents pddpp|io_setup up|io_submit pdp|kcmp dddff|kill dS
    landlock_create_ruleset pux|lchown suu|lgetxattr sspu|link ss|linkat fsfsx|listxattr spu
    llistxattr spu|lremovexattr ss|lseek flw|lsetxattr sspux|lstat sp|madvise pud|membarrier dxd
    memfd_create sx|mincore pup|mkdir so|mkdirat fso|mknod sox|mknodat fsox|mlock pu|mlock2 pux
    mlockall x|mmap puPMfx|mount sssxp|mprotect puP|mq_open sxop|mremap puuxp|msync pux
    munlock pu|munlockall|munmap pu|name_to_handle_at fsppx|nanosleep pp|newfstatat fspx
    open sOo|openat fsOo|openat2 fspu|pause|personality x|pidfd_getfd ffx|pidfd_open dx
    pidfd_send_signal fSpx|pipe p|pipe2 pO|pivot_root ss|pkey_alloc xx|prctl dxxxx|pread64 fpuu
    preadv fpuuu|preadv2 fpuuux|prlimit64 ddpp|process_vm_readv dpupux|process_vm_writev dpupux
    ptrace dpxx|pwrite64 fpuu|pwritev fpuuu|pwritev2 fpuuux|readahead fuu|readlink spu
    readlinkat fspu|removexattr ss|rename ss|renameat fsfs|renameat2 fsfsx|rmdir s|rseq pudx
    rt_sigaction Sppu|rt_sigpending pu|rt_sigprocmask dppu|rt_sigqueueinfo dSp|rt_sigsuspend pu
    rt_sigtimedwait pppu|sched_get_priority_max d|sched_get_priority_min d|sched_getaffinity dup
    sched_getparam dp|sched_getscheduler d|sched_setaffinity dup|sched_setparam dp
    sched_setscheduler ddp|sched_yield|seccomp xxp|semctl ddd|semget xdx|semop dpu
    set_mempolicy dpu|set_robust_list pu|set_tid_address p|setfsgid u|setfsuid u|setgid u
    setgroups dp|setitimer dpp|setns fx|setpgid dd|setpriority ddd|setregid uu|setresgid uuu
    setresuid uuu|setreuid uu|setrlimit dp|setsid|setuid u|setxattr sspux|shmat dpx|shmctl ddp
    shmdt p|shmget xux|sigaltstack pp|signalfd fpu|signalfd4 fpux|stat sp|statfs sp|statx fsxxp
    swapoff s|symlink ss|symlinkat sfs|sync|sync_file_range fuux|syncfs f|sysinfo p|tee ffux
    tgkill ddS|time p|timer_create dpp|timer_delete d|timer_settime dxpp|timerfd_create dx
    timerfd_gettime fp|timerfd_settime fxpp|times p|tkill dS|truncate su|umask o|umount2 sx
    uname p|unlink s|unlinkat fsx|unshare x|userfaultfd x|utime sp|utimensat fspx|utimes sp
    vfork|vmsplice fpux|wait4 dpxp|waitid ddpxp
    """.splitlines()
    for name, _, letters in (entry.strip().partition(" ") for entry in line.split("|"))
    if name
}
"""A letter an argument. f: a descriptor, s: a text (a path, mostly), d, l: a number with a sign, of
32 and 64 bits, u: one without, x: bits, p: a pointer, o: a mode, O: of open(2), P, M: of mmap(2),
F: of futex(2), S: a signal, w: of lseek(2)."""

OPEN_FLAGS = {
    0o100: "O_CREAT",
    0o200: "O_EXCL",
    0o400: "O_NOCTTY",
    0o1000: "O_TRUNC",
    0o2000: "O_APPEND",
    0o4000: "O_NONBLOCK",
    0o200000: "O_DIRECTORY",
    0o400000: "O_NOFOLLOW",
    0o2000000: "O_CLOEXEC",
    0o10000000: "O_PATH",
}
PROTECTIONS = {1: "PROT_READ", 2: "PROT_WRITE", 4: "PROT_EXEC"}
MAP_FLAGS = {
    1: "MAP_SHARED",
    2: "MAP_PRIVATE",
    0x10: "MAP_FIXED",
    0x20: "MAP_ANONYMOUS",
    0x800: "MAP_DENYWRITE",
    0x4000: "MAP_NORESERVE",
    0x20000: "MAP_STACK",
}
FUTEX = {
    0: "FUTEX_WAIT",
    1: "FUTEX_WAKE",
    3: "FUTEX_REQUEUE",
    4: "FUTEX_CMP_REQUEUE",
    5: "FUTEX_WAKE_OP",
    9: "FUTEX_WAIT_BITSET",
    10: "FUTEX_WAKE_BITSET",
}
WHENCE = {0: "SEEK_SET", 1: "SEEK_CUR", 2: "SEEK_END"}
NEVER_RETURN = frozenset(["exit", "exit_group"])
"""They have no result."""

RETURN_POINTERS = frozenset(["brk", "mmap", "mremap", "shmat"])
WORDS = 48  # bytes: six words; behind them texts, each as its position, itself and a NUL


def _signed(word: int, bits: int = 64) -> int:
    word &= (1 << bits) - 1
    return word - (1 << bits) if word >> (bits - 1) else word


def _pointer(word: int) -> str:
    return hex(word) if word else "NULL"


def _descriptor(word: int) -> str:
    fd = _signed(word, 32)
    return "AT_FDCWD" if fd == -100 else str(fd)


def flags(word: int, names: dict[int, str]) -> str:
    """Names of bits, and what is left of them."""
    found = [name for bit, name in names.items() if word & bit]
    left = word & ~sum(bit for bit in names if word & bit)
    return "|".join(found + ([hex(left)] if left or not found else []))


def _open(word: int) -> str:
    # O_SYNC, O_TMPFILE and the like are of several bits; they are rare, and left as numbers.
    access = ("O_RDONLY", "O_WRONLY", "O_RDWR", "3")[word & 3]
    rest = word & ~0o100003  # O_LARGEFILE is in all
    return f"{access}|{flags(rest, OPEN_FLAGS)}" if rest else access


def _futex(word: int) -> str:
    name = FUTEX.get(word & 0x7F, str(word & 0x7F))
    return name + ("_PRIVATE" if word & 0x80 else "")


def _signal(word: int) -> str:
    try:
        return signal.Signals(word).name
    except ValueError:
        return str(_signed(word, 32))


_WRITERS: dict[str, Callable[[int], object]] = {
    "f": _descriptor,
    "d": lambda word: str(_signed(word, 32)),
    "l": _signed,
    "u": str,
    "x": hex,
    "p": _pointer,
    "s": _pointer,  # one that could not be read
    "o": lambda word: f"{word & 0xFFFF:#o}".replace("0o", "0"),
    "O": lambda word: _open(word & 0xFFFFFFFF),
    "P": lambda word: flags(word, PROTECTIONS) if word else "PROT_NONE",
    "M": lambda word: flags(word, MAP_FLAGS),
    "F": lambda word: _futex(word & 0xFFFFFFFF),
    "S": _signal,
    "w": lambda word: WHENCE.get(word, str(_signed(word, 32))),
}


def _texts(data: bytes) -> dict[int, str]:
    """By their positions; one that was cut has no NUL behind it."""
    found = {}
    while data:
        text, end, rest = data[1:].partition(b"\0")
        shown = text.decode("utf-8", "backslashreplace").replace('"', '\\"')
        found[data[0]] = f'"{shown}"' + ("" if end else "...")
        data = rest
    return found


def arguments(name: str, data: bytes) -> str:
    """Of a call that is recorded by its six words; of one that is not known they are bare."""
    if len(data) < WORDS:
        return ""
    words, texts = struct.unpack_from("=6Q", data), _texts(data[WORDS:])
    letters = SIGNATURES.get(name, "xxxxxx")
    pairs = enumerate(zip(letters, words, strict=False))
    return ", ".join(texts.get(at) or str(_WRITERS[letter](word)) for at, (letter, word) in pairs)
