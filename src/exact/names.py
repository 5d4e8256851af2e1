"""Writes names.c: how the kernel's calls are called on the machine that we build for, and which of
their arguments are texts.

    names.py OUTPUT kernel_calls.py COMPILER...
"""

import pathlib
import re
import runpy
import subprocess
import sys

HEAD = """\
/* By names.py, of <sys/syscall.h> and zolal/xray/kernel_calls.py. */
#include "exact/call.h"

static const struct call_name names[] = {
"""
TAIL = """\
};

const struct call_name *call_name_of(uint64_t number)
{
    return number < sizeof(names) / sizeof(*names) && names[number].name ? &names[number] : NULL;
}
"""


def numbers(compiler):
    """name -> number, as the C library's header has them; one may be named after another."""
    command = [*compiler, "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"^#define (__NR\w*) \(?(\w+)\)?$", text, re.MULTILINE))
    for name, value in found.items():
        while value in found:
            value = found[value]
        if name.startswith("__NR_") and value.isdigit():
            yield name.removeprefix("__NR_"), int(value)


def main():
    output, calls, *compiler = sys.argv[1:]
    signatures = runpy.run_path(calls)["SIGNATURES"]
    rows = []
    for name, number in sorted(numbers(compiler), key=lambda row: row[1]):
        letters = signatures.get(name, "")
        texts = sum(1 << at for at, letter in enumerate(letters) if letter == "s")
        is_on = "true" if letters.startswith("f") else "false"
        rows.append(f'    [{number}] = {{"{name}", {texts}, {is_on}}},\n')
    pathlib.Path(output).write_text(HEAD + "".join(rows) + TAIL)


if __name__ == "__main__":
    main()
