"""The command line's only knowledge of what a Worker is made of."""

from __future__ import annotations
