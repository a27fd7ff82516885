# SPDX-License-Identifier: PostgreSQL
"""A small plotter: one chart is one SVG element, readable at the width of a phone."""

import html
import math

WIDTH, HEIGHT = 480, 320
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 40, 44
GRID, INK = "#dddddd", "#222222"


class Axis:
    """A scale from low to high; ticks are (value, text)."""

    def __init__(self, label, low, high, log=False, ticks=None):
        self.label = label
        self.log = log
        self.low, self.high = self._place(low), self._place(high)
        if self.high == self.low:
            self.high += 1
        self.ticks = ticks if ticks is not None else self._ticks(low, high)

    def _place(self, value):
        return math.log10(value) if self.log else value

    def share(self, value):
        """Where on the axis a value lies: 0 at its start, 1 at its end."""
        return (self._place(value) - self.low) / (self.high - self.low)

    def _ticks(self, low, high):
        if self.log:
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            ticks = [10.0 ** power for power in powers]
        else:
            step = 10 ** math.floor(math.log10((high - low) / 2))
            while (high - low) / step > 6:
                step *= 2 if round(step / 10 ** math.floor(math.log10(step))) != 2 else 2.5
            ticks = [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
        return [(value, f"{value:,.6g}") for value in ticks if -1e-9 <= self.share(value) <= 1 + 1e-9]


class Chart:
    def __init__(self, title, x, y, height=HEIGHT, left=LEFT):
        self.title, self.x, self.y = title, x, y
        self.height, self.left = height, left
        self._parts = []
        self._labels = []
        self._axes()

    def _px(self, x):
        return self.left + self.x.share(x) * (WIDTH - self.left - RIGHT)

    def _py(self, y):
        return self.height - BOTTOM - self.y.share(y) * (self.height - TOP - BOTTOM)

    def _text(self, x, y, text, anchor="middle", colour=INK, extra=""):
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{extra}>'
                           f"{html.escape(text)}</text>")

    def _rule(self, x1, y1, x2, y2, colour=GRID):
        self._parts.append(f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}" fill="none"/>')

    def _axes(self):
        bottom, right = self.height - BOTTOM, WIDTH - RIGHT
        for value, text in self.x.ticks:
            self._rule(self._px(value), TOP, self._px(value), bottom)
            self._text(self._px(value), bottom + 16, text)
        for value, text in self.y.ticks:
            self._rule(self.left, self._py(value), right, self._py(value))
            self._text(self.left - 6, self._py(value) + 4, text, "end")
        self._rule(self.left, bottom, right, bottom, INK)
        self._rule(self.left, TOP, self.left, bottom, INK)
        self._text((self.left + right) / 2, self.height - 8, self.x.label)
        self._text(6, 16, self.title, "start", extra=' font-weight="bold"')
        if self.y.label:
            self._text(6, 30, self.y.label, "start", colour="#555555")

    def line(self, points, colour, dash=None, width=2):
        path = "L".join(f"{self._px(x):.1f} {self._py(y):.1f}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(f'<path d="M{path}" stroke="{colour}" stroke-width="{width}" fill="none"{dashes}/>')

    def steps(self, points, colour):
        """A distribution: level until the next value."""
        path, level = [], 0
        for x, y in points:
            path += [(x, level), (x, y)]
            level = y
        self.line(path, colour)

    def dots(self, points, colour, radius=3.5, opacity=1):
        self._parts += [f'<circle cx="{self._px(x):.1f}" cy="{self._py(y):.1f}" r="{radius}" fill="{colour}" '
                        f'fill-opacity="{opacity}"/>' for x, y in points]

    def bar(self, x, y, colour, half=6):
        """A short upright stroke, for a median among dots."""
        self._rule(self._px(x), self._py(y) - half, self._px(x), self._py(y) + half, colour)

    def label(self, x, y, text, colour, anchor="end", below=False):
        """A series is named beside its line; names that would overlap move apart."""
        self._labels.append([self._px(x), self._py(y) + (17 if below else -7), text, colour, anchor])

    def _place_labels(self):
        placed = []
        for x, y, text, colour, anchor in sorted(self._labels, key=lambda label: label[1]):
            y = max(y, TOP + 10)
            while any(abs(y - other) < 14 and abs(x - across) < 160 for across, other in placed):
                y += 2
            placed.append((x, y))
            self._text(x, y, text, anchor, colour,
                       ' font-weight="bold" paint-order="stroke" stroke="white" stroke-width="3"')
        self._labels = []

    def key(self, entries, x, y, anchor):
        """Names of series where lines lie too close for labels of their own: (text, colour), from a point down."""
        for i, (text, colour) in enumerate(entries):
            self._text(self._px(x) - (46 if anchor == "end" else 0), self._py(y) + 14 + 14 * i, text, anchor, colour,
                       ' font-weight="bold" paint-order="stroke" stroke="white" stroke-width="3"')

    def render(self):
        self._place_labels()
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" role="img" '
                f'font-family="sans-serif" font-size="12"><title>{html.escape(self.title)}</title>'
                f'<rect width="{WIDTH}" height="{self.height}" fill="white"/>' + "".join(self._parts) + "</svg>\n")
