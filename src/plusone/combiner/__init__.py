"""From operations that wait to batches that are answered.

combiner.py   the flow: one batch of a counter under way, calls to the store, what follows from their answers
batching.py   plain data: a counter's lane, a batch, the request that is made of it
answering.py  how callers learn what became of their operations
tokens.py     what is remembered under a token, and how its outcomes fold again from it
reading.py    questions that change nothing
"""

from plusone.combiner.combiner import Combiner

__all__ = ["Combiner"]
