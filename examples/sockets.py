"""The article's server and client, on zolal's sockets: ZOLAL_XRAY=1 python examples/sockets.py"""

from zolal import socket


def listen():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def echo(listener):
    connection, address = listener.accept()
    with connection:
        connection.sendall(connection.recv(1024))


def ask(client, address):
    client.connect(address)
    client.send(b"hello")


server, client = listen(), socket.socket()
with server, client:
    ask(client, server.getsockname())
    echo(server)
    assert client.recv(1024) == b"hello"
    client.shutdown(socket.SHUT_RDWR)
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
