/* A worker around src/server/lead.c, as server/worker.c and worker_call.c are one, that serves
 * requests of no content; and what src/server/lead_system.c does for it. */
#include "lead_model.h"

#include <stdio.h>
#include <string.h>

#include "explore.h"
#include "server/lead.h"

#define KEEPER       0
#define NOBODY       EXPLORE_THREADS /* and the surroundings */
#define REQUESTS_MAX 4
#define EVENTS_MAX   16
#define OPENED_MAX   16         /* more than what can ask for it */
#define IS_THERE     0x6761746f /* of a gate, not likely in what is not initialised */
#define OTHER_CALL   100000     /* a number that no call has */
#define STEPS_MAX    2000       /* of one thread between two scheduling points; more: it spins */

/* What a thread waits for. */
enum op {
    OP_UNBORN,
    OP_LOCK,
    OP_GATE,
    OP_LOOP,   /* events, of the loop */
    OP_POINT,  /* nothing: others may come between */
    OP_CPU,    /* outcome: has the thread looked at run since the last look? */
    OP_STUCK,  /* nothing that will ever come */
    OP_CHOICE, /* outcome: one of `count` */
    OP_DONE
};

struct thread {
    enum op op;
    unsigned count;
    struct lead_gate *gate;
    bool timed;
    bool interrupted; /* a signal came while it waited */
    bool born;
    bool touches; /* the loop: it is in ops.turn, and not in a call */
    bool in_call;
};

enum request_state {
    REQUEST_UNSENT,
    REQUEST_SENT,
    REQUEST_READY,
    REQUEST_CALLED,
    REQUEST_ANSWERED
};

struct request {
    enum request_state state;
    enum call_kind kind;
    unsigned thread;
    bool wants; /* the rest of its body, that comes once */
    bool comes;
    bool here;
    struct lead_gate *waiter;
};

/* An event of the loop. */
#define EVENT_REQUEST 0 /* + its number */
#define EVENT_BODY    8
#define EVENT_WAKEUP  16
#define EVENT_SIGNAL  17 /* the descriptor that a signal's handler has written to */

static struct {
    struct lead lead;
    unsigned holder; /* of the lock */
    struct thread threads[EXPLORE_THREADS];
    struct request requests[REQUESTS_MAX];
    unsigned sent;
    unsigned forever; /* of those, CALL_FOREVER */
    uint8_t events[EVENTS_MAX];
    unsigned event_count;
    unsigned batch; /* so many of them has the loop handed out */
    uint8_t ready[REQUESTS_MAX];
    unsigned ready_count;
    bool waiting; /* somebody waits for the loop, and nobody has woken him */
    unsigned part_failures;
    unsigned signals;
    bool spawn_failed;
    bool stop_asked;
    bool stopping;
    bool joining;
    uint64_t join_end;
    uint64_t now;   /* runs while threads are waited for */
    bool ticked;    /* the keeper's last wait ended so */
    unsigned quiet; /* so many ticks of one look, and no call began or ended */
    uint32_t quiet_call;
    bool signal_owed;            /* one has come, and nobody was told */
    struct lead_thread *refused; /* ops.part failed for the keeper: who led goes on */
    unsigned start_failures;
    unsigned gates; /* initialised and not released */
    /* The keeper's last look: at which call of whom, and had neither changed since the one before?
     */
    uint32_t looked_call;
    unsigned looked_thread;
    bool looked_idle;
    bool looked_cpu; /* what the clock showed: one of two times */
    unsigned
        looked_often; /* so many looks in a row were at the same call, at most LEAD_LONG_LOOKS */
    /* Is the call's number that it read as before, and does it know now of a call that blocks? */
    bool read_same;
    bool knows_blocked;
    uint32_t late;  /* the call that was told of as late */
    uint64_t due;   /* when the keeper has to look again */
    unsigned alert; /* looks for which that is sooner, since one has seen a call block */
} world;

void *const model_world = &world;
const size_t model_world_size = sizeof(world);

const char *const model_progress[] = {
    "all that can be answered is, and somebody waits for events; after a stop, all are back",
    "as before, and the keeper sleeps or leads",
    NULL,
};
#define PROGRESS_ANSWER 1u
#define PROGRESS_CALM   2u
#define PROGRESS_ANY    3u

