"""by_strace: what getaddrinfo(3) does by itself is left out, however it comes; what is made again
after a signal is one call, whoever makes it."""

import pytest
from by_strace import calls_of, without_glibc

V4 = '{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}'
V6 = '{sa_family=AF_INET6, sin6_port=htons(80), inet_pton(AF_INET6, "::1", &sin6_addr)}'
NSCD = '{sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}'
NONE = '{sa_family=AF_UNSPEC, sa_data="\\0\\0"}'
NETLINK = "{sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}"
DATAGRAMS, DATAGRAMS_V6 = (
    f"socket({family}, SOCK_DGRAM|SOCK_CLOEXEC, IPPROTO_IP) = FD"
    for family in ("AF_INET", "AF_INET6")
)
CONNECT_V4 = f"connect(FD, {V4}, 16) = 0"
CONNECT_V6 = f"connect(FD, {V6}, 28) = 0"
CONNECT_NONE = f"connect(FD, {NONE}, 16) = 0"
OWN_V4 = f"getsockname(FD, {V4}, [28 => 16]) = 0"
OWN_V6 = f"getsockname(FD, {V6}, [28]) = 0"
CLOSE = "close(FD) = 0"

DAEMON = [
    "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0) = FD",
    f"connect(FD, {NSCD}, 110) = -1 ENOENT (No such file or directory)",
    CLOSE,
]
KERNEL = [
    "socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE) = FD",
    f"bind(FD, {NETLINK}, 12) = 0",
    f"getsockname(FD, {NETLINK}, [12]) = 0",
    f"sendto(FD, [{{nlmsg_len=20}}], 20, 0, {NETLINK}, 12) = 20",
    CLOSE,
]
ORDERS = {
    "IPv4 first": [
        *(DATAGRAMS, CONNECT_V4, OWN_V4, CLOSE),
        *(DATAGRAMS_V6, CONNECT_V6, OWN_V6, CLOSE),
    ],
    "IPv6 first": [DATAGRAMS_V6, CONNECT_V6, OWN_V6, CONNECT_NONE, CONNECT_V4, OWN_V6, CLOSE],
    "IPv6 out of reach": [
        DATAGRAMS_V6,
        f"connect(FD, {V6}, 28) = -1 EADDRNOTAVAIL (Cannot assign requested address)",
        *(CONNECT_NONE, CONNECT_V4, OWN_V6, CLOSE),
    ],
    "no IPv6": [
        DATAGRAMS_V6.replace("FD", "-1 EAFNOSUPPORT (Address family not supported by protocol)"),
        *(DATAGRAMS, CONNECT_V4, OWN_V4, CLOSE),
    ],
}
CLIENT = ["socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = FD", CONNECT_V4, CLOSE]


def of_descriptor(lines):
    return [line.replace("FD", "3<socket:[7]>") for line in lines]


def left(lines):
    """The names of the calls that are left."""
    return [call[0] for call in without_glibc(calls_of(of_descriptor(lines)))]


@pytest.mark.parametrize("order", ORDERS)
def test_all_of_a_look_up_is_left_out(order):
    assert left([*DAEMON, *KERNEL, *ORDERS[order], *CLIENT]) == ["socket", "connect", "close"]


@pytest.mark.parametrize("order", ORDERS)
def test_a_socket_that_sends_is_the_program_s(order):
    sent = [*ORDERS[order][:-1], 'sendto(FD, ""..., 5, 0, NULL, 0) = 5', CLOSE]
    assert left(sent)[-2:] == ["sendto", "close"]


def test_a_server_of_datagrams_is_the_program_s():
    assert left([DATAGRAMS, f"bind(FD, {V4}, 16) = 0", CLOSE]) == ["socket", "bind", "close"]


def test_a_socket_that_stays_open_is_the_program_s():
    assert left([DATAGRAMS, CONNECT_V4, OWN_V4]) == ["socket", "connect", "getsockname"]


WAIT = "epoll_wait(FD, [], 100, 49) = "
INTERRUPTED = "-1 EINTR (Interrupted system call)"
RESTARTED = "? ERESTARTNOHAND (To be restarted if no handler)"


@pytest.mark.parametrize(
    "lines",
    [
        [WAIT + INTERRUPTED, WAIT + "0"],
        [WAIT + INTERRUPTED, WAIT + INTERRUPTED, WAIT + "0"],
        [WAIT + RESTARTED, WAIT + "0"],
        [WAIT + RESTARTED, "restart_syscall(<... resuming interrupted epoll_wait ...>) = 0"],
    ],
)
def test_what_is_made_again_after_a_signal_is_one_call(lines):
    assert calls_of(of_descriptor(lines)) == [("epoll_wait", "3, [], timeout 49 ms", 0)]


def test_what_is_made_again_without_a_signal_is_two():
    other = "epoll_wait(FD, [], 100, 0) = 0"
    assert len(calls_of(of_descriptor([WAIT + "0", WAIT + "0", WAIT + INTERRUPTED, other]))) == 4
