"""Prints what pyudev hears of ttys, a line each: what has happened, and the device's node.

    listen.py
"""
import pyudev

monitor = pyudev.Monitor.from_netlink(pyudev.Context())
monitor.filter_by("tty")
monitor.start()
print("listening", flush=True)
for device in iter(monitor.poll, None):
    print(device.action, device.device_node, flush=True)
