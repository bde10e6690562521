"""A PULL peer that shakes hands, and then reads nothing: prints its port."""

import socket
import time

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
listener.bind(("127.0.0.1", 0))
listener.listen(1)
print("port", listener.getsockname()[1], flush=True)
peer, _ = listener.accept()
# ZMTP 3.0: the greeting, and READY of the NULL mechanism (https://rfc.zeromq.org/spec/23/)
peer.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
ready = b"\x05READY" + b"\x0bSocket-Type" + (4).to_bytes(4, "big") + b"PULL"
peer.sendall(b"\x04" + bytes([len(ready)]) + ready)
time.sleep(60)
