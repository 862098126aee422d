"""Dead letters: look at them, send them again, carry them to a file and back, remove them. Nothing is lost on the way."""

from rmqpool.dlq.copies import replayed_message, restored_message
from rmqpool.dlq.letter import DeadLetter
from rmqpool.dlq.lines import letter_of, line_of
from rmqpool.dlq.names import resolve
from rmqpool.dlq.purge import Purged, purge
from rmqpool.dlq.reading import DeadLetterQueue
from rmqpool.dlq.replay import Left, Replay, ReplayReport
from rmqpool.dlq.selection import Selection, condition
from rmqpool.dlq.store import Exported, export

__all__ = [
    "DeadLetter",
    "DeadLetterQueue",
    "Exported",
    "Left",
    "Purged",
    "Replay",
    "ReplayReport",
    "Selection",
    "condition",
    "export",
    "letter_of",
    "line_of",
    "purge",
    "replayed_message",
    "resolve",
    "restored_message",
]
