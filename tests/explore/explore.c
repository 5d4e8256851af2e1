#include "explore.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK_SIZE 16384
#define BELOW      128 /* of the frame in explore_yield: what setjmp(3) may count as its own */

struct thread {
    jmp_buf context;
    size_t live; /* bytes of its stack that count */
};

/* What is not `struct world`, and is part of a state. */
static struct thread threads[EXPLORE_THREADS];
static _Alignas(64) unsigned char stacks[EXPLORE_THREADS][STACK_SIZE];

static jmp_buf scheduler;
static ucontext_t scheduler_first;
static unsigned running = EXPLORE_THREADS;
static unsigned outcome_now;
static const char *violation;
static jmp_buf on_violation;

struct state {
    uint64_t hash[2];
    uint32_t number; /* 1.. */
};

struct edge {
    uint32_t from;
    uint32_t to;
    struct explore_move move;
};

/* The way from the first state to the one looked at; each with its copy in `copies`. */
struct step {
    uint32_t number;
    unsigned next;
    unsigned count;
    size_t copy;
    struct explore_move moves[EXPLORE_MOVES_MAX];
};

static struct {
    struct state *table;
    uint64_t table_size; /* a power of two */
    uint64_t states;
    uint8_t *aims; /* of each state */
    uint64_t aims_size;
    struct edge *edges;
    uint64_t edge_count;
    uint64_t edges_size;
    struct step *steps;
    uint64_t step_count;
    uint64_t steps_size;
    unsigned char *copies;
    size_t copies_len;
    size_t copies_size;
} graph;

static void *grown(void *block, size_t size)
{
    void *result = realloc(block, size);
    if (!result) {
        fputs("no memory\n", stderr);
        exit(1);
    }
    return result;
}

/* --------------------------------------------------------------------------------------- threads
 */

unsigned explore_thread(void)
{
    return running;
}

_Noreturn void explore_fail(const char *text)
{
    violation = text;
    _longjmp(on_violation, 1);
}

/* What earlier calls left below the caller's frame gets into gaps of the next frames, and would
 * make equal states differ. */
__attribute__((noinline)) void explore_scrub(void)
{
    volatile uint64_t *word = (volatile uint64_t *)__builtin_frame_address(0);
    if (running == EXPLORE_THREADS)
        return;
    word -= 16;
    for (unsigned i = 0; i < 192; i++)
        if ((unsigned char *)(word - i) >= stacks[running])
            word[-(ptrdiff_t)i] = 0;
}

__attribute__((noinline)) unsigned explore_yield(void)
{
    struct thread *thread = &threads[running];
    unsigned char *top = stacks[running] + STACK_SIZE;
    thread->live = (size_t)(top - (unsigned char *)__builtin_frame_address(0)) + BELOW;
    if (thread->live > STACK_SIZE)
        explore_fail("a thread's stack is used up");
    if (!_setjmp(thread->context))
        _longjmp(scheduler, 1);
    return outcome_now;
}

static void thread_main(void)
{
    explore_yield();
    model_thread(running);
    explore_fail("a thread's life returned");
}

/* Make each thread and let it come to its first yield. */
static void threads_begin(void)
{
    static ucontext_t context;
    memset(threads, 0, sizeof(threads));
    memset(stacks, 0, sizeof(stacks));
    for (volatile unsigned i = 0; i < EXPLORE_THREADS; i++) {
        getcontext(&context);
        context.uc_stack.ss_sp = stacks[i];
        context.uc_stack.ss_size = STACK_SIZE;
        context.uc_link = NULL;
        makecontext(&context, thread_main, 0);
        running = i;
        if (!_setjmp(scheduler))
            swapcontext(&scheduler_first, &context);
    }
    running = EXPLORE_THREADS;
}

/* What lies below the live part of the stack is of no meaning: zeros, so that it does not get into
 * gaps of the next frames and make equal states differ. */
