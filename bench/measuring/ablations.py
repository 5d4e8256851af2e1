"""What `./dev bench ablation` takes out of the server, as data: each entry is a list of exact
edits to a copy of the sources, the smallest that leave a server which is right, only without the
thing."""

from __future__ import annotations

from dataclasses import dataclass

from measuring.workloads import HELLO, SLOW, WORKLOADS, Ask, Workload, get

# An edit: the file below src/, a text that stands in it once, what to put instead.
Edit = tuple[str, str, str]


@dataclass(frozen=True)
class Ablation:
    """`edits`: none where `options` of the command line do it. `over`: the ablation that is taken
    out as well, and which this one is compared with, because what it takes out is not reached
    otherwise. `code`: files below src/ ("x.c") and functions ("x.c:function") that there would not
    be without the thing; `loose`: lines within others, by hand. `way`: no optimisation, but another
    way to hand over the loop."""

    name: str
    workloads: str
    edits: tuple[Edit, ...] = ()
    options: str = ""
    over: str = ""
    code: tuple[str, ...] = ()
    loose: int = 0
    way: bool = False

    def title(self) -> str:
        if self.way:
            return f"way: {self.name}"
        return f"without {self.name}" + (f" (nor {self.over})" if self.over else "")


ENVIRON = "python/wsgi/environ.c"
MEMO = "python/wsgi/header_memo.c"
RESPONDER = "python/wsgi/responder.c"
ANSWER = "python/wsgi/answer.c"
START_RESPONSE = "python/wsgi/start_response.c"
FIELDS = "python/wsgi/response_fields.c"
CALL = "server/worker_call.c"
EXCHANGE = "server/exchange.c"
EXCHANGE_BODY = "server/exchange_body.c"
EXCHANGE_REPLY = "server/exchange_reply.c"
CONNECTION = "server/connection.c"
SCAN = "http/scan.h"
HEAD = "http/request_head.c"
HISTORY = "server/history.c"
KNOWN_BLOCKS = "known field blocks"

# ------------------------------------------------------------------------------------- the environ

KEY_BY_KEY = """\
PyObject *environ = PyDict_New(), *key, *value;
    Py_ssize_t at = 0;
    while (environ && PyDict_Next(cache->templates[listener], &at, &key, &value))
        if (PyDict_SetItem(environ, key, value) < 0)
            Py_CLEAR(environ);"""

OF_THE_ENVIRON = (
    Ablation(
        KNOWN_BLOCKS,
        "hello fields cookie close pipeline flask",
        ((HEAD, "return head->memo &&", "return false &&"),),
        code=("http/field_memo.c", "http/field_memo.h", MEMO, "python/wsgi/header_memo.h"),
        loose=50,
    ),
    Ablation(
        "environs of known field blocks",
        "hello fields cookie flask",
        ((MEMO, "bool known = head->block != 0 &&", "bool known = false &&"),),
        code=(MEMO, "python/wsgi/header_memo.h"),
        loose=25,
    ),
    Ablation(
        "hits of known field blocks",
        "hello fields cookie",
        (("http/field_memo.c", "return entry && bytes.len >= entry->len &&", "return false &&"),),
    ),
    Ablation(
        "knowing what the last environ had",
        "hello fields",
        ((ENVIRON, "if (!value || *there == value)", "if (!value)"),),
        loose=8,
    ),
    Ablation(
        "environ template",
        "hello fields",
        ((ENVIRON, "PyObject *environ = PyDict_Copy(cache->templates[listener]);", KEY_BY_KEY),),
        over=KNOWN_BLOCKS,
    ),
    Ablation(
        "remembered field names",
        "hello fields",
        ((ENVIRON, "if (field->name.len > ENVIRON_NAME_MAX)", "if (true)"),),
        over=KNOWN_BLOCKS,
        code=(
            "python/wsgi/environ.c:environ_slot",
            "python/wsgi/environ.c:environ_remember",
            "python/wsgi/environ.c:environ_add_field",
        ),
        loose=12,
    ),
    Ablation(
        "remembered field values",
        "hello fields cookie",
        (
            (
                ENVIRON,
                "if (!known->value || !text_is(known->value, field->value))",
                "if (true)",
            ),
        ),
        over=KNOWN_BLOCKS,
        loose=4,
    ),
    Ablation(
        "interned field names",
        "fields flask",
        ((ENVIRON, "PyUnicode_InternInPlace(&key);", ""),),
        loose=1,
    ),
    Ablation(
        "remembered hosts and ports",
        "hello close",
        (
            (ENVIRON, "if (known->text && address_host_equal(", "if (false && address_host_equal("),
            (ENVIRON, "if (known->text && known->port == port)", "if (false)"),
        ),
        code=("socket/address.c:address_host_equal", "socket/address.c:address_host_hash"),
        loose=12,
    ),
    Ablation(
        "remembered path",
        "hello flask",
        ((ENVIRON, "if (!cache->last_path || !text_is(cache->last_path, path))", "if (true)"),),
        loose=4,
    ),
    Ablation(
        "shared empty input",
        "hello",
        (
            (
                RESPONDER,
                "    if (exchange_body_left(responder->exchange) == 0)\n        return 0;\n",
                "",
            ),
        ),
        loose=2,
    ),
)

