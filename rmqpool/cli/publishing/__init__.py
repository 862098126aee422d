"""What ``rmqpool publish`` is made of: reading, pacing, counting outcomes, and the pipeline between them."""
