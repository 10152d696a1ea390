"""Skymap files: what LSST's pickles say, and that nothing in them is run."""

import io
import os
import pickletools
import random
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from skydelta.errors import BadSkyMapError, CorruptFileError, InputError, MissingFileError
from skydelta.io.skymap import read_skymap, skymap_from
from skydelta.io.skymap_pickle import config_of_pickle
from skydelta.skymap import CONFIGURATIONS, CellPatches, PlainPatches, RingsSkyMap, SkyMapConfig

SETTINGS = {
    "tractOverlap": 0.02,
    "pixelScale": 0.25,
    "projection": "TAN",
    "rotation": 0.0,
    "numRings": 30,
    "raStart": 5.0,
}
LEGACY = {"tractBuilder['legacy'].patchInnerDimensions": [2000, 1000]}
LEGACY |= {"tractBuilder['legacy'].patchBorder": 50}
CELLS = {
    "tractBuilder['cells'].cellInnerDimensions": [100, 100],
    "tractBuilder['cells'].cellBorder": 40,
    "tractBuilder['cells'].numCellsPerPatchInner": 10,
    "tractBuilder['cells'].numCellsInPatchBorder": 2,
}


def config_text(settings, builder="legacy"):
    """As pex_config writes it: comments, imports, an assertion, then one setting a line."""
    settings = LEGACY | CELLS | settings
    if builder:
        settings["tractBuilder.name"] = builder
    lines = [f"# about it\nconfig.{key}={value!r}\n" for key, value in settings.items()]
    head = "import lsst.skymap.ringsSkyMap\nassert type(config)==lsst.skymap.X, 'no'\n"
    return head + "\n".join(lines)


class Pickle:
    """Bytes of a pickled LSST skymap, opcode by opcode; nothing of LSST is needed."""

    def __init__(self, text, version=1, cls=("lsst.skymap.ringsSkyMap", "RingsSkyMap")):
        self.text, self.version, self.cls = text, version, cls

    def of_protocol_4(self):
        encoded = self.text.encode()
        config = self._name("lsst.pex.config.config", "unreduceConfig")
        config += self._name("lsst.skymap.ringsSkyMap", "RingsSkyMapConfig")
        config += b"B" + len(encoded).to_bytes(4, "little") + encoded + b"\x86R\x94"
        version = b"K" + bytes([self.version])
        return b"\x80\x04" + self._name(*self.cls) + config + version + b"\x86R."

    def of_protocol_2(self):
        """Bytes were not yet known: they are text, to be encoded."""
        encoded = self.text.encode()
        stored = b"c_codecs\nencode\nX" + len(encoded).to_bytes(4, "little") + encoded
        stored += b"X\x06\x00\x00\x00latin1\x86R"
        config = b"clsst.pex.config.config\nunreduceConfig\n"
        config += b"clsst.skymap.ringsSkyMap\nRingsSkyMapConfig\n" + stored + b"\x86Rq\x01"
        version = b"K" + bytes([self.version])
        return b"\x80\x02c" + "\n".join(self.cls).encode() + b"\n" + config + version + b"\x86R."

    @staticmethod
    def _name(*words):
        return b"".join(b"\x8c" + bytes([len(w)]) + w.encode() + b"\x94" for w in words) + b"\x93"


EXPECTED = SkyMapConfig(30, 0.25, 0.02, PlainPatches((2000, 1000), 50), ra_start=5.0)


@pytest.mark.parametrize("name", ["DC2", "hsc_rings_v1", "decam_rings_v1"])
def test_real_pickles(shared_data, name):
    path = shared_data / "lsst_metadata" / f"skyMap_{name}_skymaps.pickle"
    if not path.exists():
        pytest.skip(f"no {path.name}")
    assert read_skymap(path) == RingsSkyMap(CONFIGURATIONS[name])
    assert read_skymap(path) == skymap_from(name)


def test_settings_of_either_builder():
    assert config_of_pickle(Pickle(config_text(SETTINGS)).of_protocol_4()) == EXPECTED
    found = config_of_pickle(Pickle(config_text(SETTINGS, "cells")).of_protocol_4())
    assert found.patches == CellPatches((100, 100), 40, 10, 2)


def test_older_pickles():
    """Protocol 2, the numbering of before 2018, and settings of before the builders."""
    plain = {"patchInnerDimensions": [2000, 1000], "patchBorder": 50} | SETTINGS
    data = Pickle(config_text(plain, builder=None), version=0).of_protocol_2()
    found = config_of_pickle(data)
    assert found.version == 0
    assert found.patches == EXPECTED.patches


def test_disassembler_agrees_with_the_cases():
    """The pickles made up here are well-formed ones."""
    for data in (Pickle("a=1").of_protocol_4(), Pickle("a=1").of_protocol_2()):
        listing = io.StringIO()
        pickletools.dis(data, out=listing)
        assert "REDUCE" in listing.getvalue()


