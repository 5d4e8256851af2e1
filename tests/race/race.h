/* A worker with several threads and its clients, all in one process, so that ThreadSanitizer sees
 * every access: site.c is the worker and its handler, clients.c the clients, race.c the rounds.
 *
 * Every request has a number of its own. Its client knows what became of it (enum outcome), the
 * handler counts its calls, the access log its lines, and at the end of a round all three must
 * agree. */
#ifndef ZOLAL_TESTS_RACE_H
#define ZOLAL_TESTS_RACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(enumerator, first part of the path, how often, has the request a body?): what a handler does */
#define ORDERS(X)                      \
    X(QUICK, "quick", 40, false)       \
    X(SLEEP, "sleep", 10, false)       \
    X(LONG, "long", 1, false)          \
    X(COMPUTE, "compute", 4, false)    \
    X(AWAY, "away", 4, false)          \
    X(LET_GO, "let-go", 5, false)      \
    X(STREAM, "stream", 8, false)      \
    X(KEPT, "kept", 8, false)          \
    X(TURNS, "turns", 5, false)        \
    X(BODY, "body", 15, true)          \
    X(UNREAD, "unread", 4, true)       \
    X(HELPED, "helped", 4, true)       \
    X(ABANDONED, "abandoned", 3, true) \
    X(REFUSED, "refused", 2, false)    \
    X(ABORTED, "aborted", 3, false)

enum order_kind {
#define X(name, path, weight, has_body) ORDER_##name,
    ORDERS(X)
#undef X
        ORDER_COUNT
};

extern const char *const order_paths[ORDER_COUNT];

/* A request: /KIND/ID/SIZE. `size`: bytes of its body, or of what follows the line with its number
 * in the answer. */
struct order {
    enum order_kind kind;
    uint64_t id;
    size_t size;
    size_t done; /* of the answer; handlers that come back */
};

/* The line that every answer begins with: ID in 20 digits. */
#define ID_LINE 21

/* What a client knows of its request. */
enum outcome {
    OUTCOME_UNKNOWN,  /* it left: at most one call */
    OUTCOME_ANSWERED, /* exactly one */
    OUTCOME_UNSERVED  /* none */
};

#define IDS_MOST (1u << 20)

/* One round. */
struct round {
    unsigned threads;
    unsigned clients;
    bool calm; /* nobody leaves, and the clients end it: nothing hides a wake-up that was lost */
    bool recorded;
    unsigned queue; /* limits.queue */
    unsigned graceful_ms;
    unsigned for_ms;
};

struct site;

struct race {
    struct round round;
    uint64_t seed;
    uint16_t port;
    _Atomic uint64_t next_id;
    _Atomic bool stopping; /* from here on a client may be turned away */
    _Atomic unsigned failures;
    _Atomic unsigned done; /* clients of a calm round that have had enough */
    _Atomic unsigned answered, cut, turned_away, left;
    uint8_t *called;   /* by id; guarded by the worker's lock */
    uint8_t *outcomes; /* by id; each is written by the thread whose request it is */
};

/* Something is wrong: say it, and the run has failed. */
void fail(struct race *race, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The number behind `*state`. */
uint64_t chance(uint64_t *state);
/* 0 to most - 1 */
uint64_t chance_below(uint64_t *state, uint64_t most);

/* `len` bytes, at most PATTERN_MOST, as they stand at `at` in the body of `id`. They live for ever.
 */
#define PATTERN_MOST 40000
const char *pattern(uint64_t id, size_t at);

void sleep_us(uint64_t us);
uint64_t now_ms(void);

/* Serve until the round's time is over, then stop under load; all of it is gone on return. */
void site_run(struct race *race);

/* Start the round's clients, and wait for their end. */
struct crowd;
struct crowd *crowd_start(struct race *race);
void crowd_join(struct crowd *crowd);

#endif
