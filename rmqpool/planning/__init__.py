"""Topology against a broker: what differs, what is added, and a classic queue's way to a quorum queue."""
