"""Runs a command and writes what it took to a file, as a process with as little as possible in it: `wrapper.py RESULT ARGV...`.

It is a script, not imported by anybody: it starts with `-I -S`, and imports nothing that the interpreter has not loaded yet.
"""

import os
import sys
import time

# Linux has ru_maxrss in KiB.
_KIB = 1024


def _main(result: str, argv: list[str]) -> int:
    start = time.perf_counter()
    child = os.posix_spawnp(argv[0], argv, os.environ)
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    processor = usage.ru_utime + usage.ru_stime
    with open(result, "w", encoding="ascii") as file:
        file.write(f'{{"seconds": {seconds!r}, "processor_seconds": {processor!r}, "memory": {usage.ru_maxrss * _KIB}}}')
    return os.waitstatus_to_exitcode(status) & 0xFF


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], sys.argv[2:]))
