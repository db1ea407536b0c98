#!/usr/bin/python3
"""Writes what `make bench` has measured into docs/: the tables of measured.md, timeline.svg and plug.svg.

    docs/measured.py [DIRECTORY]     of plug.json, hold.json and inject.json; target/bench if none is named

Run it on the machine that has measured: it says which one that is. Whatever measured.md has outside
of the marks <!-- NAME --> and <!-- end --> stays.
"""

import datetime
import json
import math
import os
import pathlib
import platform
import re
import subprocess
import sys

DOCS = pathlib.Path(__file__).resolve().parent
COUNTS = (1, 8, 32)
WAYS = {"script": "udev rule and script", "exec": "by a command", "namespace": "from outside"}


class Bench:
    """The three files, and the rows in them by what they are about."""

    def __init__(self, directory):
        read = lambda name: json.loads((directory / name).read_text())
        self.plug, self.hold, self.inject = map(read, ("plug.json", "hold.json", "inject.json"))
        self.date = datetime.date.fromtimestamp((directory / "hold.json").stat().st_mtime)

    def of_plug(self, case, containers):
        rows = self.plug["rows"]
        return next(r for r in rows if (r["case"], r["containers"]) == (case, containers))["median_ms"]

    def of_hold(self, case):
        return next(row for row in self.hold["rows"] if row["case"] == case)

    def of_inject(self, containers, case):
        whole = f"{containers} container{'s' if containers > 1 else ''}: {case}"
        return next(row for row in self.inject["rows"] if row["case"] == whole)


def machine(date):
    words = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^(?:model name|Model)\s*:\s*(.*)$", words, re.M)
    model = model.group(1) if model else platform.machine()
    docker = subprocess.run(["dockerd", "--version"], capture_output=True, text=True, check=True).stdout
    docker = docker.split()[2].split("+")[0].rstrip(",")
    kernel = platform.release().split("-")[0]
    cores = os.cpu_count()
    return f"{date.day} {date:%B %Y}, {cores} cores ({model}), Linux {kernel}, Docker {docker}"


# --- tables

def number(value):
    """Two digits of it, and no more than are known."""
    if abs(value) >= 10:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def table(heads, rows):
    rule = "|---" + "|--:" * (len(heads) - 1) + "|"
    head, *lines = ("| " + " | ".join(line) + " |" for line in [heads, *rows])
    return "\n".join([head, rule, *lines])


def with_unit(row, statistic="median"):
    return f"{number(row[statistic])} {row['unit']}"


def goal(row):
    if "goal" not in row:
        return ""
    wanted = row["goal"]
    return f"{wanted['of']} ≤ {wanted['most']:g}: {'met' if wanted['met'] else 'missed'}"


def cases(rows):
    """Every row as it was measured."""
    lines = [[r["case"], str(r["n"]), with_unit(r), with_unit(r, "p99"), goal(r)] for r in rows]
    return table(["what", "rounds", "median", "p99", "goal"], lines)


def plugs(bench):
    heads = ["event", "containers", "script", "by a command", "ratio", "from outside", "p99", "ratio"]
    lines = []
    for event in ("plug", "unplug"):
        for count in COUNTS:
            script, by_exec, outside = (bench.of_inject(count, f"{event}, {way}") for way in WAYS)
            ratio = lambda row: f"{row['median'] / script['median']:.3f}"
            lines.append([event, str(count), with_unit(script), with_unit(by_exec), ratio(by_exec),
                          with_unit(outside), with_unit(outside, "p99"), ratio(outside)])
    return table(heads, lines)


def access(bench):
    return cases(row for row in bench.inject["rows"] if " right " in row["case"] or "…" in row["case"])


def daemon(bench):
    cost, keeper = bench.plug["daemon"], bench.hold["keeper"]
    rows = [
        ["memory of the daemon after its start (RSS)", f"{cost['memory_after_start_mb']:.1f} MB"],
        [f"with {COUNTS[-1]} containers", f"{cost['memory_serving_mb']:.1f} MB"],
        ["its processor time in an idle minute", f"{cost['idle_cpu_ms']:.0f} ms"],
        ["its program", f"{cost['program_mb']:.1f} MB"],
        ["memory of a keeper: its own (RssAnon)", f"{keeper['at_first']['rss_anon_kb']} kB"],
        ["including its share of the program (Pss)", f"{keeper['at_first']['pss_kb']} kB"],
        [f"its own after {keeper['execs']} execs", f"{keeper['after_execs']['rss_anon_kb']} kB"],
        ["its own after 1,000 held opens", f"{keeper['at_last']['rss_anon_kb']} kB"],
    ]
    return table(["", ""], rows)


# --- pictures

