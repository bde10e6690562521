"""What knows ZeroMQ's sockets, threads and the clock, but no event loop: drivers and hubs stand on it."""
