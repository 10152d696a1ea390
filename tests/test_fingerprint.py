import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import skydelta
from skydelta.fingerprint import fingerprint, modules_of

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("template", "subtract", "decorrelate", "detect", "measure", "calibrate", "report")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the package and of the scripts, to be edited."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(
        Path(skydelta.__file__).parent,
        root / "src" / "skydelta",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copytree(ROOT / "workflow" / "scripts", root / "scripts")
    return root


def prints(root):
    """Fingerprint by stage, from a fresh process on the copied tree."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from skydelta.fingerprint import *\n"
        "import skydelta; assert skydelta.__file__.startswith(sys.argv[1])\n"
        "for path in sys.argv[2:]: print(fingerprint(path))"
    )
    paths = [str(root / "scripts" / f"{name}.py") for name in STAGES]
    out = subprocess.run(
        [sys.executable, "-c", code, str(root / "src"), *paths],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(STAGES, out.stdout.split(), strict=True))


@pytest.fixture
def edited(tree):
    """Append text to a module; the change is undone afterwards."""
    saved = {}

    def edit(module, text):
        path = tree / "src" / "skydelta" / module
        saved.setdefault(path, path.read_text())
        path.write_text(path.read_text() + text)
        after = prints(tree)
        return {name for name in STAGES if after[name] != before[name]}

    before = prints(tree)
    yield edit
    for path, text in saved.items():
        path.write_text(text)


def script(name):
    return ROOT / "workflow" / "scripts" / f"{name}.py"


def test_only_the_stages_that_import_it(edited):
    assert edited("measure.py", "\nNEW = 1\n") == {"measure"}


def test_only_the_subtraction(edited):
    assert edited("kernel_stars.py", "\nNEW = 1\n") == {"subtract"}


def test_detection_is_nothing_to_earlier_stages(edited):
    changed = edited("detect.py", "\nNEW = 1\n")
    assert "detect" in changed
    assert not {"template", "subtract", "decorrelate"} & changed


def test_through_other_modules(edited):
    """polynomial is imported by the kernel, the kernel by the subtraction."""
    changed = edited("polynomial.py", "\nNEW = 1\n")
    assert {"subtract", "decorrelate"} <= changed


def test_kernel_fit_is_nothing_to_the_template(edited):
    changed = edited("kernel_fit.py", "\nNEW = 1\n")
    assert "subtract" in changed
    assert "template" not in changed


def test_layout_and_comments_do_not_count(edited):
    assert edited("resample.py", "\n\n# a remark\n\n\n") == set()


def test_repeatable(tree):
    assert prints(tree) == prints(tree)
    assert prints(tree)["subtract"] == fingerprint(script("subtract"))


def test_imports_inside_functions_count():
    """The scripts import in the stage's body, so that failures to import are logged."""
    assert "skydelta.subtract" in modules_of(script("subtract"))
    assert "skydelta.background" in modules_of(script("subtract"))
    assert "skydelta.simulate.survey" not in modules_of(script("subtract"))


def test_foreign_and_empty_scripts(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("import numpy\nfrom pathlib import Path\n")
    assert modules_of(path) == []
    assert len(fingerprint(path)) == 16


def test_another_model_of_reliability_reruns_what_measures(edited):
    assert edited("data/reliability_v1.json", "\n") == {"measure"}


def test_what_is_kept_of_modules_changes_nothing(tree, tmp_path):
    """The second start parses no module; an edited one it parses again; a damaged store is none."""
    module = tree / "src" / "skydelta" / "measure.py"
    path, store = tree / "scripts" / "measure.py", tmp_path / "code.json"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from skydelta import fingerprint as f\n"
        "parsed, parse = [], f._parsed\n"
        "f._parsed = lambda path: (parsed.append(path), parse(path))[1]\n"
        "print(f.fingerprint(*sys.argv[2:]), len(parsed))"
    )

    def start(*store):
        command = [sys.executable, "-c", code, str(tree / "src"), str(path), *map(str, store)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        value, parsed = done.stdout.split()
        return value, int(parsed)

    plain, number = start()
    assert start(store) == (plain, number)
    assert number > 30
    assert start(store) == (plain, 1)  # the script itself
    text = module.read_text()
    try:
        module.write_text(text + "\nNEW = 1\n")
        assert start(store) == (start()[0], 2)
        assert start(store)[0] != plain
    finally:
        module.write_text(text)
    store.write_text("{")
    assert start(store) == (plain, number)
