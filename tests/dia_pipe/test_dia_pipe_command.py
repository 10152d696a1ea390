import pytest
import yaml
from pex_texts import AL, TUTORIAL, ZOGY

from skydelta import cli
from skydelta.dia_pipe import translate


def command(*arguments):
    return cli.main(["import-config", *map(str, arguments)])


def test_command_to_standard_output(tmp_path, capsys):
    path = tmp_path / "diffim.py"
    path.write_text(TUTORIAL, encoding="utf-8")
    assert command(path) == 0
    out, err = capsys.readouterr()
    assert yaml.safe_load(out) == translate(TUTORIAL).values
    assert "not applied: line 2: " in err
    assert "note: line 5: config.ccdKey = 'detector': " in err
    # The comments are at the end and name the same lines.
    comments = " ".join(line.lstrip("# ") for line in out.split("\n\n", 1)[1].splitlines())
    for line in (2, 3, 4, 5, 11, 13, 17):
        assert f"line {line}: " in comments
    assert max(len(line) for line in out.splitlines()) <= 120


def test_command_to_a_file_overwrites_only_by_force(tmp_path, capsys):
    source, target = tmp_path / "diffim.py", tmp_path / "mine.yaml"
    source.write_text(ZOGY, encoding="utf-8")
    assert command(source, "-o", target) == 0
    assert yaml.safe_load(target.read_text())["subtract"]["method"] == "zogy"
    target.write_text("mine")
    assert command(source, "-o", target) == 1
    assert "exists" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert command(source, "-o", target, "--force") == 0
    assert "zogy" in target.read_text()
    assert command(source, "-o", source, "--force") == 1
    assert source.read_text() == ZOGY
    assert command(source, "-o", tmp_path / "nowhere" / "mine.yaml") == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("config.x = = 1", "diffim.py: line 1: this is not Python"),
        (f"{AL}.spatialKernelOrder = x", "diffim.py: line 1: .*not a literal"),
    ],
)
def test_command_that_fails_writes_nothing(tmp_path, capsys, text, message):
    source, target = tmp_path / "diffim.py", tmp_path / "mine.yaml"
    if text is not None:
        source.write_text(text, encoding="utf-8")
    assert command(source, "-o", target) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("skydelta: ")
    assert all(part in err for part in message.split(".*"))
    assert not target.exists()


def test_empty_configuration_is_still_a_mapping(tmp_path, capsys):
    (tmp_path / "empty.py").write_text("")
    assert command(tmp_path / "empty.py") == 0
    assert yaml.safe_load(capsys.readouterr().out) == {}
