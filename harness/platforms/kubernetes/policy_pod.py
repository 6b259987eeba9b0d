"""What runs in the pods that try out a NetworkPolicy: `serve PORT...` and `ask HOST DENIED OTHER`.

Standard library only, since the image is a stock Python, and this file goes into it as text.

Who asks prints a line after each round: whether a connection that was there before still carries something (`held`),
whether a new one to the same port does (`new`), and whether one to another port does (`other`).
"""

import json
import socket
import sys
import threading
import time

_LIMIT = 1.0
_PAUSE = 0.3


def echo(connection: socket.socket) -> None:
    """Send back what comes, to the end of the connection."""
    with connection:
        try:
            while data := connection.recv(1024):
                connection.sendall(data)
        except OSError:
            return  # whoever was there is gone


def serve(ports: list[int]) -> None:
    """Echo on all of these."""

    def listen(port: int) -> None:
        with socket.create_server(("", port)) as server:
            while True:
                threading.Thread(target=echo, args=server.accept()[:1], daemon=True).start()

    threads = [threading.Thread(target=listen, args=(port,)) for port in ports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def carries(connection: socket.socket | None) -> bool:
    """Whether something that is sent comes back in time."""
    if connection is None:
        return False
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b"x"
    except OSError:
        return False


def connected(host: str, port: int) -> socket.socket | None:
    """A new connection that carries something; None where there is none in time."""
    try:
        connection = socket.create_connection((host, port), _LIMIT)
    except OSError:
        return None
    if carries(connection):
        return connection
    connection.close()
    return None


def ask(host: str, denied: int, other: int) -> None:
    """Try, and print what was seen, until the process is ended."""
    held: socket.socket | None = None
    while True:
        seen = {"held": carries(held)}
        if held is not None and not seen["held"]:
            held.close()
            held = None
        new, beside = connected(host, denied), connected(host, other)
        seen |= {"new": new is not None, "other": beside is not None}
        if beside is not None:
            beside.close()
        if held is None:
            held = new
        elif new is not None:
            new.close()
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()
        time.sleep(_PAUSE)  # how often is tried; nothing is waited for


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve([int(text) for text in sys.argv[2:]])
    else:
        ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
