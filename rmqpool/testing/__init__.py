"""What rmqpool's own tests, and those of its users, run on."""
