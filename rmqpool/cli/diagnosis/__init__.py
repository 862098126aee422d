"""What ``rmqpool doctor`` is made of: each module looks at one thing and returns findings."""