class Picture:
    """An SVG of text, lines and bars."""

    def __init__(self, width, height):
        self.size, self.parts = (width, height), []

    def text(self, x, y, words, anchor="start", colour="#222", size=13, weight="normal"):
        words = words.replace("&", "&amp;").replace("<", "&lt;")
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
                          f'font-size="{size}" font-weight="{weight}">{words}</text>')

    def bar(self, x, y, width, height, colour):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
                          f'fill="{colour}"/>')

    def line(self, x, y, to_x, to_y, colour="#999", dashes=""):
        self.parts.append(f'<path d="M{x:.1f} {y:.1f} L{to_x:.1f} {to_y:.1f}" stroke="{colour}" '
                          f'stroke-dasharray="{dashes}"/>')

    def dot(self, x, y, colour):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')

    def write(self, name, title):
        width, height = self.size
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
                f'height="{height}" font-family="sans-serif" role="img">\n<title>{title}</title>\n'
                '<rect width="100%" height="100%" fill="white"/>')
        (DOCS / name).write_text("\n".join([head, *self.parts, "</svg>\n"]))


GREY, RED, BLUE, GREEN = "#aaa", "#b00", "#7ab", "#393"


def timeline(bench, where):
    """One container whose application opens its port before the plug, and tries again every second."""
    early, retry, last = -250, 1000, 1250
    script, node = bench.of_plug("plug by script", 1), bench.of_plug("plug by ttyplugd", 1)
    opened = 1000 * bench.of_hold("plug → open, held")["median"]
    picture = Picture(760, 236)
    x = lambda ms: 40 + (ms - early) * 680 / (last - early)
    picture.line(x(0), 26, x(0), 200, "#444", "3 3")
    picture.text(x(0), 18, "the stick is plugged in", "middle", weight="bold")

    top = 62
    picture.text(x(early), top - 16, "udev script", weight="bold")
    picture.text(x(early) - 6, top + 18, "×", colour=RED, size=22, weight="bold")
    picture.text(x(early) + 12, top + 16, "open() fails", colour=RED)
    picture.bar(x(0), top, x(script) - x(0), 24, GREY)
    picture.text(x(script) + 6, top + 16, f"node after {script:.0f} ms; the next try opens it")
    picture.bar(x(early + retry), top, x(last) - x(early + retry), 24, GREEN)
    picture.text(x(early + retry) + 6, top + 16, f"open, after {early + retry} ms *", colour="white")

    top = 134
    picture.text(x(early), top - 16, "ttyplugd", weight="bold")
    picture.bar(x(early), top, x(opened) - x(early), 24, BLUE)
    picture.text(x(early) + 6, top + 16, "open() waits")
    picture.bar(x(opened), top, x(last) - x(opened), 24, GREEN)
    picture.text(x(opened) + 6, top + 16, f"open, after {opened:.0f} ms (node after {node:.0f} ms)",
                 colour="white")

    for ms in range(0, last, 250):
        picture.line(x(ms), 178, x(ms), 184)
        picture.text(x(ms), 198, f"{ms} ms", "middle", "#666", 11)
    picture.text(x(early), 216, "* computed, for an application that tries every second and first did so "
                 f"{-early} ms before the plug", colour="#666", size=11)
    picture.text(x(early), 230, f"One container, medians of make bench: {where}", colour="#666", size=11)
    picture.write("timeline.svg", "From the plug to the open: a udev rule and script, and ttyplugd")


def plot(bench, where):
    """From the plug to the node in all containers, on a logarithmic axis."""
    colours = dict(zip(WAYS, (GREY, BLUE, GREEN)))
    picture = Picture(760, 250)
    x = lambda ms: 130 + 145 * math.log10(ms)
    for power in range(5):
        picture.line(x(10 ** power), 40, x(10 ** power), 196, "#ddd")
        picture.text(x(10 ** power), 212, f"{10 ** power} ms", "middle", "#666", 11)
    for column, (way, words) in enumerate(WAYS.items()):
        picture.dot(136 + 190 * column, 20, colours[way])
        picture.text(146 + 190 * column, 24, words)
    for line, count in enumerate(COUNTS):
        y = 70 + 50 * line
        picture.text(10, y + 4, f"{count} container{'s' if count > 1 else ''}", weight="bold")
        picture.line(x(1), y, x(10 ** 4), y, "#ddd")
        for way, colour in colours.items():
            median = bench.of_inject(count, f"plug, {way}")["median"]
            picture.dot(x(median), y, colour)
            picture.text(x(median), y - 10, f"{number(median)}", "middle", size=11)
    picture.text(10, 238, f"Medians of make bench: {where}", colour="#666", size=11)
    picture.write("plug.svg", "From the plug to the node in all containers")


# --- the page

def fill(text, name, words):
    mark = f"<!-- {name} -->"
    before, rest = text.split(mark + "\n")
    return f"{before}{mark}\n{words}\n<!-- end -->\n" + rest.split("<!-- end -->\n", 1)[1]


def main():
    bench = Bench(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/bench"))
    where = machine(bench.date)
    page = DOCS / "measured.md"
    text = page.read_text()
    parts = {"machine": f"{where}.", "plugs": plugs(bench), "access": access(bench),
             "holds": cases(bench.hold["rows"]), "daemon": daemon(bench)}
    for name, words in parts.items():
        text = fill(text, name, words)
    page.write_text(text)
    timeline(bench, where)
    plot(bench, where)


main()