# ------------------------------------------------------------------------- the call and its answer

OF_THE_CALL = (
    Ablation(
        "vectorcall of the application",
        "hello",
        (
            (
                RESPONDER,
                "responder->result = PyObject_Vectorcall(application, arguments, 2, NULL);",
                "responder->result = PyObject_CallFunction(application, "
                '"OO", arguments[0], arguments[1]);',
            ),
        ),
    ),
    Ablation(
        "vectorcall of start_response",
        "hello",
        (
            (
                RESPONDER,
                "Py_TPFLAGS_HAVE_VECTORCALL |",
                "0 |",
            ),
        ),
        code=("python/wsgi/start_response.c:responder_call_slow",),
        loose=5,
    ),
    Ablation(
        "spare responder",
        "hello",
        (
            (
                RESPONDER,
                "if (responder_is_ours(responder) && !server->spare_responder)",
                "if (false)",
            ),
        ),
        loose=9,
    ),
    Ablation(
        "response fields in place",
        "hello flask",
        ((FIELDS, "if (count <= RESPONSE_FIELDS_INLINE)", "if (count == 0)"),),
        loose=8,
    ),
    Ablation(
        "write() kept with its start_response",
        "hello",
        (
            (
                START_RESPONSE,
                "    if (!responder->write)\n        responder->write = ",
                "    Py_CLEAR(responder->write);\n        responder->write = ",
            ),
        ),
        code=("python/wsgi/responder.c:responder_drop_spare",),
        loose=6,
    ),
    Ablation(
        "known response fields",
        "hello flask",
        (
            (
                FIELDS,
                "if (known->name != fresh.name || known->value != fresh.value)",
                "if (true)",
            ),
        ),
        code=(
            "python/wsgi/response_fields.c:checked_field_slot",
            "python/wsgi/response_fields.c:checked_field_keep",
            "python/wsgi/response_fields.c:checked_fields_clear",
        ),
        loose=20,
    ),
    Ablation(
        "short way of a single bytes",
        "hello post large",
        (
            (
                ANSWER,
                "if (responder_send_single(responder))\n",
                "if (false && responder_send_single(responder))\n",
            ),
        ),
        code=("python/wsgi/answer.c:responder_send_single",),
        loose=2,
    ),
    Ablation(
        "batching of an iterable's pieces",
        "flask",
        (
            (
                ANSWER,
                "(soon ? exchange_flush_soon(exchange) : exchange_flush(exchange))",
                "exchange_flush(exchange)",
            ),
        ),
        code=("server/exchange_reply.c:exchange_flush_soon",),
        loose=4,
    ),
    Ablation(
        "batching over a quick close()",
        "flask",
        (
            (
                RESPONDER,
                "server->close_is_slow = clock_monotonic_ns() - begin_ns > CLOSE_QUICK_NS;",
                "server->close_is_slow = true;",
            ),
        ),
        loose=5,
    ),
)

