/* What the loop knows of a descriptor, and what epoll(7) was told of it.
 *
 * A descriptor is watched in one of two ways. For add_reader() and add_writer(): level-triggered,
 * for as long as there is one. For the sock_*() operations alone: edge-triggered, registered when
 * one first has to wait and then left so: there is no epoll_ctl(2) a message, and none at the end,
 * as close(2) takes a descriptor out of epoll.
 *
 * Nobody says when that happens. A slot is bound to the socket object it was registered for, by a
 * weak reference; another socket of the same number begins anew. Events carry the slot's
 * generation, so that those of an older socket (one that lives on in a duplicate) reach nobody. */
#ifndef ZOLAL_PYTHON_AIO_SLOTS_H
#define ZOLAL_PYTHON_AIO_SLOTS_H

#include "base/list.h"
#include "python/aio/loop_object.h"

/* `registered`: the epoll events that are registered, 0: none. `is_drained`: what came last was
 * less than was asked for, and no event came since, so a receive would find nothing; only ever true
 * of TCP that is watched edge-triggered, that neither side has ended and that had no urgent data.
 */
struct slot {
    int fd;
    uint32_t generation;
    uint32_t registered;
    bool is_drained;
    bool is_tcp;
    bool is_ended;  /* EPOLLRDHUP, EPOLLHUP, EPOLLERR or EPOLLPRI came: no short read is the last */
    bool wants_out; /* an operation had to wait for room once */
    uint8_t ignores;      /* so many events: a transport has left it, see slot_transport.h */
    uint64_t accepted_in; /* of a listening socket: the latest look that brought a connection */
    PyObject *socket;     /* weak reference to whose operations use it, or NULL */
    PyObject *transport;  /* of ours that has the descriptor, borrowed; or NULL */
    PyObject *reader;     /* handles of add_reader and add_writer, or NULL */
    PyObject *writer;
    struct list reading; /* of struct waiter, each a strong reference */
    struct list writing;
};

/* The slot bound to `socket`, whose descriptor is `fd`; NULL: there is none. */
struct slot *slot_of_socket(struct loop_object *loop, int fd, PyObject *socket);

/* The same, made and bound if there is none. NULL with an exception set: RuntimeError where a
 * transport uses the descriptor. */
struct slot *slot_bind(struct loop_object *loop, int fd, PyObject *socket);

/* The slot of a descriptor; NULL: there is none. */
struct slot *slot_find(const struct slot_table *table, int fd);

/* The same, made if there is none. NULL with MemoryError set. */
struct slot *slot_get(struct loop_object *loop, int fd);

/* An attribute of a socket, by the member of its base class (state->aio.socket_family, ...). -1
 * with an exception set. */
long socket_number(const struct module_state *state, PyObject *socket, PyObject *member,
                   const char *name);

/* Have epoll watch for what there is to wait for. Returns 0, or -1 with OSError set. */
int slot_register(struct loop_object *loop, struct slot *slot);

/* An event came. Returns 1 where nothing is registered for it: of a descriptor that was closed
 * while a duplicate of it lives, which epoll can only be rid of by opening it anew. Else 0, or -1
 * with an exception set. */
int slots_dispatch(struct loop_object *loop, const struct epoll_event *event);

/* After epoll was opened anew: register all again. Returns 0, or -1 with OSError set. */
int slots_register_all(struct loop_object *loop);

/* Forget all of them. */
void slots_clear(struct loop_object *loop);

/* For the loop's own traverse. */
int slots_traverse(struct loop_object *loop, visitproc visit, void *arg);

/* What epoll's data are for `fd` in this generation, and back. */
void *slot_data(int fd, uint32_t generation);
int slot_data_fd(void *data);

/* Methods; the docstrings in loop_type.c are their manual. */
PyObject *loop_add_reader(struct loop_object *loop, PyObject *const *args, Py_ssize_t count);
PyObject *loop_add_writer(struct loop_object *loop, PyObject *const *args, Py_ssize_t count);
PyObject *loop_remove_reader(struct loop_object *loop, PyObject *fileobj);
PyObject *loop_remove_writer(struct loop_object *loop, PyObject *fileobj);
PyObject *loop_watched(struct loop_object *loop, PyObject *unused);

#endif
