"""The same hello; at /usage what this process has used so far: CPU time in nanoseconds, how often
it gave the CPU up to wait, and how often it was taken away."""

import resource
import time

import hello


def application(environ, start_response):
    if environ["PATH_INFO"] != "/usage":
        return hello.application(environ, start_response)
    used = resource.getrusage(resource.RUSAGE_SELF)
    text = f"{time.process_time_ns()} {used.ru_nvcsw} {used.ru_nivcsw}\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text.encode()]