# ------------------------------------------------------------------------------ output and sockets

OF_THE_OUTPUT = (
    Ablation(
        "head and body in one call",
        "hello flask",
        (
            (
                EXCHANGE_REPLY,
                "    exchange->head_sent = true;\n    exchange->connection->sent_request = "
                "exchange->id;\n    return 0;",
                "    exchange->head_sent = true;\n    exchange->connection->sent_request = "
                "exchange->id;\n    connection_flush(exchange->connection);\n    return 0;",
            ),
        ),
    ),
    Ablation(
        "copies of small bodies",
        "hello",
        (("server/output.h", "#define OUTPUT_COPY_MAX 4096", "#define OUTPUT_COPY_MAX 0"),),
    ),
    Ablation(
        "loans of large bodies",
        "post large",
        (
            (
                "server/output.h",
                "#define OUTPUT_COPY_MAX 4096",
                "#define OUTPUT_COPY_MAX (64u << 20)",
            ),
        ),
        code=(
            "server/output.c:output_lend",
            "python/wsgi/answer.c:responder_release_bytes",
        ),
        loose=14,
    ),
    Ablation(
        "send(2) for a single part",
        "hello",
        (("socket/stream.c", "if (count == 1)", "if (false)"),),
        loose=2,
    ),
    Ablation(
        "replies in batches",
        "hello close pipeline flask",
        (
            (
                "server/connection_write.c",
                "connection_enter_idle(connection);\n    connection_flush_later(connection);",
                "connection_enter_idle(connection);\n    connection_flush(connection);",
            ),
        ),
        code=(
            "server/connection_write.c:connection_flush_later",
            "server/worker_call.c:worker_flush_before_call",
            "server/worker.c:worker_flush",
            "server/worker_new.c:worker_init_clock",
        ),
        loose=9,
    ),
    Ablation(
        "Date kept for a second",
        "hello",
        (("server/worker.c", "if (worker->date_second != second)", "if (true)"),),
        loose=3,
    ),
    Ablation(
        "second read once a turn",
        "hello",
        (("server/worker.c", "if (!worker->second_known)", "if (true)"),),
        loose=5,
    ),
    Ablation(
        "epoll_ctl put off",
        "close",
        (
            (
                CONNECTION,
                "list_append(&worker->unwatched, &connection->unwatched);",
                "int watched = connection_watch(connection);\n"
                "    if (watched < 0)\n        return watched;",
            ),
        ),
        code=("server/worker_accept.c:worker_watch_new",),
        loose=10,
    ),
    Ablation(
        "recv in the turn of accept",
        "close",
        (
            (
                CONNECTION,
                "connection->readable = true;\n    connection_again(connection);\n    return 0;",
                "return 0;",
            ),
        ),
        loose=2,
    ),
    Ablation(
        "TCP_DEFER_ACCEPT",
        "close",
        (("python/server_listen.c", "defer_accept = 1, unix_mode", "defer_accept = 0, unix_mode"),),
        loose=2,
    ),
    Ablation(
        "the end with the last bytes",
        "close",
        (
            ("socket/stream.c", "(more ? MSG_MORE : 0)", "0"),
            (
                "server/connection_write.c",
                "bool ended = stream_shutdown(connection->stream) == 0;",
                "bool ended = true;",
            ),
            (
                "server/connection_write.c",
                "if (!ended || connection->peer_ended || !may_send) {",
                "if (connection->peer_ended || !may_send || "
                "stream_shutdown(connection->stream) < 0) {",
            ),
        ),
        loose=4,
    ),
    Ablation(
        "knowing an emptied socket",
        "hello",
        (
            (
                "server/connection_read.c",
                "n > 0 && ((size_t)n == sizeof(worker->receive) || connection->reads_on);",
                "n > 0;",
            ),
        ),
        loose=6,
    ),
)

