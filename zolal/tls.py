"""TLS on zolal.EventLoop: asyncio's own, with what each message takes in C."""

from __future__ import annotations

import asyncio
import sys
from asyncio import sslproto
from typing import TYPE_CHECKING, Any

from zolal import _zolal

if TYPE_CHECKING:
    import ssl

_ssl: Any = vars(sslproto)["ssl"]  # None: this Python has none
_new_protocol: Any = sslproto.SSLProtocol  # Python 3.10's is of another design

if sys.version_info >= (3, 11) and _ssl:

    class _SSLTransport(_zolal.TLSMethods, sslproto._SSLProtocolTransport):
        """What a program writes to."""

        __slots__ = ("_closed", "_ssl_protocol")

    _zolal.TLSMethods._adopt(_SSLTransport)

    class _SSLProtocol(_zolal.TLSCore, sslproto.SSLProtocol):
        """What stands between the transport of the socket and the program's protocol."""

        if TYPE_CHECKING:
            _ssl_buffer_view: memoryview

        def __init__(self, *args: Any, **options: Any) -> None:
            # Its buffer for what comes is empty: get_buffer() makes it larger where one is needed.
            vars(self)["max_size"] = 0
            super().__init__(*args, **options)
            del vars(self)["max_size"]

        def _get_app_transport(self) -> Any:
            if self._app_transport is None and not self._app_transport_created:
                self._app_transport = _SSLTransport(self._loop, self)
                self._app_transport_created = True
            return super()._get_app_transport()  # type: ignore[misc]

        def _received(self, data: bytes) -> None:
            """What the loop's own transport has received, in memory that connections share."""
            buffer, self._ssl_buffer_view = self._ssl_buffer_view, memoryview(data)
            try:
                self.buffer_updated(len(data))
            finally:
                self._ssl_buffer_view = buffer

    _new_protocol = _SSLProtocol


def _move_received(protocol: asyncio.BaseProtocol, tls: Any) -> None:
    """What a stream's reader has already is the beginning of the handshake, not a text that came
    encrypted: asyncio's before 3.14 leaves it there (gh-142352)."""
    reader = None
    if isinstance(protocol, asyncio.StreamReaderProtocol):
        reader = getattr(protocol, "_stream_reader", None)
    if reader is not None and reader._buffer:
        tls._incoming.write(reader._buffer)
        reader._buffer.clear()


class TLSLoop(asyncio.SelectorEventLoop):
    """The part of zolal.EventLoop that makes transports for TLS."""

    if TYPE_CHECKING:

        def _make_socket_transport(
            self, sock: Any, protocol: asyncio.BaseProtocol, **options: Any
        ) -> asyncio.Transport: ...

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext | None,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: asyncio.Server | None = None,
        **timeouts: float | None,
    ) -> Any:
        tls = _new_protocol(
            self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts
        )
        self._make_socket_transport(rawsock, tls, extra=extra, server=server)
        return tls._app_transport

    if sys.version_info >= (3, 11):

        async def start_tls(
            self,
            transport: Any,
            protocol: asyncio.BaseProtocol,
            sslcontext: ssl.SSLContext,
            *,
            server_side: bool = False,
            server_hostname: str | None = None,
            **timeouts: Any,
        ) -> Any:
            """Go on with TLS; the transport that the protocol is to use from here."""
            names: dict[str, Any] = {
                "server_side": server_side,
                "server_hostname": server_hostname,
                **timeouts,
            }
            is_usable = _ssl and isinstance(sslcontext, _ssl.SSLContext)
            if not is_usable or not getattr(transport, "_start_tls_compatible", False):
                return await super().start_tls(transport, protocol, sslcontext, **names)  # says why
            done = self.create_future()
            tls = _new_protocol(
                self, protocol, sslcontext, done, call_connection_made=False, **names
            )
            transport.pause_reading()  # nothing may come before connection_made()
            if server_side:
                _move_received(protocol, tls)
            transport.set_protocol(tls)
            begin = self.call_soon(tls.connection_made, transport)
            resume = self.call_soon(transport.resume_reading)
            try:
                await done
            except BaseException:
                transport.close()
                begin.cancel()
                resume.cancel()
                raise
            return tls._app_transport