static struct lead_bounds bounds;
static unsigned steps_taken;

/* What must be possible. */
enum mark {
    MARK_IN_PLACE,
    MARK_TAKEN,
    MARK_LONG,
    MARK_PASSED,
    MARK_ALONE,
    MARK_QUEUED,
    MARK_LATE,
    MARK_COUNT
};

static const char *const marks[MARK_COUNT] = {
    [MARK_IN_PLACE] = "a call that ended with the lead",
    [MARK_TAKEN] = "the lead taken from a call that blocks",
    [MARK_LONG] = "the lead taken from a call that computes for long",
    [MARK_PASSED] = "the lead passed on before a call",
    [MARK_ALONE] = "a call that ended without the lead",
    [MARK_QUEUED] = "a request left to others",
    [MARK_LATE] = "a call that computes, and is told of",
};
static bool marked[MARK_COUNT];

const char *lead_model_unseen(void)
{
    for (unsigned i = 0; i < MARK_COUNT; i++)
        if (!marked[i])
            return marks[i];
    return NULL;
}

void lead_model_set(const struct lead_bounds *bounds_)
{
    bounds = *bounds_;
}

/* ------------------------------------------------------------------------------------- waiting */

static struct thread *here(void)
{
    return &world.threads[explore_thread()];
}

static unsigned wait_for(enum op op)
{
    struct thread *thread = here();
    thread->op = op;
    explore_scrub();
    unsigned outcome = explore_yield();
    thread->op = OP_POINT;
    steps_taken = 0;
    explore_scrub();
    return outcome;
}

static unsigned choose(unsigned count)
{
    here()->count = count;
    unsigned outcome = wait_for(OP_CHOICE);
    here()->count = 0;
    return outcome;
}

/* Entry of a function that is called with the lock held. */
static void enter(void)
{
    explore_check(world.holder == explore_thread(), "called without the lock");
    explore_check(++steps_taken < STEPS_MAX, "a thread spins");
    explore_scrub();
}

static void take_lock(void)
{
    wait_for(OP_LOCK);
    world.holder = explore_thread();
}

static void release_lock(void)
{
    enter();
    world.holder = NOBODY;
    if (bounds.fine)
        wait_for(OP_POINT);
}

/* Of a call's number it counts only whether it is odd, and whether it is that of now; and of what
 * the clock showed only what has changed. */
static void forget_look(void)
{
    struct lead *lead = &world.lead;
    bool told = world.late == lead->call;
    bool seen = lead->sight.call == lead->call;
    bool looked = world.looked_call == lead->call;
    lead->call &= 1;
    world.late = told ? lead->call : 0;
    lead->sight.call = seen ? lead->call : OTHER_CALL;
    world.looked_call = looked ? lead->call : OTHER_CALL;
    lead->sight.cpu_ns = 0;
    world.looked_idle = world.looked_cpu = false;
    world.read_same = world.knows_blocked = false;
    explore_check(!world.refused || world.refused == world.lead.leader,
                  "the lead is taken although that cannot be done");
    world.refused = NULL;
    world.quiet = world.quiet_call = 0;
}

static void *model_unlock(void *context)
{
    if (explore_thread() == KEEPER)
        forget_look();
    release_lock();
    return here();
}

static void model_lock(void *context, void *token)
{
    explore_check(token == here(), "the lock is taken with another thread's token");
    take_lock();
}

/* ------------------------------------------------------------------------- the system, for lead.c
 */

void explore_before_load(const void *object)
{
    if (explore_thread() == NOBODY || world.holder == explore_thread())
        return; /* whoever else would write needs the lock */
    explore_check(++steps_taken < STEPS_MAX, "a thread spins");
    wait_for(OP_POINT);
    if (object != &world.lead.call)
        return;
    world.read_same = world.lead.sight.call == world.lead.call;
    world.due = world.alert > 0 ? LEAD_ALERT_NS : LEAD_TICK_NS;
    world.alert -= world.alert > 0;
}

