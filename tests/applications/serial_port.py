"""Opens a serial port with pyserial, once, and uses it.

    serial_port.py PATH
"""
import sys
import time

import serial

start = time.monotonic()
try:
    # A virtual console has one speed, 38400.
    port = serial.Serial(sys.argv[1], baudrate=38400, timeout=0.1)
except serial.SerialException as error:
    print("open", "failed", error, flush=True)
    sys.exit(1)
print("open", "ok", round((time.monotonic() - start) * 1000), flush=True)
print("write", port.write(b"\0"), flush=True)
print("read", len(port.read(1)), flush=True)
port.close()
