/* Addresses as Python objects. */
#ifndef ZOLAL_PYTHON_SOCKET_ADDRESSES_H
#define ZOLAL_PYTHON_SOCKET_ADDRESSES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "socket/address.h"

/* As Python has it: (host, port), (host, port, flowinfo, scope), a path, bytes of an abstract name;
 * None when there is no address. NULL with an exception set. */
PyObject *address_as_object(const struct address *addr);

/* As a user writes it: address_print's text. NULL with an exception set. */
PyObject *address_as_text(const struct address *addr);

#endif
