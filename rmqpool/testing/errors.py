"""The one error of the services that tests run on."""

__all__ = ["ServicesError"]


class ServicesError(Exception):
    """A service for the tests is missing, did not start, or did not do what it was told in time; says what to do."""