# ------------------------------------------------------------------------- memory, parser, recorder

OF_THE_REST = (
    Ablation(
        "spare exchanges",
        "hello post",
        ((EXCHANGE, "if (worker->spare_exchange_count >= EXCHANGES_SPARE)", "if (true)"),),
        loose=30,
    ),
    Ablation(
        "spare outputs",
        "hello",
        ((CONNECTION, "if (worker->spare_output_count >= OUTPUTS_SPARE)", "if (true)"),),
        loose=16,
    ),
    Ablation(
        "request used in the receive buffer",
        "hello fields post pipeline",
        (
            (
                CALL,
                "    connection_enter(connection, CONNECTION_RUN);\n",
                "    if (exchange_keep_head(exchange) < 0 || exchange_keep_body(exchange) < 0 ||\n"
                "        connection_keep_input(connection) < 0) {\n"
                "        connection_refuse(connection, HTTP_INTERNAL_ERROR);\n"
                "        return CONNECTION_WAIT;\n"
                "    }\n"
                "    connection_enter(connection, CONNECTION_RUN);\n",
            ),
        ),
        code=("server/worker_call.c:worker_reclaim_receive",),
        loose=12,
    ),
    Ablation(
        "body used in place",
        "post",
        ((EXCHANGE_BODY, "if (in_place && data.len == want)", "if (false)"),),
        code=("server/exchange_body.c:exchange_keep_body",),
        loose=12,
    ),
    Ablation(
        "field values by vectors",
        "hello fields cookie",
        ((SCAN, "while (end - at >= HTTP_BLOCK)", "while (false)"),),
        over=KNOWN_BLOCKS,
        code=("http/scan.h:http_block_load", "http/scan.h:http_block_first"),
        loose=12,
    ),
    Ablation(
        "names by four bytes a turn",
        "hello fields",
        ((SCAN, "for (; end - at >= 4; at += 4)", "for (; false; at += 4)"),),
        over=KNOWN_BLOCKS,
        loose=10,
    ),
    Ablation(
        "field names told by their length",
        "fields",
        (
            (
                "http/request_message.c",
                "    enum request_field field;\n    switch (name.len) {",
                "    for (int i = 0; i < 5; i++)\n"
                "        if (slice_equal_ignoring_case(name, names[i]))\n"
                "            return (enum request_field)i;\n"
                "    return REQUEST_FIELD_OTHER;\n"
                "    enum request_field field;\n    switch (name.len) {",
            ),
        ),
        over=KNOWN_BLOCKS,
        loose=20,
    ),
    Ablation("recorder", "hello close pipeline", options="--no-recorder"),
    Ablation(
        "optimisation of all files as one",
        "hello fields post pipeline",
        (("meson.build", "get_option('buildtype') == 'release'", "false"),),
        loose=4,
    ),
    Ablation(
        "ticks of the TSC",
        "hello",
        (("base/clock.c", "clock_tsc_usable = (edx & (1u << 8)) != 0;", "clock_tsc_usable = 0;"),),
        code=("base/clock.c:clock_look_at_tsc", "base/clock.c:clock_measure_rate"),
        loose=20,
    ),
)

# ------------------------------------------------------------------------------------- handing over

