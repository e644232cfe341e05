"""Copies a source with a fault in it: the text of FIND, which must stand there exactly once, replaced by REPLACE.

usage: plant.py SOURCE COPY FIND REPLACE
"""

import sys


def main():
    source, copy, find, replace = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        text = file.read()
    if text.count(find) != 1:
        sys.exit(f"the text of this canary stands {text.count(find)} times in {source}, not once: {find}")
    with open(copy, "w", encoding="utf-8") as file:
        file.write(text.replace(find, replace))


main()
