"""Makes console/src/styles/fonts/inter.woff2 out of Inter's variable font.

The result is committed; run this only to change what it holds:
    npm pack inter-ui@4.1.1 && tar xzf inter-ui-4.1.1.tgz
    pip install fonttools==4.68.0 brotli==1.2.1
    python scripts/console-font.py package/variable/InterVariable.woff2 console/src/styles/fonts/inter.woff2
"""

import io
import sys

from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

# What the console's styles use: figures of one width, an unambiguous letter l, kerning.
FEATURES = ["kern", "mark", "mkmk", "calt", "ccmp", "locl", "tnum", "cv11"]
WEIGHTS = (400, 700)
LATIN = [*range(0x20, 0x7F), *range(0xA0, 0x180)]
SIGNS = "‐‑‒–—‘’‚“”„•…‰′″‹›€™←↑→↓−≈≠≤≥⌘µ"


def main(source: str, target: str) -> None:
    options = subset.Options()
    options.layout_features = FEATURES
    options.hinting = False
    # Its copyright and licence (OFL 1.1) travel in it.
    options.name_IDs = [*range(0, 7), 13, 14]
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=LATIN + [ord(sign) for sign in SIGNS])
    font = TTFont(source)
    subsetter.subset(font)
    plain = io.BytesIO()
    font.flavor = None
    font.save(plain)
    plain.seek(0)
    font = instancer.instantiateVariableFont(TTFont(plain), {"opsz": 14, "wght": WEIGHTS})
    font.flavor = "woff2"
    font.save(target)


main(*sys.argv[1:])
