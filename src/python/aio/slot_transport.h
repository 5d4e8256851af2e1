/* What a slot knows of the transport that has its descriptor. */
#ifndef ZOLAL_PYTHON_AIO_SLOT_TRANSPORT_H
#define ZOLAL_PYTHON_AIO_SLOT_TRANSPORT_H

#include "python/aio/loop_object.h"

/* A transport of ours begins to use the descriptor; the slot borrows it. Returns 0, or -1 with
 * MemoryError set. */
int slot_keep_transport(struct loop_object *loop, int fd, PyObject *transport);

/* It uses it no more. `is_closed`: close(2) took the descriptor out of epoll. */
void slot_drop_transport(struct loop_object *loop, int fd, const PyObject *transport,
                         bool is_closed);

/* RuntimeError where one that is not closing uses it. Returns 0 or -1. `named`: what the program
 * calls the descriptor. */
int slot_check_transport(struct loop_object *loop, int fd, PyObject *named);

/* The transport reads no more; with `writing`: nor does it write. Before epoll(7) is told so, it
 * may say that the descriptor is readable `ignores` times, which is ignored: it need not be told
 * where the descriptor is closed meanwhile and nobody has another of it. Returns 0, or -1 with an
 * exception set. */
int slot_leave(struct loop_object *loop, int fd, bool writing, uint8_t ignores);

#endif
