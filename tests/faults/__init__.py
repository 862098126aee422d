"""The fault matrix: real brokers that are killed, paused, blocked and cut off."""
