"""What the manual says, in a line: where a call's page is, what options and errors mean."""

from __future__ import annotations

import errno
from urllib.parse import quote

MAN = "https://man7.org/linux/man-pages/man{section}/{name}.{section}.html"
PAGES = {
    "accept4": "accept",
    "recvfrom": "recv",
    "sendto": "send",
    "sendmsg": "send",
    "recvmsg": "recv",
    "pselect6": "select",
    "ppoll": "poll",
    "eventfd2": "eventfd",
    "epoll_create1": "epoll_create",
    "epoll_pwait": "epoll_wait",
    "epoll_pwait2": "epoll_wait",
    "dup3": "dup",
    "dup2": "dup",
    "writev": "readv",
}
"""The page of the manual where it has another name than the call."""


def man_page(name: str) -> tuple[str, str]:
    """ "accept(2)", and where it is to be read."""
    page = PAGES.get(name, name)
    return f"{page}(2)", MAN.format(section=2, name=quote(page, safe=""))


OPTIONS = {
    "SO_REUSEADDR": "its address may be taken again at once after a restart. Without that, the "
    "kernel keeps it back for a minute while late packets of old connections may still arrive",
    "SO_REUSEPORT": "several sockets may listen on one address, and the kernel shares the "
    "connections out among them",
    "SO_KEEPALIVE": "the kernel asks from time to time whether a silent peer is still there",
    "SO_BROADCAST": "it may send to everybody on the network",
    "SO_SNDBUF": "so many bytes may wait in the kernel to be sent",
    "SO_RCVBUF": "so many bytes may wait in the kernel to be read",
    "SO_LINGER": "what close() does with bytes that are not sent yet",
    "TCP_NODELAY": "small pieces are sent at once. Otherwise the kernel holds them back while it "
    "waits for more (Nagle's algorithm)",
    "TCP_DEFER_ACCEPT": "a connection counts as arrived only when its first bytes are there",
    "IPV6_V6ONLY": "the socket is for IPv6 alone, and leaves IPv4 to another",
}
ERRORS = {
    errno.EAGAIN: "There is nothing to do yet. The socket is non-blocking, so that the kernel says "
    "so at once ({name}) instead of letting the program sleep; it will try again.",
    errno.EINPROGRESS: "The kernel has begun; as the socket is non-blocking, the program does not "
    "wait for the end ({name}).",
    errno.EINTR: "A signal came in between ({name}); Python tries again.",
    errno.ECONNREFUSED: "Nobody listens there: the connection was refused ({name}).",
    errno.ECONNRESET: "The other side has broken the connection off ({name}).",
    errno.EPIPE: "The other side reads no more ({name}).",
    errno.ENOTCONN: "The connection is over already ({name}).",
    errno.EADDRINUSE: "The address is taken by another socket ({name}).",
    errno.ENOENT: "There is nothing of that name ({name}).",
}
