"""Where a collector keeps its traces: memory, a file of SQLite, Redis."""