/* May the keeper look before the lock is free? */
static bool keeper_looks(void)
{
    const struct thread *keeper = &world.threads[KEEPER];
    return world.holder != KEEPER && (keeper->op == OP_POINT || keeper->op == OP_CPU ||
                                      (keeper->op == OP_GATE && keeper->timed));
}

void explore_after_store(void)
{
    if (explore_thread() == NOBODY)
        return;
    enter();
    if (bounds.fine || keeper_looks())
        wait_for(OP_POINT);
}

int lead_gate_init(struct lead_gate *gate)
{
    gate->opened = 0;
    gate->is_there = IS_THERE;
    world.gates++;
    return 0;
}

void lead_gate_release(struct lead_gate *gate)
{
    gate->is_there = 0;
    world.gates--;
}

/* Outcomes of a wait at a gate. */
enum woken { WOKEN, TIMED_OUT, INTERRUPTED };

bool lead_gate_wait(struct lead_gate *gate, uint64_t end_ns)
{
    struct thread *thread = here();
    explore_check(world.holder != explore_thread(), "waits with the lock");
    explore_check(gate->is_there == IS_THERE, "waits at a gate that is not there");
    explore_check(++steps_taken < STEPS_MAX, "a thread spins");
    thread->gate = gate;
    thread->timed = end_ns != LEAD_FOR_EVER;
    if (world.joining && explore_thread() == KEEPER) {
        explore_check(world.join_end == 0 || world.join_end == end_ns,
                      "the time for the last threads begins again");
        world.join_end = end_ns;
    }
    if (explore_thread() == KEEPER) {
        explore_check(!world.knows_blocked, "the keeper looks on at a call that blocks");
        explore_check(!thread->timed || world.joining || end_ns == world.due,
                      "the keeper does not look when that is due");
        explore_check(world.lead.sight.looks <= LEAD_LONG_LOOKS, "looks are counted on and on");
    }
    enum woken woken = (enum woken)wait_for(OP_GATE);
    if (woken == WOKEN)
        gate->opened--;
    if (woken == INTERRUPTED)
        thread->interrupted = false;
    if (explore_thread() == KEEPER) {
        world.ticked = woken == TIMED_OUT;
        world.quiet = !(world.lead.call & 1) && world.lead.call == world.quiet_call && world.ticked
                          ? world.quiet + 1
                          : 0;
        world.quiet_call = world.lead.call;
        explore_check(world.quiet <= LEAD_QUIET_LOOKS + 1, "the keeper looks where no call is");
    }
    thread->gate = NULL;
    thread->timed = false;
    return woken != TIMED_OUT;
}

uint64_t lead_now_ns(void)
{
    world.now += world.joining;
    return world.now;
}

void lead_gate_open(struct lead_gate *gate)
{
    explore_check(gate->is_there == IS_THERE, "a gate is opened that is not there");
    explore_check(++gate->opened < OPENED_MAX, "a gate is opened again and again");
    if (bounds.fine && explore_thread() != NOBODY)
        wait_for(OP_POINT);
}

int lead_cpu_clock_here(lead_cpu_clock *clock)
{
    *clock = explore_thread() == NOBODY ? KEEPER : (int)explore_thread();
    if (*clock == KEEPER || world.start_failures >= bounds.start_failures || choose(2) == 0)
        return 0;
    world.start_failures++;
    return -1;
}

/* One that has run shows another time than before, more or (as another thread's clock may) less. */
uint64_t lead_cpu_ns(lead_cpu_clock clock)
{
    unsigned number = (unsigned)clock;
    explore_check(world.ticked, "the leader is looked at before its time");
    here()->count = number;
    bool ran = wait_for(OP_CPU) != 0;
    here()->count = 0;
    bool same = world.lead.call == world.looked_call && number == world.looked_thread;
    world.looked_cpu ^= ran;
    if (!ran)
        world.due = LEAD_AGAIN_NS;
    world.knows_blocked = !ran && world.read_same;
    if (world.knows_blocked)
        world.alert = LEAD_ALERT_LOOKS;
    world.looked_idle = !ran && same;
    if (!same)
        world.looked_often = 0;
    else if (world.looked_often < LEAD_LONG_LOOKS)
        world.looked_often++;
    world.looked_call = world.lead.call;
    world.looked_thread = number;
    return world.looked_cpu ? LEAD_TICK_NS : 0;
}

