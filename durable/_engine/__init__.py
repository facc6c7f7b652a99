"""What a start, a finished turn, a failed attempt, a due timer or a signal means, in events, messages and rows.

Pure: state and a cause go in, a `Transition` comes out. It knows records, never user code; it is what a Temporal server
would be.
"""
