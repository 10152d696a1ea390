"""Write the tables of docs/catalogue.md from the catalogue's columns.

python docs/catalogue_reference.py            writes them
python docs/catalogue_reference.py --check    fails if they are out of date
"""

import re
import sys
from pathlib import Path

from skydelta.dia_source import ABSENT, ADDITIONS, RUBIN

TARGET = Path(__file__).resolve().parent / "catalogue.md"

TYPES = {
    "i8": "int64",
    "i4": "int32",
    "i2": "int16",
    "f8": "float64",
    "f4": "float32",
    "?": "bool",
    "U": "text",
}


def columns_table(columns):
    """Markdown of columns."""
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for c in columns:
        kind = TYPES[c.dtype] + (" or null" if c.is_nullable else "")
        meaning = c.description.replace("|", "\\|")
        lines.append(f"| `{c.name}` | {kind} | {c.unit} | {meaning} |")
    return "\n".join(lines)


def absent_table():
    """Markdown of what is not written."""
    lines = ["| column | why |", "|---|---|"]
    return "\n".join(lines + [f"| `{name}` | {why} |" for name, why in ABSENT.items()])


def page(text):
    """The page with its tables filled in."""
    tables = {
        "RUBIN": columns_table(RUBIN),
        "ADDITIONS": columns_table(ADDITIONS),
        "ABSENT": absent_table(),
    }
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- END -->)"
        text, found = re.subn(
            pattern, lambda m, t=table: f"{m[1]}{t}\n{m[2]}", text, count=1, flags=re.DOTALL
        )
        if not found:
            sys.exit(f"{TARGET.name} has no place for the table {name}")
    return text


if __name__ == "__main__":
    current = TARGET.read_text()
    if "--check" in sys.argv:
        if current != page(current):
            sys.exit(f"{TARGET} is out of date: run python docs/catalogue_reference.py")
    else:
        TARGET.write_text(page(current))
