"""What a hub with registered workers decides: no socket, no thread and no clock of its own."""
