/* Python's signal handlers run in the main thread, when it asks. One that comes just before that
 * thread waits would be slept through: for each, Python writes a byte into a pipe, which ends the
 * wait (signal.set_wakeup_fd). */
#ifndef ZOLAL_PYTHON_SIGNAL_PIPE_H
#define ZOLAL_PYTHON_SIGNAL_PIPE_H

#include "python/state.h"
#include "server/worker.h"

/* Both are -1 where there is none. */
struct signal_pipe {
    int reading;
    int writing;
};

/* Look signal.set_wakeup_fd up. To import it in run() would run Python code, in which a signal's
 * handler may raise. Returns 0, or -1 with an exception set. */
int signal_pipe_init(struct module_state *state);

/* Before worker_run. There is no pipe in another thread than the main one, nor where the program
 * has an open descriptor of its own for this. To see that one it must be set anew, which loses a
 * warn_on_full_buffer=False of the program's: Python does not tell. Returns 0, or -1 with an
 * exception set (also that of the handler of a signal which was here before): nothing is open then.
 */
int signal_pipe_open(struct signal_pipe *pipe, struct module_state *state, struct worker *worker);

/* After it. Keeps an exception that is set. Nothing happens where there is no pipe. */
void signal_pipe_close(struct signal_pipe *pipe, struct module_state *state);

/* In a forked child: close its copy of the pipe that is open, if any. The child may close the
 * descriptors itself and have their numbers again as something else, which neither Python must
 * write to nor signal_pipe_close close, should the child come back from run(). */
void signal_pipe_forget(struct module_state *state);

#endif
