"""Resource pools beside each other, all with one fake resource: what runs in a child process for each."""
