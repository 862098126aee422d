"""Workers that are ready to run. Not part of the installed package: a folder named ``workers`` is usually yours."""
