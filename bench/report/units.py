# SPDX-License-Identifier: PostgreSQL
"""Numbers as people read them."""


def size(count):
    """Bytes in the largest binary unit that leaves a whole number."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count % 1024 or count == 0:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} TiB"


def rounded_size(count):
    """Bytes in the largest binary unit that they fill, three digits at least."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            break
        count /= 1024
    else:
        unit = "TiB"
    return f"{count:,.0f} {unit}" if count >= 100 else f"{count:.3g} {unit}"


def micro(us):
    """A time in its natural unit, three digits."""
    for limit, scale, unit in ((999.5, 1, "us"), (999.5e3, 1e3, "ms")):
        if us < limit:
            return f"{us / scale:.3g} {unit}"
    return f"{us / 1e6:.3g} s" if us < 999.5e6 else f"{us / 1e6:,.0f} s"


def count(value):
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2f}"


def kibibytes(value):
    return f"{value / 1024:,.0f} KiB"


def mebibytes(value):
    return f"{value / 2 ** 20:.1f} MiB"


def percent(share):
    return f"{100 * share:.3g} %"


def ratio(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
