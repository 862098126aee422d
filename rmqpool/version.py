"""The version of rmqpool, in one place: the package metadata and the client properties read it from here."""

__version__ = "0.1.0"
