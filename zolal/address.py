"""Addresses, as people give them to a browser."""


def url_of(bound: str) -> str:
    """For the address of a listener: "127.0.0.1:8000", "unix:/run/app.sock"."""
    if bound.startswith("unix:"):
        return bound
    host, _, port = bound.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "localhost"}.get(host, host)
    return f"http://{host}:{port}"
