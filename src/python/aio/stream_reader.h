/* What asyncio's StreamReaderProtocol and StreamReader do with what is received, without their
 * Python code, which takes longer than all the rest of a message's way through the transport. */
#ifndef ZOLAL_PYTHON_AIO_STREAM_READER_H
#define ZOLAL_PYTHON_AIO_STREAM_READER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

struct module_state;

/* protocol.data_received(data), where protocol and reader are of asyncio's own classes and nobody
 * has put a data_received() or feed_data() of his own in place of theirs. Returns 1: done; 0: it is
 * another protocol, to be called; -1: an exception is set, as the call would have raised it. */
int stream_reader_feed(const struct module_state *state, PyObject *protocol, const char *data,
                       Py_ssize_t len);

#endif