static void thread_resume(unsigned number)
{
    struct thread *thread = &threads[number];
    memset(stacks[number], 0, STACK_SIZE - thread->live);
    running = number;
    if (!_setjmp(scheduler))
        _longjmp(thread->context, 1);
    running = EXPLORE_THREADS;
}

/* A move that does not end is a violation, too. */
static volatile uint64_t moves_made;
static volatile bool moving;

static void on_alarm(int number)
{
    static const char text[] = "a thread spins:\n";
    static uint64_t before;
    (void)number;
    if (moves_made == before && moving) {
        if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
            _exit(1);
        _exit(1);
    }
    before = moves_made;
}

static void watch_moves(void)
{
    static unsigned char stack[32768]; /* not one of the threads' */
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof(stack)};
    const struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_ONSTACK | SA_RESTART};
    const struct itimerval every = {{2, 0}, {2, 0}};
    sigaltstack(&other, NULL);
    sigaction(SIGVTALRM, &action, NULL);
    setitimer(ITIMER_VIRTUAL, &every, NULL);
}

/* Returns whether nothing forbidden happened. */
static bool move_make(const struct explore_move *move)
{
    violation = NULL;
    if (_setjmp(on_violation)) {
        running = EXPLORE_THREADS;
        moving = false;
        return false;
    }
    outcome_now = move->outcome;
    moves_made++;
    moving = true;
    if (move->thread == EXPLORE_THREADS)
        model_surroundings(move->outcome);
    else
        thread_resume(move->thread);
    moving = false;
    return true;
}

/* ---------------------------------------------------------------------------------------- states
 */

static size_t copy_part(unsigned char *to, const void *from, size_t len)
{
    memcpy(to, from, len);
    return len;
}

static size_t state_size(void)
{
    size_t size = model_world_size + sizeof(threads);
    for (unsigned i = 0; i < EXPLORE_THREADS; i++)
        size += threads[i].live;
    return size;
}

static void state_save(unsigned char *to)
{
    to += copy_part(to, threads, sizeof(threads));
    to += copy_part(to, model_world, model_world_size);
    for (unsigned i = 0; i < EXPLORE_THREADS; i++)
        to += copy_part(to, stacks[i] + STACK_SIZE - threads[i].live, threads[i].live);
}

static void state_restore(const unsigned char *from)
{
    memcpy(threads, from, sizeof(threads));
    from += sizeof(threads);
    memcpy(model_world, from, model_world_size);
    from += model_world_size;
    for (unsigned i = 0; i < EXPLORE_THREADS; i++) {
        memcpy(stacks[i] + STACK_SIZE - threads[i].live, from, threads[i].live);
        from += threads[i].live;
    }
}

static uint64_t mixed(uint64_t hash)
{
    hash ^= hash >> 33;
    hash *= UINT64_C(0xff51afd7ed558ccd);
    return hash ^ (hash >> 33);
}

