"""benchmarks/job.py: what a client process has to do travels as JSON, and shows no password."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.job import Job

jobs = st.builds(
    Job,
    client=st.text(),
    action=st.text(),
    queue=st.text(),
    count=st.integers(min_value=0),
    url=st.text(),
    queue_type=st.sampled_from(["quorum", "classic"]),
    size=st.integers(min_value=0, max_value=100_000),
    threads=st.integers(min_value=1),
)


@given(jobs)
def test_what_the_child_reads_is_what_the_parent_wrote(job: Job) -> None:
    """Any job survives the way through the environment."""
    assert Job.from_json(job.to_json()) == job


def test_repr_does_not_show_the_url() -> None:
    """A job in a traceback gives no password away."""
    assert "geheim" not in repr(Job("client", "action", "queue", 1, url="amqp://user:geheim@host/"))


def test_unknown_field_is_refused() -> None:
    """A parent and a child of different versions do not talk past each other."""
    with pytest.raises(TypeError, match="colour"):
        Job.from_json('{"client": "c", "action": "a", "queue": "q", "count": 1, "colour": "red"}')


def test_body_has_the_size_asked_for() -> None:
    """The body is as long as the job says."""
    assert len(Job("client", "action", "queue", 1, size=4096).body) == 4096