/* ---------------------------------------------------------------------------------- the worker */

static void event_add(unsigned event)
{
    explore_check(world.event_count < EVENTS_MAX, "too many events for the model");
    world.events[world.event_count++] = (uint8_t)event;
}

static unsigned event_take(void)
{
    unsigned event = world.events[0];
    memmove(world.events, world.events + 1, EVENTS_MAX - 1);
    world.events[EVENTS_MAX - 1] = 0;
    world.event_count--;
    world.batch--;
    return event;
}

/* What is written to a descriptor: two that nobody has read are one. */
static void event_write(unsigned event)
{
    for (unsigned i = world.batch; i < world.event_count; i++)
        if (world.events[i] == event)
            return;
    event_add(event);
}

static void wake_loop(void)
{
    event_write(EVENT_WAKEUP);
}

static void touch_begin(void)
{
    for (unsigned i = 0; i < EXPLORE_THREADS; i++)
        explore_check(!world.threads[i].touches, "two threads use the loop");
    here()->touches = true;
}

static bool is_stuck(const struct request *request)
{
    return request->state == REQUEST_CALLED && request->kind == CALL_FOREVER &&
           world.threads[request->thread].op == OP_STUCK;
}

/* worker_lead_part, which may lack memory. */
static bool model_part(void *context)
{
    enter();
    if (explore_thread() == KEEPER) {
        explore_check(world.lead.call & 1, "the lead is taken where no call is");
        explore_check(world.looked_idle || world.looked_often == LEAD_LONG_LOOKS,
                      "the lead is taken from a call that was not seen to block or to go on");
        explore_check(world.looked_thread == (unsigned)world.lead.leader->cpu_clock,
                      "the lead is taken from another than was looked at");
        marked[world.looked_idle ? MARK_TAKEN : MARK_LONG] = true;
    }
    if (world.part_failures >= bounds.part_failures || choose(2) == 0)
        return true;
    world.part_failures++;
    if (explore_thread() == KEEPER)
        world.refused = world.lead.leader;
    return false;
}

static void pass(struct lead_thread *thread)
{
    marked[MARK_PASSED] |= lead_leads(&world.lead, thread);
    lead_pass(&world.lead, thread);
    explore_check(!lead_leads(&world.lead, thread), "the lead is not passed on");
}

/* worker_wait_apart */
static void wait_for_client(struct request *request, struct lead_thread *thread)
{
    struct lead_gate gate;
    lead_gate_init(&gate);
    if (lead_leads(&world.lead, thread) && model_part(NULL))
        pass(thread);
    request->wants = true;
    request->waiter = &gate;
    while (!request->here && !world.lead.ended)
        lead_wait(&world.lead, &gate);
    request->waiter = NULL;
    lead_gate_release(&gate);
}

static void application(struct request *request, struct lead_thread *thread)
{
    if (request->kind == CALL_QUICK)
        return;
    if (request->kind == CALL_WAITS) {
        wait_for_client(request, thread);
        return;
    }
    release_lock();
    if (request->kind == CALL_FOREVER)
        wait_for(OP_STUCK);
    take_lock(); /* at any time: this is how long the call takes */
}

/* worker_call */
static void call(struct request *request, struct lead_thread *thread)
{
    request->state = REQUEST_CALLED;
    request->thread = explore_thread();
    bool leads = lead_leads(&world.lead, thread);
    explore_check(leads == here()->touches, "the leader is not who uses the loop");
    here()->touches = false;
    here()->in_call = true;
    if (request->kind == CALL_PARTED && model_part(NULL))
        pass(thread);
    lead_call_begin(&world.lead, thread);
    application(request, thread);
    leads = lead_call_end(&world.lead, thread);
    marked[leads ? MARK_IN_PLACE : MARK_ALONE] = true;
    here()->in_call = false;
    *request = (struct request){.state = REQUEST_ANSWERED};
    if (leads)
        touch_begin();
    else if (world.waiting && world.stopping) {
        world.waiting = false;
        wake_loop();
    }
}

