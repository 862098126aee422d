"""Programs that the fault tests run as processes of their own. Each writes JSON lines to stdout."""
