"""Histories: what callers asked for and what they were told, with the times, as JSON Lines.

The first line is the `Header`; then come calls, answers and marks, in the order in which they happened. A writer holds
no more than a buffer, and a reader packs what it reads into columns, so that a million operations take about 100 MB.
What is cut off at the end, as by a process that died, is tolerated and said; anything else that is wrong is an error
that names the line. A call that nobody answered is `unknown`, as if its answer had said so.
"""

from plusone.lab.history.events import Answer, Call, Event, Header, Mark
from plusone.lab.history.files import HistoryWriter, read_history
from plusone.lab.history.operations import NEVER, Collector, History, Operations, history_of

__all__ = [
    "NEVER",
    "Answer",
    "Call",
    "Collector",
    "Event",
    "Header",
    "History",
    "HistoryWriter",
    "Mark",
    "Operations",
    "history_of",
    "read_history",
]