HOSTILE = [
    b"cos\nsystem\n(S'touch {target}'\ntR.",
    b"cposix\nsystem\n(X\x00\x00\x00\x00tR.",
    b'cbuiltins\neval\n(S\'open("{target}", "w")\'\ntR.',
    b"(S'touch {target}'\nios\nsystem\n.",
    b"(cos\nsystem\nS'touch {target}'\no.",
    b"\x80\x02cos\nsystem\nS'touch {target}'\n\x85\x81.",
    b"clsst.skymap.ringsSkyMap\nRingsSkyMap\n(cos\nsystem\n(S'touch {target}'\ntRK\x01tR.",
    b"cos\nsystem\n(S'touch {target}'\ntR0clsst.skymap.ringsSkyMap\nRingsSkyMap\n(K\x01tR.",
    b"S'{target}'\nQ.",
]


@pytest.mark.parametrize("template", HOSTILE)
def test_nothing_that_a_pickle_asks_for_is_run(template, tmp_path):
    target = tmp_path / "was_run"
    path = tmp_path / "skyMap.pickle"
    path.write_bytes(template.replace(b"{target}", os.fsencode(target)))
    with pytest.raises(InputError, match=r"skyMap\.pickle"):
        read_skymap(path)
    assert not target.exists()


@pytest.mark.parametrize(
    "line",
    [
        "config.numRings=__import__('os').system('touch {target}')",
        "__import__('os').system('touch {target}')",
        "config.numRings=[open('{target}', 'w') for i in (1,)]",
        "for i in (1,): open('{target}', 'w')",
        "numRings = 5",
    ],
)
def test_nothing_in_the_configuration_is_run(line, tmp_path):
    target = tmp_path / "was_run"
    text = config_text(SETTINGS) + "\n" + line.replace("{target}", str(target)) + "\n"
    with pytest.raises(CorruptFileError, match="configuration is damaged"):
        config_of_pickle(Pickle(text).of_protocol_4())
    assert not target.exists()


def test_no_class_of_the_pickle_is_imported(tmp_path):
    """A module that the pickle names, and that could be imported, is not."""
    (tmp_path / "lsst").mkdir()
    (tmp_path / "lsst" / "__init__.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "skyMap.pickle").write_bytes(Pickle(config_text(SETTINGS)).of_protocol_4())
    code = "from skydelta.io.skymap import read_skymap; print(len(read_skymap('skyMap.pickle')))"
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(RingsSkyMap(EXPECTED))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (("lsst.skymap.discreteSkyMap", "DiscreteSkyMap"), "placed by hand"),
        (("lsst.skymap.healpixSkyMap", "HealpixSkyMap"), "HEALPix"),
        (("lsst.skymap.dodecaSkyMap", "DodecaSkyMap"), "dodecahedron"),
        (("lsst.skymap.equatSkyMap", "EquatSkyMap"), "equatorial"),
        (("lsst.skymap.mine", "MySkyMap"), "only rings"),
        (("lsst.skymapper", "RingsSkyMap"), "was not run"),
    ],
)
def test_other_skymaps_are_refused_by_name(name, says):
    with pytest.raises(BadSkyMapError, match=says):
        config_of_pickle(Pickle(config_text(SETTINGS), cls=name).of_protocol_4())


@pytest.mark.parametrize("key", sorted(SETTINGS))
def test_a_missing_setting_is_named(key):
    settings = {name: value for name, value in SETTINGS.items() if name != key}
    with pytest.raises(BadSkyMapError, match=f"lacks '{key}'"):
        config_of_pickle(Pickle(config_text(settings)).of_protocol_4())


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"N.", BadSkyMapError),
        (b"K\x05.", BadSkyMapError),
        (b"", CorruptFileError),
        (b"not a pickle at all", CorruptFileError),
        (b"\x89PNG\r\n\x1a\n", BadSkyMapError),
        (b"K\x05", CorruptFileError),
        (b"tR.", CorruptFileError),
        (b"R.", CorruptFileError),
        (b"0.", CorruptFileError),
        (b"h\x07.", CorruptFileError),
        (b"}}}s.", CorruptFileError),
        (b"(" * 100 + b"l" * 99 + b".", CorruptFileError),
        (Pickle(config_text(SETTINGS), version=7).of_protocol_4(), BadSkyMapError),
        (Pickle(config_text(SETTINGS, "hexagons")).of_protocol_4(), BadSkyMapError),
        (Pickle(config_text(SETTINGS | {"projection": "STG"})).of_protocol_4(), BadSkyMapError),
        (Pickle(config_text(SETTINGS | {"numRings": "many"})).of_protocol_4(), BadSkyMapError),
        (Pickle("config.numRings=").of_protocol_4(), CorruptFileError),
        (Pickle("config.numRings=" + "(" * 500).of_protocol_4(), CorruptFileError),
        (Pickle("config.numRings=" + "-" * 100_000 + "1").of_protocol_4(), CorruptFileError),
    ],
)
def test_what_is_no_skymap(data, error, tmp_path):
    path = tmp_path / "skyMap.pickle"
    path.write_bytes(data)
    with pytest.raises(error, match=r"skyMap\.pickle") as caught:
        read_skymap(path)
    assert caught.value.details["path"] == str(path)


