"""Reads lines from a serial port, logs them and sends them back. Reports its state on port 6769.

    SERIAL_PORT=/dev/board BAUD_RATE=115200 python app.py

It neither searches for the port nor polls. The first open waits until the port is ready
(`runtime: ttyplug`), and so does the next one after the port was unplugged.
"""
import json
import os
import signal
import sys
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import serial

PATH = os.environ.get("SERIAL_PORT", "/dev/board")
BAUD_RATE = int(os.environ.get("BAUD_RATE", "115200"))

# waiting: open() was called; open; failed: the next attempt is in a second.
status = {"port": PATH, "state": "waiting", "since": None, "lines": 0, "error": None}


def change(state, error=None):
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    status.update(state=state, since=now, error=error and str(error))
    print(f"{PATH}: {state}: {error}" if error else f"{PATH}: {state}", flush=True)


def use_port():
    """Opens the port and uses it until it is unplugged."""
    change("waiting")
    with serial.Serial(PATH, BAUD_RATE) as port:
        change("open")
        while True:
            line = port.readline()
            status["lines"] += 1
            print(f"{PATH}: {line!r}", flush=True)
            port.write(line)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/state":
            kind, text = "application/json", json.dumps(status)
        else:
            kind = "text/plain"
            text = f"Welcome. {PATH} is {status['state']}. Lines so far: {status['lines']}."
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode() + b"\n")

    def log_message(self, *_):
        """Requests are not logged."""


def main():
    # The first process of a container has no default action for SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = ThreadingHTTPServer(("", 6769), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        try:
            use_port()
        except OSError as error:
            # After the unplug, an open fails until the node is removed; a second later it waits.
            # It also fails when the time set by `hold` is over.
            change("failed", error)
            time.sleep(1)


main()
