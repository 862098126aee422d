"""Benchmarks: ratios against other clients, measured in one run on a private broker. ``make bench`` runs them."""
