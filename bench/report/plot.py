# SPDX-License-Identifier: PostgreSQL
"""Charts drawn by gnuplot: one chart is one SVG element, readable at the width of a phone."""

import html
import math
import re
import subprocess
import zlib

WIDTH, HEIGHT = 480, 320
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 40, 44


class Axis:
    """A scale from low to high; ticks are (value, text), or gnuplot's own."""

    def __init__(self, label, low, high, log=False, ticks=None):
        self.label, self.log, self.ticks = label, log, ticks
        self.low, self.high = low, high if high != low else low + 1

    def share(self, value):
        """Where on the axis a value lies: 0 at its start, 1 at its end."""
        place = math.log if self.log else float
        return (place(value) - place(self.low)) / (place(self.high) - place(self.low))


def _text(text):
    return '"' + text.replace("\\", "").replace('"', "'") + '"'


class Chart:
    def __init__(self, title, x, y, height=HEIGHT, left=LEFT):
        self.title, self.x, self.y = title, x, y
        self.height, self.left = height, left
        self._plots = []        # (how, points)
        self._labels = []       # [x, y, text, colour, anchor], in pixels
        self._texts = []

    def _px(self, x):
        return self.left + self.x.share(x) * (WIDTH - self.left - RIGHT)

    def _py(self, y):
        return self.height - BOTTOM - self.y.share(y) * (self.height - TOP - BOTTOM)

    def line(self, points, colour, dash=None, width=2):
        dashes = f" dashtype ({dash.replace(' ', ',')})" if dash else ""
        self._plots.append((f'lines linecolor "{colour}" linewidth {width}{dashes}', points))

    def dots(self, points, colour, opacity=1):
        transparent = f"{round(255 * (1 - opacity)):02x}"
        self._plots.append((f'points pointtype 7 pointsize 0.6 linecolor "#{transparent}{colour[1:]}"', points))

    def bar(self, x, y, colour, half=0.35):
        """A short upright stroke, for a median among dots."""
        self.line([(x, y - half), (x, y + half)], colour, width=1.5)

    def label(self, x, y, text, colour, anchor="end", below=False):
        """A series is named beside its line; names that would overlap move apart."""
        self._labels.append((self._px(x), self._py(y) + (13 if below else -14), text, colour, anchor))

    def label_behind(self, x, y, text, colour):
        """The same at the right of its last point, where the axis has room."""
        self._labels.append((self._px(x) + 8, self._py(y), text, colour, "start"))

    def key(self, entries, x, y, anchor):
        """Names of series where lines lie too close for labels of their own: (text, colour), from a point down."""
        for i, (text, colour) in enumerate(entries):
            self._texts.append((self._px(x) - (46 if anchor == "end" else 0), self._py(y) + 10 + 14 * i, text, colour, anchor))

    def _place_labels(self):
        placed = []
        for x, y, text, colour, anchor in sorted(self._labels, key=lambda label: label[1]):
            y = max(y, TOP + 6)
            while any(abs(y - other) < 14 and abs(x - across) < 160 for across, other in placed):
                y += 2
            placed.append((x, y))
            self._texts.append((x, y, text, colour, anchor))

    def _axis(self, name, axis):
        yield f"set {name}range [{axis.low:.10g}:{axis.high:.10g}]"
        if axis.log:
            yield f"set logscale {name}"
        if axis.ticks is not None:
            ticks = [(value, text) for value, text in axis.ticks if -1e-9 <= axis.share(value) <= 1 + 1e-9]
            yield f"set {name}tics scale 0 (" + ", ".join(f"{_text(text)} {value:.10g}" for value, text in ticks) + ")"

    def _script(self):
        yield f'set terminal svg size {WIDTH},{self.height} dynamic noenhanced background "white" font "sans-serif,12"'
        yield "unset key; set border 3; set tics nomirror scale 0; set grid linecolor '#dddddd' dashtype 1"
        yield "set style textbox opaque noborder fillcolor 'white' margins 0.1,0"
        yield f"set lmargin at screen {self.left / WIDTH}; set rmargin at screen {1 - RIGHT / WIDTH}"
        yield f"set bmargin at screen {BOTTOM / self.height}; set tmargin at screen {1 - TOP / self.height}"
        yield from self._axis("x", self.x)
        yield from self._axis("y", self.y)
        texts = [(6, 11, self.title, "#222222", "start"), ((self.left + WIDTH - RIGHT) / 2, self.height - 10, self.x.label, "#222222", "middle"),
                 (6, 27, self.y.label, "#555555", "start")]
        for x, y, text, colour, anchor in texts + self._texts:
            if text:
                bold = "" if (x, y, text, colour, anchor) in texts[1:] else ' font "sans-serif:Bold,12"'
                side = {"start": "left", "middle": "center", "end": "right"}[anchor]
                boxed = "" if (x, y, text, colour, anchor) in texts else " boxed"
                yield f'set label {_text(text)} at screen {x / WIDTH:.4f},{1 - y / self.height:.4f} {side} front textcolor "{colour}"{bold}{boxed}'
        for i, (_, points) in enumerate(self._plots):
            yield f"$data{i} << EOD\n" + "\n".join(f"{x:.10g} {y:.10g}" for x, y in points) + "\nEOD"
        yield "plot " + ", ".join(f"$data{i} with {how}" for i, (how, _) in enumerate(self._plots))

    def render(self):
        self._place_labels()
        script = "\n".join(self._script()) + "\n"
        drawn = subprocess.run(["gnuplot"], input=script, capture_output=True, text=True, check=True).stdout
        # One page holds many: no prologue, names of its own, and our title.
        drawn = drawn[drawn.index("<svg"):]
        name = f"c{zlib.crc32(script.encode()):08x}"
        drawn = re.sub(r"(id=['\"]|#)gp", rf"\1{name}gp", drawn).replace("gnuplot_plot_", f"{name}_")
        drawn = drawn.replace('font-family="sans-serif:Bold"', 'font-family="sans-serif" font-weight="bold"')
        return re.sub(r"<title>[^<]*</title>", f"<title>{html.escape(self.title)}</title>", drawn, count=1)