WAYS = "hello flask sleep mixed chance long"
LOOK = "bool known = history->slots[key % HISTORY_SLOTS].tag == tag_of(key);\n"
NONE_IS_TO_BLOCK: Edit = (HISTORY, LOOK, "return false;\n    bool known = false;\n")
ALL_ARE_TO_BLOCK: Edit = (HISTORY, LOOK, "return true;\n    bool known = false;\n")
NO_KEY: Edit = (HISTORY, "uint32_t hash = 2166136261u;\n", "return 0;\n    uint32_t hash = 0;\n")
TO_IDLE: Edit = (
    CALL,
    "if (!worker_may_call(worker))\n        return worker_queue(",
    "if (!worker_may_call(worker) ||\n"
    "        (worker_is_threaded(worker) && lead_has_idle(&worker->lead) &&\n"
    "         history_blocks(&worker->history, connection->exchange->history_key)))\n"
    "        return worker_queue(",
)
NOT_PASSED: Edit = (
    CALL,
    "if (leads && history_blocks(&worker->history, sight->key) &&",
    "if (false && history_blocks(&worker->history, sight->key) &&",
)
NOT_NOTED: Edit = (
    CALL,
    "if (!exchange->has_waited) /*",
    "if (false) /*",
)
SECOND_TIME: Edit = (HISTORY, "SCORE_OF_A_BLOCK = 4,", "SCORE_OF_A_BLOCK = 3,")
NOT_TAKEN: Edit = ("server/lead.c", "    if (look == LEAD_APART)\n", "    if (false)\n")
NOT_LONG: Edit = (
    "server/lead.c",
    "    if (sight->looks == LEAD_LONG_LOOKS)\n        return LEAD_APART;\n",
    "",
)
NOT_ALERT: Edit = ("server/lead.c", "        sight->alert = LEAD_ALERT_LOOKS;\n", "")
EACH_MS: Edit = ("server/lead.h", "LEAD_TICK_NS  2000000", "LEAD_TICK_NS  1000000")

HANDING_OVER = (
    Ablation(
        "surprise only",
        WAYS,
        (NONE_IS_TO_BLOCK, NO_KEY, NOT_NOTED),
        way=True,
    ),
    Ablation("history believed the second time", WAYS, (SECOND_TIME,), way=True),
    Ablation("history: an idle thread", WAYS, (TO_IDLE, NOT_PASSED), way=True),
    Ablation("history: an idle thread or the lead passed", WAYS, (TO_IDLE,), way=True),
    Ablation(
        "always a thread (a pool)",
        WAYS,
        (ALL_ARE_TO_BLOCK, NO_KEY, NOT_NOTED, TO_IDLE),
        way=True,
    ),
    Ablation(
        "lead always passed (leader and followers)",
        WAYS,
        (ALL_ARE_TO_BLOCK, NO_KEY, NOT_NOTED),
        way=True,
    ),
    Ablation("no surprise", WAYS, (NOT_TAKEN,), way=True),
    Ablation("surprise looked for twice as often", WAYS, (EACH_MS,), way=True),
    Ablation("no sooner looks after a surprise", WAYS, (NOT_ALERT,), way=True),
    Ablation("long calls keep the lead", WAYS, (NOT_LONG,), way=True),
    Ablation("one thread", WAYS, options="--threads 1", way=True),
)

ABLATIONS = (*OF_THE_ENVIRON, *OF_THE_CALL, *OF_THE_OUTPUT, *OF_THE_REST, *HANDING_OVER)

# The case in which a path says nothing about what its requests do.
CHANCE = Workload(
    "chance",
    "5 % of one path's requests sleep 20 ms, latency of the others",
    (Ask(get(), HELLO, 95, "quick"), Ask(get(b"/?slow"), SLOW, 5, "slow")),
    "plain:chance",
    500,
    blocks=True,
)
# Calls that compute, in Python, for longer than the GIL is held for.
LONG = Workload(
    "long",
    "2 % of requests compute 50 ms, latency of the others",
    (Ask(get(), HELLO, 98, "quick"), Ask(get(b"/slow"), SLOW, 2, "slow")),
    "plain:computes",
    200,
    blocks=True,
)
ABLATION_WORKLOADS = [
    one
    for one in [*WORKLOADS, CHANCE, LONG]
    if any(one.name in a.workloads.split() for a in ABLATIONS)
]
