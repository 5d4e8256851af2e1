/* What Server() is told in words and numbers. */
#ifndef ZOLAL_PYTHON_SERVER_SETTINGS_H
#define ZOLAL_PYTHON_SERVER_SETTINGS_H

#include "python/server_type.h"

/* The defaults, with those of `dict` (name -> number; NULL or None: none) in their place. Returns
 * 0, or -1 with TypeError or ValueError set. */
int limits_from_object(struct limits *limits, PyObject *dict);

/* enum header_map, enum persistence by their names; -1 with ValueError set. */
int header_map_from_text(const char *text);
int persistence_from_text(const char *text);

#endif
