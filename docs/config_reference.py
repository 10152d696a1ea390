"""Write config/README.md from the configuration's schema.

python docs/config_reference.py            writes it
python docs/config_reference.py --check    fails if it is out of date
"""

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "config" / "README.md"

HEAD = """# Configuration

`config.yaml` holds every scientific choice; `workflow/schemas/config.schema.yaml` checks it before
anything runs and fills in what a configuration of your own leaves out. Change a value on the
command line (`--config exposures=E.csv`), or put the sections you change into a file of your own
and name it with `--configfile mine.yaml` (on the command line Snakemake makes text of everything
below the top level, so sections belong into a file; `repository` alone takes text, as in
`--config 'repository={calexp: DIR, select: {visit: 1013665, detector: 1..5}}'`).
`config/examples` has one for each of four real data sets. A changed value reruns the stages that
read it, and those after them.

This page is made from the schema by `python docs/config_reference.py`.
"""


def rows(properties, prefix=""):
    """(key, type, default, description) of every leaf."""
    for name, schema in properties.items():
        key = f"{prefix}{name}"
        if schema.get("type") == "object" and "properties" in schema:
            yield from rows(schema["properties"], f"{key}.")
        else:
            yield key, kind(schema), default(schema), schema["description"]


def kind(schema):
    """The type of a value in words, with its bounds."""
    if "enum" in schema:
        return ", ".join(f"`{default({'default': value})}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(kind(one) for one in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    types = schema.get("type", "see text")
    text = " or ".join(types) if isinstance(types, list) else types
    if "items" in schema:
        items = schema["items"].get("type", "names")
        text = f"list of {' or '.join(items) if isinstance(items, list) else items}"
    bounds = [
        f"{sign} {schema[word]}"
        for word, sign in (
            ("minimum", ">="),
            ("exclusiveMinimum", ">"),
            ("maximum", "<="),
        )
        if word in schema
    ]
    return ", ".join([text, *bounds])


def default(schema):
    """The default as YAML."""
    text = yaml.safe_dump(schema["default"], default_flow_style=True).strip()
    return text.removesuffix("\n...").strip()


def page():
    """The text of config/README.md."""
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    lines = [HEAD]
    top = {k: v for k, v in schema["properties"].items() if "properties" not in v}
    lines += ["## Input\n", *table(rows(top))]
    for name, section in schema["properties"].items():
        if "properties" in section:
            lines += [f"\n## {name}\n", f"{section['description']}\n"]
            lines += table(rows(section["properties"], f"{name}."))
    return "\n".join(lines) + "\n"


def table(entries):
    """Markdown rows."""
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key, type_, value, text in entries:
        yield f"| `{key}` | {type_} | `{value}` | {text} |"


if __name__ == "__main__":
    if "--check" in sys.argv:
        if TARGET.read_text() != page():
            sys.exit("config/README.md is out of date: run python docs/config_reference.py")
    else:
        TARGET.write_text(page())
