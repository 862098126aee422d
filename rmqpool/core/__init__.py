"""Pure decisions: nothing in this package opens a socket, starts a thread, reads a clock or draws a random number.

Time (seconds of a monotonic clock) and randomness come in as arguments; decisions go out as values; the caller acts.
"""
