"""zolal explain: the same hello through servers, side by side, each from a recording of it."""
