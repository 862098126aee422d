"""Whatever an exception says, the headers fit into the frame, and what matters most stays."""

from hypothesis import given
from hypothesis import strategies as st
from pika import data

from rmqpool.core.header_room import Entry, entry_size, fit, shorten

ANY_TEXT = st.text(st.characters(codec=None), max_size=300)  # half surrogates too
ENTRIES = st.lists(
    st.builds(
        Entry,
        st.text("abcdefgh-", min_size=1, max_size=30),
        ANY_TEXT,
        st.integers(1, 400),
        st.integers(0, 50),
        st.booleans(),
    ),
    max_size=8,
    unique_by=lambda entry: entry.name,
)


def on_the_wire(headers: dict[str, str]) -> int:
    """The bytes that pika really writes, without the table's own length."""
    pieces: list[bytes] = []
    return data.encode_table(pieces, headers) - 4


@given(ENTRIES, st.integers(-10, 3000))
def test_what_fits_really_fits(entries, room):
    """Measured with the encoder that writes them."""
    assert on_the_wire(fit(entries, room)) <= max(0, room)


@given(ENTRIES, st.integers(0, 3000))
def test_the_first_entry_stays_when_it_fits_at_all(entries, room):
    """The reason is never dropped for a traceback."""
    if not entries:
        return
    first = entries[0]
    whole = entry_size(first.name, shorten(first.text, first.most, middle=first.middle))
    enough = first.least <= first.most or len(first.text) <= first.most
    if whole <= room and enough and entry_size(first.name, first.text) - entry_size(first.name, "") <= first.most:
        assert fit(entries, room)[first.name] == shorten(first.text, first.most, middle=first.middle)


@given(ENTRIES)
def test_with_room_enough_every_short_text_is_whole(entries):
    """Nothing is cut without need."""
    fitted = fit(entries, 1_000_000)
    for entry in entries:
        if entry_size(entry.name, entry.text) - entry_size(entry.name, "") <= entry.most:
            assert fitted[entry.name] == entry.text.encode(errors="backslashreplace").decode()


@given(ANY_TEXT, st.integers(-5, 500), st.booleans())
def test_a_shortened_text_is_valid_utf8_and_short_enough(text, size, middle):
    """Half surrogates become their escapes; a character is never cut in two."""
    short = shorten(text, size, middle=middle)
    assert len(short.encode()) <= max(0, size)


def test_a_cut_in_the_middle_keeps_both_ends():
    """A traceback tells where it began, and at its end which error it was."""
    text = "Traceback\n" + "frame\n" * 1000 + "ValueError: at the end"
    short = shorten(text, 200, middle=True)
    assert short.startswith("Traceback")
    assert short.endswith("ValueError: at the end")
    assert "…" in short


def test_less_than_it_is_worth_is_left_out():
    """Ten bytes of a traceback help nobody; the entry after it gets the room."""
    entries = [Entry("traceback", "x" * 1000, most=1000, least=100), Entry("worker", "host:1:orders")]
    assert fit(entries, 60) == {"worker": "host:1:orders"}
