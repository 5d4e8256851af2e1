/* Every interleaving of a few threads that run as coroutines, one at a time: from each state that
 * can be reached, each move that is possible there is made once. A state is all that the threads
 * have: their stacks, their registers, and `struct world`. States are told apart by a hash of 128
 * bits of these bytes, so two that mean the same may count as two, and two that differ are taken
 * for one with a chance that can be neglected.
 *
 * A model defines the world, says which moves there are, and what is good. */
#ifndef ZOLAL_EXPLORE_H
#define ZOLAL_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPLORE_THREADS   4
#define EXPLORE_MOVES_MAX 32

/* A thread's next step with one outcome, or (`thread` is EXPLORE_THREADS) what the surroundings
 * do. */
struct explore_move {
    uint8_t thread;
    uint8_t outcome;
    uint8_t sure; /* which kinds of progress may count on it, a set of bits */
};

struct explore_result {
    uint64_t states;
    uint64_t moves;
    unsigned longest; /* path without a loop that was walked */
};

/* ------------------------------------------------------------------------ what the model gives */

/* All that may change and is not on a thread's stack. */
extern void *const model_world;
extern const size_t model_world_size;

void model_begin(void);

/* A thread's life; begins in the first move of the thread that is possible. */
void model_thread(unsigned thread);

/* Fill `moves` with what is possible now; returns how many. */
unsigned model_moves(struct explore_move moves[EXPLORE_MOVES_MAX]);

/* A move of the surroundings. */
void model_surroundings(unsigned outcome);

/* Bit i: the state is an aim of progress of kind i. */
unsigned model_aims(void);

/* For the report: the kinds of progress, NULL after the last; and a move in words. */
extern const char *const model_progress[];
void model_describe(char *text, size_t size, const struct explore_move *move);

/* --------------------------------------------------------------------- what the explorer gives */

/* Explore; a violation, or a state from which an aim cannot be reached by sure moves, is printed
 * with a path to it. Returns whether all is well; -1: more than `most` states. */
int explore(uint64_t most, struct explore_result *result);

/* Called by a thread: let others go on; returns the outcome of the move that resumes it. */
unsigned explore_yield(void);

/* Clear what lies below the stack's live part. It changes nothing but how many states look alike.
 */
void explore_scrub(void);

/* The thread that runs; EXPLORE_THREADS: the surroundings. */
unsigned explore_thread(void);

/* This must not happen. Does not return. */
_Noreturn void explore_fail(const char *text);

#define explore_check(condition, text) ((condition) ? (void)0 : explore_fail(text))

#endif
