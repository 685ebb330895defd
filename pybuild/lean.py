"""Parts of the standard library without what they bring along, for what every build needs: a tenth of one that changes nothing.

`hashlib` loads OpenSSL, which hashes five times as fast and so is the right one for large contents. `pickle` has a second one in
Python, `sqlite3` the adapters of `datetime`, `signal` an enumeration, `threading` its classes. Where Python has not these
parts by these names, the usual ones are taken.
"""

# ruff: noqa: F401
from __future__ import annotations

from pybuild.hints import TYPE_CHECKING

if TYPE_CHECKING:
    import signal as signal
    import sqlite3 as sqlite3
    from hashlib import blake2b as blake2b
    from hashlib import sha256 as sha256
    from pickle import dumps as dumps
    from pickle import loads as loads
    from threading import RLock as RLock
else:
    try:
        from _sha2 import sha256
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:
            from hashlib import sha256
    try:
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b
    try:
        from _pickle import dumps, loads
    except ImportError:
        from pickle import dumps, loads
    try:
        import _sqlite3 as sqlite3
    except ImportError:
        import sqlite3
    try:
        import _signal as signal
    except ImportError:
        import signal
    try:
        from _thread import RLock
    except ImportError:
        from threading import RLock
