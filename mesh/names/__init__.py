"""From a name to the endpoints of a service: the registry file, and the order in which sources are asked.

Knows no ZeroMQ socket, no event loop and no command; whoever connects brings the clock.
"""