static void leave_to_others(unsigned number)
{
    bool has_idle = lead_has_idle(&world.lead);
    marked[MARK_QUEUED] = true;
    world.requests[number].state = REQUEST_READY;
    world.ready[world.ready_count++] = (uint8_t)number;
    explore_check(lead_call_in(&world.lead) == has_idle, "an idle thread is not called in");
}

/* worker_handle. That a call is left to an idle thread is more than it does: lead_call_in is held
 * to what lead.h says of it. */
static void handle(unsigned number, struct lead_thread *thread)
{
    struct request *request = &world.requests[number];
    if (lead_is_kept(&world.lead) ||
        (lead_has_idle(&world.lead) && request->kind == CALL_PARTED && choose(2) == 1))
        leave_to_others(number);
    else
        call(request, thread);
}

static void serve_event(unsigned event, struct lead_thread *thread)
{
    explore_check(!world.joining, "an event is served when all is closed");
    if (event == EVENT_WAKEUP)
        return;
    if (event == EVENT_SIGNAL) {
        lead_call_keeper(&world.lead);
        return;
    }
    if (event < EVENT_BODY) {
        handle(event - EVENT_REQUEST, thread);
        return;
    }
    struct request *request = &world.requests[event - EVENT_BODY];
    request->here = true;
    if (request->waiter)
        lead_gate_open(request->waiter);
}

/* config.check: what a signal's handler says, false to stop. It runs in the keeper alone. */
static bool check_signals(void)
{
    if (explore_thread() != KEEPER || !world.signal_owed)
        return true;
    world.signal_owed = false;
    return choose(2) == 0;
}

/* worker_wait_for_loop. Returns false when a signal's handler says stop. */
static bool wait_for_loop(struct lead_thread *thread)
{
    world.waiting = true;
    release_lock();
    wait_for(OP_LOOP);
    world.batch = world.event_count;
    here()->interrupted = false;
    take_lock();
    world.waiting = false;
    explore_check(lead_leads(&world.lead, thread) || world.lead.ended,
                  "the lead was lost while waiting for events");
    return check_signals();
}

/* worker_turn */
static bool turn(struct lead_thread *thread)
{
    if (world.batch == 0 && !wait_for_loop(thread))
        return false;
    if (thread == &world.lead.keeper && lead_has_idle(&world.lead))
        return true;
    while (lead_leads(&world.lead, thread) && world.batch > 0) {
        explore_check(here()->touches, "the loop is used by a thread that lost the lead");
        serve_event(event_take(), thread);
    }
    return true;
}

/* worker_is_done: a stop waits for the answers, but not longer than it may: for those that never
 * come it does not. */
static bool is_done(void)
{
    world.stopping = world.stop_asked;
    for (unsigned i = 0; i < world.sent; i++)
        if (world.requests[i].state != REQUEST_ANSWERED && world.requests[i].kind != CALL_FOREVER)
            return false;
    return world.stopping;
}

/* worker_lead_turn */
static void model_turn(void *context, struct lead_thread *thread)
{
    enter();
    explore_check(lead_leads(&world.lead, thread), "a turn without the lead");
    touch_begin();
    if (is_done() || !turn(thread))
        lead_end(&world.lead);
    here()->touches = false;
}

/* worker_work */
static bool model_work(void *context, struct lead_thread *thread)
{
    enter();
    if (world.ready_count == 0)
        return false;
    unsigned number = world.ready[0];
    memmove(world.ready, world.ready + 1, REQUESTS_MAX - 1);
    world.ready[REQUESTS_MAX - 1] = 0;
    world.ready_count--;
    call(&world.requests[number], thread);
    return true;
}

/* worker_lead_late */
static void model_late(void *context)
{
    uint32_t call = world.lead.call;
    enter();
    explore_check(explore_thread() == KEEPER, "another than the keeper tells of a late call");
    explore_check(call & 1, "a call is late where there is none");
    explore_check(call != world.late, "a call is told of as late twice");
    world.late = call;
    marked[MARK_LATE] = true;
}

