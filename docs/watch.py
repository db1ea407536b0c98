#!/usr/bin/python3
"""Draws what `ttyplugd status --watch` shows on a terminal while a stick is plugged in and unplugged.

    tests/with-engine.sh docs/watch.py [TTYPLUGD] >docs/watch.svg

The engine, the container, the uevents and the terminal are real; a virtual console plays the stick.
TTYPLUGD is the program, target/release/ttyplugd unless another is named.
"""

import fcntl
import html
import json
import os
import pathlib
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

TEST = pathlib.Path(os.environ["TTYPLUGD_TEST_DIR"])
TTY = f"tty{int(os.environ['TTYPLUGD_TEST_TTYS']) + 3}"
FILES = TEST / "watch"
OPTIONS = ["--run-dir", FILES / "run"]
CONFIG = """
[[port]]
name = "zwave"
match = { vendor = "0658", product = "0200" }
containers = ["zwave-js-ui"]
node = "/dev/zwave"
"""
STICK = "ID_BUS=usb\nID_VENDOR_ID=0658\nID_MODEL_ID=0200\nID_SERIAL_SHORT=1\n"
COLUMNS, LINES = 124, 24
# What `status` writes before each table: cursor home, and erase to the end (ECMA-48, CUP and ED).
CLEAR = "\x1b[H\x1b[J"
# The colours of ECMA-48, SGR, on a dark ground.
COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "36": "#76e3ea"}


def uevent(action):
    pathlib.Path(f"/sys/class/tty/{TTY}/uevent").write_text(action)


def docker(*arguments):
    subprocess.run(["docker", *arguments], check=True, stdout=subprocess.DEVNULL, timeout=60)


def start(program):
    """The daemon, and a container whose program opens its port before the stick is there."""
    FILES.mkdir()
    (FILES / "config.toml").write_text(CONFIG)
    (TEST / "ports" / TTY).write_text(STICK)
    runtime = {"path": str(program.with_name("ttyplug-runtime")), "runtimeArgs": list(map(str, OPTIONS))}
    (TEST / "daemon.json").write_text(json.dumps({"runtimes": {"ttyplug": runtime}}))
    os.kill(int((TEST / "dockerd.pid").read_text()), 1)
    files = ["--config", FILES / "config.toml", "--state-dir", FILES / "state"]
    subprocess.Popen([program, "run", *files, *OPTIONS], stderr=open(FILES / "log", "w"))
    while subprocess.run([program, "status", *OPTIONS], capture_output=True).returncode:
        time.sleep(0.1)
    container = ["--name", "zwave-js-ui", "--network", "none", "--runtime", "ttyplug"]
    command = ["microcom", "-t", "100000", "/dev/zwave"]
    docker("run", "--detach", *container, "ttyplugd-test/busybox", *command)


class Terminal:
    """A terminal with `status --watch` on it."""

    def __init__(self, program):
        pid, self.end = pty.fork()
        if pid == 0:
            os.environ["TERM"] = "xterm-256color"
            os.execv(program, [program, "status", "--watch", *OPTIONS])
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("4H", LINES, COLUMNS, 0, 0))
        self.text = ""

    def shows(self, wanted):
        """The screen, once it matches."""
        limit = time.monotonic() + 30
        while time.monotonic() < limit:
            if select.select([self.end], [], [], 0.3)[0]:
                self.text += os.read(self.end, 65536).decode()
                continue
            screen = self.text.split(CLEAR)[-1].replace("\r\n", "\n")
            if re.search(wanted, re.sub(r"\x1b\[[\d;]*m", "", screen)):
                return screen
        sys.exit(f"the terminal does not show {wanted}: {self.text!r}")


def spans(line):
    """A line of the terminal as SVG, with its colours."""
    style = ""
    for number, part in enumerate(re.split(r"\x1b\[([\d;]*)m", line)):
        if number % 2 == 0:
            yield f"<tspan{style}>{html.escape(part)}</tspan>" if part else ""
            continue
        codes = part.split(";")
        colour = next((COLOURS[code] for code in codes if code in COLOURS), None)
        style = f' fill="{colour}"' if colour else ' font-weight="bold"' if "1" in codes else ""


def draw(screens):
    lines = []
    for title, screen in screens:
        lines += [("#8b949e", "# " + title), *(("#e6edf3", line) for line in screen.split("\n"))]
    height = 18 * len(lines) + 20
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {COLUMNS * 8} {height}" '
          'font-family="monospace" font-size="13">')
    print('<rect width="100%" height="100%" rx="6" fill="#0d1117"/>')
    for number, (colour, line) in enumerate(lines):
        text = "".join(spans(line))
        if text:
            print(f'<text x="14" y="{24 + 18 * number}" fill="{colour}" xml:space="preserve">{text}</text>')
    print("</svg>")


def main():
    program = pathlib.Path(sys.argv[1] if sys.argv[1:] else "target/release/ttyplugd").resolve()
    start(program)
    terminal = Terminal(program)
    screens = [("sudo ttyplugd status --watch: the stick is not plugged in, and an open of its port waits",
                terminal.shows(r"zwave .* waiting(.|\n)*HELD"))]
    uevent("add")
    screens.append(("the stick is plugged in", terminal.shows(r"zwave .* ready(?!(.|\n)*HELD)")))
    uevent("remove")
    screens.append(("the stick is unplugged", terminal.shows(r"zwave .* waiting")))
    draw(screens)


main()
