"""Message ids."""

import uuid

from rmqpool.identifiers import new_message_id


def test_ids_are_uuids_of_version_7_in_the_order_of_their_making():
    """A queue or a table sorted by them is sorted by time."""
    ids = [new_message_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(uuid.UUID(text).version == 7 for text in ids)
    assert ids == sorted(ids)
