"""The driver for asyncio, on any loop that follows it, uvloop among them."""
