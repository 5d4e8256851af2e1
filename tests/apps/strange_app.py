"""Objects that run code where nobody expects any."""

FIELDS = [("Content-Type", "text/plain")]


class Intended(Exception):
    pass


def called(call):
    """Make a call whose failure is of no interest."""
    try:
        call()
    except Exception:
        pass


class Finalized(str):
    """Calls start_response when it is freed."""

    def __del__(self):
        called(lambda: self.start("200 OK", [("Inner" + "r" * 50, "i" * 50)], failed()))


def failed():
    return Intended, Intended(), None


def finalized(start_response, text):
    made = Finalized(text)
    made.start = start_response
    return made


def head_with_finalizers(environ, start_response):
    """The second head takes the first one's place, and frees it."""
    field = (finalized(start_response, "A" * 50), finalized(start_response, "b" * 50))
    start_response("200 OK", [field])
    del field
    fields = [("Outer" + "r" * 50, "o" * 50)]
    start_response("200 OK", fields, failed())
    return [b"as it was"]


def head_with_finalizers_refused(environ, start_response):
    field = (finalized(start_response, "A" * 50), finalized(start_response, "b" * 50))
    start_response("200 OK", [field])
    del field
    start_response("200 OK", [("Outer" + "r" * 50, "o" * 50), ("Bad\n", "x")], failed())
    return [b"not to be seen"]


def unmade_file_wrapper(environ, start_response):
    start_response("200 OK", FIELDS)
    wrapper = environ["wsgi.file_wrapper"]
    return wrapper.__new__(wrapper)


class WithoutLength(bytes):
    def __len__(self):
        raise Intended


class ReadsWithoutLength:
    def read(self, size):
        return WithoutLength(b"hello")


def bytes_without_length(environ, start_response):
    start_response("200 OK", FIELDS)
    return environ["wsgi.file_wrapper"](ReadsWithoutLength())


def plain(environ, start_response):
    start_response("200 OK", FIELDS)
    return [b"plain"]


def application(environ, start_response):
    route = globals()[environ["PATH_INFO"][1:].replace("-", "_")]
    return route(environ, start_response)
