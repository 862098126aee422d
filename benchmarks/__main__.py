"""``python -m benchmarks``: every benchmark there is."""

from __future__ import annotations

from benchmarks.publish import main

if __name__ == "__main__":
    main()
