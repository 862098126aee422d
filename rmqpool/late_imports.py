"""Imports that come late hold IMPORTING, and a fork waits for them.

A fork in the middle of another thread's import copies that module's lock as it is, locked, and the thread that would open
it is not there: whoever imports the module in the child waits for ever. So a fork takes this lock first, as it takes those
of ``logging``.
"""

from __future__ import annotations

import os
import threading

__all__ = ["IMPORTING"]

IMPORTING = threading.RLock()
"""Held around each import that may run while there are threads. Reentrant: a module may import others late, too."""

os.register_at_fork(before=IMPORTING.acquire, after_in_parent=IMPORTING.release, after_in_child=IMPORTING.release)
