#!/bin/sh
# Makes the two font subsets beside this script from Debian's fonts-dejavu-core, byte for byte the same each time
# (fontTools: pip install fonttools). Usage: reports/assets/subset-fonts.sh [FONT-DIR]
set -eu
cd "$(dirname "$0")"
fonts=${1:-/usr/share/fonts/truetype/dejavu}
# Latin, Greek and Cyrillic for names that clients give themselves; punctuation, arrows and marks for our labels.
text='U+0020-007E,U+00A0-024F,U+0370-03FF,U+0400-045F,U+2010-2027,U+2030-203A,U+2070-2079,U+20AC'
marks='U+2190-2199,U+21C4,U+2212,U+2248,U+2260,U+2264-2265,U+25A0-25CF,U+2713,U+2717,U+FFFD'
for name in DejaVuSans DejaVuSans-Bold; do
  pyftsubset "$fonts/$name.ttf" --unicodes="$text,$marks" --layout-features='' --no-hinting \
    --drop-tables+=GSUB,GPOS,GDEF --name-IDs='*' --notdef-outline --legacy-kern --output-file="$name.subset.ttf"
done