static bool model_spawn(void *context)
{
    enter();
    explore_check(!world.spawn_failed || world.start_failures > 0,
                  "a thread is asked for after that failed");
    release_lock();
    bool failed = bounds.spawn_fails && choose(2) == 1;
    unsigned number = 1;
    while (number <= bounds.threads && world.threads[number].born)
        number++;
    if (number > bounds.threads) {
        explore_check(world.start_failures > 0, "more threads than there may be");
        failed = true;
    }
    if (!failed) {
        world.threads[number].born = true;
        world.threads[number].op = OP_LOCK;
    }
    take_lock();
    world.spawn_failed = failed;
    return !failed;
}

/* worker_lead_check */
static void model_check(void *context)
{
    enter();
    if (check_signals())
        return;
    lead_end(&world.lead);
    wake_loop();
}

static unsigned stuck_count(void)
{
    unsigned count = 0;
    for (unsigned i = 1; i < EXPLORE_THREADS; i++)
        count += world.threads[i].op == OP_STUCK;
    return count;
}

/* worker_run */
static void keeper_life(void)
{
    lead_keep(&world.lead);
    explore_check(world.lead.ended, "lead_keep returned before the end");
    for (unsigned i = 0; i < REQUESTS_MAX; i++)
        if (world.requests[i].waiter)
            lead_gate_open(world.requests[i].waiter);
    world.joining = true;
    unsigned left = lead_join(&world.lead, 1);
    explore_check(left == stuck_count(), "lead_join does not return how many are left");
    lead_release(&world.lead);
    explore_check(world.gates == stuck_count(), "a gate is not released");
}

void model_thread(unsigned number)
{
    world.holder = number;
    if (number == KEEPER) {
        keeper_life();
    } else {
        int result = lead_follow(&world.lead);
        explore_check(result == 0 || world.start_failures > 0, "lead_follow failed");
        explore_check(result < 0 || world.lead.ended, "lead_follow returned before the end");
    }
    release_lock();
    wait_for(OP_DONE);
}

void model_begin(void)
{
    static const struct lead_ops ops = {
        .unlock = model_unlock,
        .lock = model_lock,
        .turn = model_turn,
        .work = model_work,
        .part = model_part,
        .late = model_late,
        .spawn = model_spawn,
        .check = model_check,
    };
    memset(&world, 0, sizeof(world));
    world.holder = NOBODY;
    lead_init(&world.lead, &ops, bounds.threads);
    world.threads[KEEPER].op = OP_LOCK;
    world.threads[KEEPER].born = true;
}

/* ------------------------------------------------------------------------- what may happen next */

/* Outcomes of a move of the surroundings, after the kinds of calls: a request comes. */
#define COMES_BODY   (CALL_KINDS + 0) /* + the request's number */
#define COMES_SIGNAL (COMES_BODY + REQUESTS_MAX)
#define COMES_ASIDE                                                              \
    (COMES_SIGNAL + 1) /* too early to end a wait; + a thread whose wait it ends \
                        */
#define COMES_STOP (COMES_ASIDE + EXPLORE_THREADS)
#define COMES_END  (COMES_STOP + 1)

struct moves {
    struct explore_move *moves;
    unsigned count;
};

static void add(struct moves *moves, unsigned thread, unsigned outcome, unsigned sure)
{
    moves->moves[moves->count++] =
        (struct explore_move){(uint8_t)thread, (uint8_t)outcome, (uint8_t)sure};
}

static void add_gate(struct moves *moves, unsigned number)
{
    const struct thread *thread = &world.threads[number];
    if (thread->gate->opened > 0)
        add(moves, number, WOKEN, PROGRESS_ANY);
    else if (thread->interrupted)
        add(moves, number, INTERRUPTED, PROGRESS_ANY);
    else if (thread->timed && !world.joining)
        /* A tick finds out what blocks: it may not be what mends a lost wake-up. */
        add(moves, number, TIMED_OUT, PROGRESS_CALM | (world.lead.call & 1 ? PROGRESS_ANSWER : 0));
}

/* May the thread have run since the last look? */
static bool may_have_run(const struct thread *thread)
{
    return thread->op != OP_STUCK && thread->op != OP_GATE && thread->op != OP_LOOP &&
           thread->op != OP_DONE;
}

