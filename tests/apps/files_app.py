"""Answers by wsgi.file_wrapper. FILES_FOLDER (environment) holds data.bin, written by the test.
/log tells what happened to the files; each entry is consumed by asking."""

import gzip
import io
import json
import os
import resource

PLAIN = [("Content-Type", "application/octet-stream")]
log = []


class Watched(io.FileIO):
    """A real file that tells when its Python methods are used."""

    def read(self, size=-1):
        log.append("read")
        return super().read(size)

    def close(self):
        if not self.closed:
            log.append("close")
        super().close()


class Scarce(Watched):
    """While it is open no descriptor is to be had."""

    def __init__(self, path):
        super().__init__(path)
        self.limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(self.fileno())
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, self.limits[1]))

    def close(self):
        if not self.closed:
            resource.setrlimit(resource.RLIMIT_NOFILE, self.limits)
        super().close()


class FileLike:
    """read() and close(), nothing else."""

    def __init__(self, data, **methods):
        self.stream = io.BytesIO(data)
        self.__dict__.update(methods)

    def read(self, size):
        log.append(f"read {size}")
        return self.stream.read(size)

    def close(self):
        log.append("close")


class OnlyRead:
    """Not even close()."""

    def __init__(self, data):
        self.read = io.BytesIO(data).read


class Middleware:
    """Hides the wrapper from the server, and counts what passes."""

    def __init__(self, wrapped):
        self.wrapped = wrapped

    def __iter__(self):
        return iter(self.wrapped)

    def close(self):
        self.wrapped.close()


def fails(*unused):
    raise OSError("there is no descriptor (intended)")


def pipe():
    reading, writing = os.pipe()
    os.write(writing, b"through a pipe")
    os.close(writing)
    return open(reading, "rb")


def opened(name, offset=0, buffered=0):
    path = os.path.join(os.environ["FILES_FOLDER"], name)
    file = open(path, "rb") if buffered else Watched(path)
    if buffered:
        # The descriptor stands further on than the file object, which has read ahead.
        file.read(buffered)
    if offset:
        file.seek(offset)
    return file


def moved(file):
    file.seek(12345)
    return file


KINDS = {
    "whole": lambda: opened("data.bin"),
    "scarce": lambda: Scarce(os.path.join(os.environ["FILES_FOLDER"], "large.bin")),
    "offset": lambda: opened("data.bin", offset=12345),
    "at-the-end": lambda: opened("data.bin", offset=os.path.getsize(data_path())),
    "beyond-the-end": lambda: opened("data.bin", offset=os.path.getsize(data_path()) + 10),
    "buffered": lambda: opened("data.bin", buffered=10),
    "empty": lambda: opened("empty.bin"),
    "sparse": lambda: opened("sparse.bin"),
    "bytes-io": lambda: io.BytesIO(b"b" * 100_000),
    "file-like": lambda: FileLike(b"f" * 100_000),
    "only-read": lambda: OnlyRead(b"o" * 100_000),
    "fileno-fails": lambda: FileLike(b"x" * 1000, fileno=fails),
    "fileno-none": lambda: FileLike(b"x" * 1000, fileno=lambda: None),
    "fileno-negative": lambda: FileLike(b"x" * 1000, fileno=lambda: -1),
    "tell-fails": lambda: FileLike(b"x" * 1000, fileno=lambda: 1, tell=fails),
    "pipe": pipe,
    "gzip": lambda: gzip.open(os.path.join(os.environ["FILES_FOLDER"], "data.gz")),
    "text": lambda: open(data_path()),
    "proc": lambda: open("/proc/self/status", "rb"),
    "random-access": lambda: moved(open(data_path(), "r+b")),
    "offset-in-buffer": lambda: moved(open(data_path(), "rb")),
    "str": lambda: io.StringIO("text is no bytes"),
}


def data_path():
    return os.path.join(os.environ["FILES_FOLDER"], "data.bin")


def application(environ, start_response):
    path = environ["PATH_INFO"][1:]
    wrapper = environ["wsgi.file_wrapper"]
    options = dict(item.split("=") for item in environ["QUERY_STRING"].split("&") if item)
    if path == "log":
        data = json.dumps(log).encode()
        log.clear()
        start_response("200 OK", [("Content-Length", str(len(data)))])
        return [data]
    fields = list(PLAIN)
    if "length" in options:
        fields.append(("Content-Length", options["length"]))
    write = start_response(options.get("status", "200") + " OK", fields)
    if "write" in options:
        write(options["write"].encode())
    block = [int(options["block"])] if "block" in options else []
    wrapped = wrapper(KINDS[path](), *block)
    return Middleware(wrapped) if "middleware" in options else wrapped
