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
