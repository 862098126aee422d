"""Client programs, one small file each; ``python -m benchmarks.clients`` runs one function of one of them.

Such a function takes the Job and the Clock, connects, starts and stops the clock around the measured messages, closes
what it opened, and returns how many connections it had (None: not counted). Every publish is confirmed, persistent, and
mandatory where the client can; every delivery is acknowledged.
"""
