"""The collector of traces: what it keeps, and what is read out of it."""