static void add_thread(struct moves *moves, unsigned number)
{
    const struct thread *thread = &world.threads[number];
    switch (thread->op) {
    case OP_LOCK:
        if (world.holder == NOBODY)
            add(moves, number, 0, PROGRESS_ANY);
        break;
    case OP_GATE:
        add_gate(moves, number);
        break;
    case OP_LOOP:
        if (world.event_count > 0 || thread->interrupted)
            add(moves, number, 0, PROGRESS_ANY);
        break;
    case OP_CPU:
        add(moves, number, 0, PROGRESS_ANY);
        if (may_have_run(&world.threads[thread->count]))
            add(moves, number, 1, PROGRESS_ANY);
        break;
    case OP_CHOICE:
        for (unsigned i = 0; i < thread->count; i++)
            add(moves, number, i, PROGRESS_ANY);
        break;
    case OP_POINT:
        add(moves, number, 0, PROGRESS_ANY);
        break;
    case OP_UNBORN:
    case OP_STUCK:
    case OP_DONE:
        break;
    }
}

static void add_surroundings(struct moves *moves)
{
    const struct thread *keeper = &world.threads[KEEPER];
    for (unsigned i = 0; i < world.sent; i++)
        if (world.requests[i].wants && !world.requests[i].comes)
            add(moves, NOBODY, COMES_BODY + i, PROGRESS_ANY);
    if (world.lead.ended)
        return;
    for (unsigned kind = 0; kind < CALL_KINDS && world.sent < bounds.requests; kind++)
        if (bounds.kinds >> kind & 1 && (kind != CALL_FOREVER || world.forever < bounds.forever))
            add(moves, NOBODY, kind, 0);
    if (world.signals < bounds.signals) {
        add(moves, NOBODY, COMES_ASIDE, 0);
        for (unsigned i = KEEPER + 1; i < EXPLORE_THREADS; i++)
            if (world.threads[i].op == OP_GATE && !world.threads[i].interrupted)
                add(moves, NOBODY, COMES_ASIDE + i, 0);
        if (!keeper->interrupted && (keeper->op == OP_GATE || keeper->op == OP_LOOP))
            add(moves, NOBODY, COMES_SIGNAL, 0);
    }
    if (bounds.stop && !world.stop_asked)
        add(moves, NOBODY, COMES_STOP, 0);
    if (bounds.end && world.holder == NOBODY)
        add(moves, NOBODY, COMES_END, 0);
}

/* Moves that need not be tried in every order, where `fine` does not ask for it. Whoever has the
 * lock goes on alone: what others can do without it has the same effect before or after, except for
 * the keeper's looks. And a thread that was woken comes to wait for the lock, whatever others do.
 */
static bool add_alone(struct moves *moves)
{
    if (world.holder != NOBODY) {
        add_thread(moves, world.holder);
        if (keeper_looks())
            add_thread(moves, KEEPER);
        return true;
    }
    for (unsigned i = KEEPER + 1; i < EXPLORE_THREADS; i++)
        if (world.threads[i].op == OP_GATE &&
            (world.threads[i].gate->opened > 0 || world.threads[i].interrupted)) {
            add_thread(moves, i);
            return true;
        }
    return false;
}

unsigned model_moves(struct explore_move moves[EXPLORE_MOVES_MAX])
{
    struct moves all = {.moves = moves};
    if (!bounds.fine && add_alone(&all))
        return all.count;
    for (unsigned i = 0; i < EXPLORE_THREADS; i++)
        add_thread(&all, i);
    add_surroundings(&all);
    /* The time that lead_join is given is long. */
    if (all.count == 0 && world.joining && world.threads[KEEPER].op == OP_GATE &&
        world.threads[KEEPER].timed && stuck_count() > 0)
        add(&all, KEEPER, TIMED_OUT, PROGRESS_ANY);
    return all.count;
}

