"""The command line: one file a command. Modules import nothing heavy at their top, so that ``--help`` answers at once."""