def test_every_cut_off_pickle_is_refused():
    data = Pickle(config_text(SETTINGS)).of_protocol_4()
    for length in range(0, len(data), 11):
        with pytest.raises(CorruptFileError):
            config_of_pickle(data[:length])


def test_damaged_pickles_end_in_a_typed_error_or_a_skymap():
    data = Pickle(config_text(SETTINGS)).of_protocol_4()
    rng = random.Random(11)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 3))):
            place = rng.randrange(rng.choice((150, len(data))))
            damaged[place] = rng.randrange(256)
        try:
            assert isinstance(config_of_pickle(bytes(damaged)), SkyMapConfig)
        except (CorruptFileError, BadSkyMapError):
            refused += 1
    assert refused > 500


def test_nested_pickles_cost_nothing(tmp_path):
    """Tuples of themselves 60 deep stand for 2**60 items, and 200 000 deep for no stack."""
    for data in (b"(K\x01t" + b"2\x86" * 60 + b".", b")" + b"\x85" * 200_000 + b"."):
        with pytest.raises(InputError):
            config_of_pickle(data)
    with pytest.raises(CorruptFileError, match="neither a string nor a number"):
        config_of_pickle(b"})" + b"\x85" * 200_000 + b"Ns.")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(MissingFileError, match="does not exist"):
        read_skymap(tmp_path / "skyMap.pickle")
    with pytest.raises(CorruptFileError, match="cannot be read"):
        read_skymap(tmp_path)
    large = tmp_path / "large.pickle"
    with open(large, "wb") as stream:
        stream.truncate(2 << 20)
    with pytest.raises(BadSkyMapError, match="larger than"):
        read_skymap(large)


YAML = """
rings:
  num_rings: 30
  pixel_scale: 0.25
  tract_overlap: 0.02
  ra_start: 5
  patches: {inner: [2000, 1000], border: 50}
"""


def test_yaml(tmp_path):
    path = tmp_path / "skymap.yaml"
    path.write_text(YAML)
    assert read_skymap(path).config == EXPECTED
    path.write_text("DC2\n")
    assert read_skymap(str(path)) == skymap_from("DC2")


def test_a_mapping():
    rings = {"num_rings": 120, "pixel_scale": 0.2, "tract_overlap": 1 / 60}
    assert skymap_from({"rings": rings}) == skymap_from("DC2")
    assert skymap_from({"rings": rings | {"cells": {}}}) == skymap_from("DC2_cells_v1")
    assert list(rings) == ["num_rings", "pixel_scale", "tract_overlap"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("LSST9", "no skymap 'LSST9'"),
        ("healpix: {nside: 5}", "a skymap is"),
        ("[1, 2]", "a skymap is"),
        ("", "a skymap is"),
        ("rings: 5", "mapping of parameters"),
        ("rings: {num_rings: 5}", "lacks pixel_scale, tract_overlap"),
        (YAML + "  colour: blue", "no parameter 'colour'"),
        (YAML + "  cells: {}", "not both"),
        (YAML.replace("border", "margin"), "no parameter 'margin'"),
        (YAML.replace("30", "-30"), "number of rings"),
        (YAML.replace("[2000, 1000]", "2000"), "patch inner size"),
        ("rings: {num_rings: 1, num_rings", "no readable YAML"),
        ("rings: !!python/object/apply:os.system ['true']", "no readable YAML"),
        ("a: &a [1]\nb: &b [*a, *a]\nrings: [*b, *b]", "a skymap is"),
    ],
)
def test_yaml_that_is_no_skymap(text, says, tmp_path):
    path = tmp_path / "skymap.yml"
    path.write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        read_skymap(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("source", ["LSST9", 5, None, ["DC2"], {"DC2": 1}])
def test_no_such_source(source):
    with pytest.raises(BadSkyMapError, match=r"DC2|give a name"):
        skymap_from(source)


def test_the_code_of_the_documentation(capsys):
    page = Path(__file__).parents[2] / "docs" / "skymap.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["4639 (0, 0) 0", "(0, 0, 4099, 4099)"]
    assert [float(names[key]) for key in "xy"] == pytest.approx([2085.197, 2296.805], abs=5e-4)
    corners = zip(names["corner_ra"], names["corner_dec"], strict=True)
    on_corners = {tract.id for corner in corners for tract in names["skymap"].tracts_at(*corner)}
    assert {tract.id for tract, _ in names["touched"]} == on_corners == {4432, 4639, 4640}


def test_the_yaml_of_the_documentation(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "skymap.md"
    (block,) = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "skymap.yaml"
    path.write_text(block)
    assert read_skymap(path).config == SkyMapConfig(120, 0.2, 0.0167)
    keys = re.findall(r"^  (?:# )?(?:or )?(\w+):", block, re.MULTILINE)
    assert {*keys} == {field.name for field in fields(SkyMapConfig)} - {"projection"} | {"cells"}