void model_surroundings(unsigned outcome)
{
    if (outcome < CALL_KINDS) {
        struct request *request = &world.requests[world.sent];
        request->state = REQUEST_SENT;
        request->kind = (enum call_kind)outcome;
        world.forever += request->kind == CALL_FOREVER;
        event_add(EVENT_REQUEST + world.sent++);
    } else if (outcome < COMES_SIGNAL) {
        world.requests[outcome - COMES_BODY].comes = true;
        event_add(EVENT_BODY + outcome - COMES_BODY);
    } else if (outcome >= COMES_SIGNAL && outcome < COMES_STOP) {
        world.signals++;
        world.signal_owed = true;
        if (outcome != COMES_ASIDE)
            world.threads[outcome == COMES_SIGNAL ? KEEPER : outcome - COMES_ASIDE].interrupted =
                true;
        event_write(EVENT_SIGNAL);
    } else if (outcome == COMES_STOP) {
        world.stop_asked = true;
        wake_loop();
    } else {
        lead_end(&world.lead);
        wake_loop();
    }
}

/* Is there no thread that could answer, and will there be none? */
static bool is_all_stuck(void)
{
    for (unsigned i = KEEPER + 1; i < EXPLORE_THREADS; i++) {
        const struct thread *thread = &world.threads[i];
        if (thread->born && thread->op != OP_STUCK && thread->op != OP_DONE)
            return false;
    }
    return world.lead.threads == world.lead.most || world.start_failures > 0;
}

/* Is every request answered that can be? */
static bool is_answered(void)
{
    bool all_stuck = is_all_stuck();
    for (unsigned i = 0; i < world.sent; i++)
        if (world.requests[i].state != REQUEST_ANSWERED && !is_stuck(&world.requests[i]) &&
            !all_stuck)
            return false;
    return true;
}

static bool is_all_back(void)
{
    for (unsigned i = 0; i < EXPLORE_THREADS; i++) {
        const struct thread *thread = &world.threads[i];
        if (thread->born && thread->op != OP_DONE && thread->op != OP_STUCK)
            return false;
    }
    return true;
}

unsigned model_aims(void)
{
    const struct thread *keeper = &world.threads[KEEPER];
    if (world.lead.ended)
        return is_all_back() ? PROGRESS_ANY : 0;
    bool somebody_waits = false;
    for (unsigned i = 0; i < EXPLORE_THREADS; i++)
        somebody_waits |= world.threads[i].op == OP_LOOP;
    if (!somebody_waits || world.event_count > 0 || world.stop_asked || world.signal_owed ||
        !is_answered())
        return 0;
    bool calm = keeper->op == OP_LOOP || (keeper->op == OP_GATE && !keeper->timed);
    return calm ? PROGRESS_ANY : PROGRESS_ANSWER;
}

/* ----------------------------------------------------------------------------------- the report */

void model_describe(char *text, size_t size, const struct explore_move *move)
{
    static const char *const kinds[CALL_KINDS] = {"quick", "slow", "for ever", "parted", "waiting"};
    static const char *const ops[] = {
        [OP_LOCK] = "takes the lock",    [OP_GATE] = "gate",
        [OP_LOOP] = "has events",        [OP_POINT] = "goes on",
        [OP_CPU] = "looks at the clock", [OP_CHOICE] = "choice",
    };
    static const char *const woken[] = {"is woken", "ticks", "is interrupted"};
    const struct thread *thread = &world.threads[move->thread % EXPLORE_THREADS];
    if (move->thread != NOBODY)
        snprintf(text, size, "%s %u %s (%u)", move->thread == KEEPER ? "keeper" : "thread",
                 move->thread, thread->op == OP_GATE ? woken[move->outcome] : ops[thread->op],
                 move->outcome);
    else if (move->outcome < CALL_KINDS)
        snprintf(text, size, "request %u comes, %s", world.sent, kinds[move->outcome]);
    else if (move->outcome < COMES_SIGNAL)
        snprintf(text, size, "the body of request %u comes", move->outcome - COMES_BODY);
    else
        snprintf(text, size, "%s",
                 move->outcome == COMES_SIGNAL  ? "a signal for the keeper"
                 : move->outcome == COMES_ASIDE ? "a signal that ends no wait"
                 : move->outcome < COMES_STOP   ? "a signal for another thread"
                 : move->outcome == COMES_STOP  ? "worker_stop"
                                                : "lead_end");
}
