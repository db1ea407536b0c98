"""Opens a serial port with pyserial, once, says hello, and prints the lines that it hears.

    talk.py PATH
"""
import sys

import serial

port = serial.Serial(sys.argv[1], baudrate=115200)
port.write(b"hello from python3\n")
while True:
    print("heard", port.readline().decode().rstrip(), flush=True)