static void hash_bytes(uint64_t hash[2], const unsigned char *bytes, size_t len)
{
    uint64_t word = 0;
    for (size_t i = 0; i < len; i += sizeof(word)) {
        word = 0;
        memcpy(&word, bytes + i, len - i < sizeof(word) ? len - i : sizeof(word));
        hash[0] = (hash[0] ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash[0] ^= hash[0] >> 29;
        hash[1] = (hash[1] + word) * UINT64_C(0xc2b2ae3d27d4eb4f);
        hash[1] ^= hash[1] >> 31;
    }
    hash[0] = mixed(hash[0]);
    hash[1] = mixed(hash[1] + len);
}

/* Where the state with this hash is, or would be. */
static struct state *table_find(const uint64_t hash[2])
{
    uint64_t mask = graph.table_size - 1;
    uint64_t at = hash[0] & mask;
    while (graph.table[at].number &&
           (graph.table[at].hash[0] != hash[0] || graph.table[at].hash[1] != hash[1]))
        at = (at + 1) & mask;
    return &graph.table[at];
}

static void table_grow(void)
{
    struct state *old = graph.table;
    uint64_t old_size = graph.table_size;
    graph.table_size = old_size > 0 ? old_size * 2 : 1 << 12;
    graph.table = grown(NULL, graph.table_size * sizeof(*graph.table));
    memset(graph.table, 0, graph.table_size * sizeof(*graph.table));
    for (uint64_t i = 0; i < old_size; i++)
        if (old[i].number)
            *table_find(old[i].hash) = old[i];
    free(old);
}

/* The state that the threads are in now: its number, and whether it is new. Then it is the last of
 * the steps, and its copy the last of the copies. */
static uint32_t state_enter(bool *is_new)
{
    size_t size = state_size();
    uint64_t hash[2] = {1, 2};
    if (graph.copies_len + size > graph.copies_size) {
        graph.copies_size = (graph.copies_len + size) * 2;
        graph.copies = grown(graph.copies, graph.copies_size);
    }
    state_save(graph.copies + graph.copies_len);
    hash_bytes(hash, graph.copies + graph.copies_len, size);
    if (graph.states * 2 >= graph.table_size)
        table_grow();
    struct state *state = table_find(hash);
    *is_new = state->number == 0;
    if (!*is_new)
        return state->number;
    *state = (struct state){{hash[0], hash[1]}, (uint32_t)++graph.states};
    if (graph.states >= graph.aims_size) {
        graph.aims_size = graph.aims_size > 0 ? graph.aims_size * 2 : 1 << 12;
        graph.aims = grown(graph.aims, graph.aims_size);
    }
    graph.aims[state->number] = (uint8_t)model_aims();
    if (graph.step_count >= graph.steps_size) {
        graph.steps_size = graph.steps_size > 0 ? graph.steps_size * 2 : 1 << 8;
        graph.steps = grown(graph.steps, graph.steps_size * sizeof(*graph.steps));
    }
    struct step *step = &graph.steps[graph.step_count++];
    step->number = state->number;
    step->next = 0;
    step->copy = graph.copies_len;
    step->count = model_moves(step->moves);
    graph.copies_len += size;
    return state->number;
}

static void edge_add(uint32_t from, uint32_t to, struct explore_move move)
{
    if (graph.edge_count >= graph.edges_size) {
        graph.edges_size = graph.edges_size > 0 ? graph.edges_size * 2 : 1 << 12;
        graph.edges = grown(graph.edges, graph.edges_size * sizeof(*graph.edges));
    }
    graph.edges[graph.edge_count++] = (struct edge){from, to, move};
}

/* --------------------------------------------------------------------------------------- paths */

/* The edges sorted by the state at their one end; those of state i: first[i] to first[i + 1]. */
struct order {
    uint32_t *first;
    uint32_t *edges;
};

static struct order order_make(bool by_target)
{
    struct order order = {calloc(graph.states + 3, sizeof(uint32_t)),
                          grown(NULL, (graph.edge_count + 1) * sizeof(uint32_t))};
    if (!order.first)
        exit(1);
    for (uint64_t i = 0; i < graph.edge_count; i++)
        order.first[(by_target ? graph.edges[i].to : graph.edges[i].from) + 2]++;
    for (uint64_t i = 1; i < graph.states + 3; i++)
        order.first[i] += order.first[i - 1];
    for (uint64_t i = 0; i < graph.edge_count; i++)
        order.edges[order.first[(by_target ? graph.edges[i].to : graph.edges[i].from) + 1]++] =
            (uint32_t)i;
    return order;
}

static void order_free(struct order *order)
{
    free(order->first);
    free(order->edges);
}

static void print_move(unsigned number, const struct explore_move *move)
{
    char text[200];
    model_describe(text, sizeof(text), move);
    printf("  %3u. %s\n", number, text);
}

/* The shortest path known to state `target`, run again from the start so that it can be told. */
static void print_path(uint32_t target, const struct explore_move *then)
{
    struct order order = order_make(false);
    uint32_t *by = calloc(graph.states + 1, sizeof(uint32_t));
    uint32_t *queue = grown(NULL, (graph.states + 1) * sizeof(uint32_t));
    struct explore_move *path = grown(NULL, (graph.states + 1) * sizeof(*path));
    uint64_t head = 0, tail = 0, len = 0;
    queue[tail++] = 1;
    while (head < tail && by && !by[target]) {
        uint32_t at = queue[head++];
        for (uint32_t i = order.first[at]; i < order.first[at + 1]; i++) {
            uint32_t to = graph.edges[order.edges[i]].to;
            if (to == 1 || by[to])
                continue;
            by[to] = order.edges[i] + 1;
            queue[tail++] = to;
        }
    }
    for (uint32_t at = target; by && at != 1; at = graph.edges[by[at] - 1].from)
        path[len++] = graph.edges[by[at] - 1].move;
    state_restore(graph.copies);
    unsigned number = 0;
    while (len > 0) {
        print_move(++number, &path[len - 1]);
        move_make(&path[--len]);
    }
    if (then)
        print_move(++number, then);
    free(by);
    free(queue);
    free(path);
    order_free(&order);
}

/* From which states can an aim of this kind be reached? Returns the first that cannot, or 0. */
static uint32_t find_stuck(unsigned kind)
{
    struct order order = order_make(true);
    uint8_t *reached = calloc(graph.states + 1, 1);
    uint32_t *queue = grown(NULL, (graph.states + 1) * sizeof(uint32_t));
    uint64_t head = 0, tail = 0;
    uint32_t stuck = 0;
    for (uint64_t i = 1; reached && i <= graph.states; i++)
        if (graph.aims[i] >> kind & 1) {
            reached[i] = 1;
            queue[tail++] = (uint32_t)i;
        }
    while (reached && head < tail) {
        uint32_t at = queue[head++];
        for (uint32_t i = order.first[at]; i < order.first[at + 1]; i++) {
            const struct edge *edge = &graph.edges[order.edges[i]];
            if (!(edge->move.sure >> kind & 1) || reached[edge->from])
                continue;
            reached[edge->from] = 1;
            queue[tail++] = edge->from;
        }
    }
    for (uint64_t i = 1; i <= graph.states && stuck == 0; i++)
        if (!reached || !reached[i])
            stuck = (uint32_t)i;
    free(reached);
    free(queue);
    order_free(&order);
    return stuck;
}

/* ----------------------------------------------------------------------------------- exploring */

static void graph_release(void)
{
    free(graph.table);
    free(graph.aims);
    free(graph.edges);
    free(graph.steps);
    free(graph.copies);
    memset(&graph, 0, sizeof(graph));
}

/* Depth first. Returns whether nothing forbidden happened; -1: too many states. */
static int walk(uint64_t most, struct explore_result *result)
{
    bool is_new;
    uint64_t longest = 0;
    state_enter(&is_new);
    while (graph.step_count > 0) {
        struct step *step = &graph.steps[graph.step_count - 1];
        longest = graph.step_count > longest ? graph.step_count : longest;
        if (step->next == step->count) {
            /* The first state's copy is kept for print_path. */
            if (--graph.step_count > 0)
                graph.copies_len = step->copy;
            continue;
        }
        struct explore_move move = step->moves[step->next++];
        uint32_t from = step->number;
        state_restore(graph.copies + step->copy);
        if (!move_make(&move)) {
            const char *text = violation;
            printf("%s:\n", text);
            print_path(from, &move);
            printf("%s\n", text);
            return 0;
        }
        edge_add(from, state_enter(&is_new), move);
        if (graph.states > most)
            return -1;
    }
    result->longest = (unsigned)longest;
    return 1;
}

int explore(uint64_t most, struct explore_result *result)
{
    watch_moves();
    model_begin();
    threads_begin();
    int good = walk(most, result);
    result->states = graph.states;
    result->moves = graph.edge_count;
    for (unsigned kind = 0; good > 0 && model_progress[kind]; kind++) {
        uint32_t stuck = find_stuck(kind);
        if (stuck == 0)
            continue;
        printf("no way from here to \"%s\":\n", model_progress[kind]);
        print_path(stuck, NULL);
        good = 0;
    }
    graph_release();
    return good;
}
