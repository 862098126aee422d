"""``rmqpool agent``: a local daemon through which many processes share a few connections to the broker."""
