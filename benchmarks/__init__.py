"""Benchmarks: rmqpool beside other clients, in one run, on a private broker. ``make bench`` runs them.

The parent (``python -m benchmarks``) decides and counts; each client runs in a process of its own
(``python -m benchmarks.clients``). Only the ratios within one run mean something.
"""
