import ast

import pytest
from pex_texts import AL, ROOT, TASK, reasons

from skydelta import cli
from skydelta.dia_pipe import ConfigError, translate
from skydelta.dia_pipe.pex_config import UNKNOWN, parse_pex_config


@pytest.mark.parametrize(
    "statement",
    [
        "config.a.b = 3",
        "config.a.b: int = 3",
        "config.x = config.a.b = 3",
        "config.x, config.a.b = 1, 3",
        "[config.x, (config.a.b, config.y)] = [1, (3, 2)]",
        "config.a.update(b=3)",
        "setattr(config.a, 'b', 3)",
        "config.a.b = (\n    3\n)",
    ],
)
def test_assignment_forms(statement):
    parsed = parse_pex_config(statement)
    assert not parsed.others
    (setting,) = [s for s in parsed.settings if s.option == ("a", "b")]
    assert (setting.value, setting.line, setting.plain) == (3, 1, True)


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("-1.5", -1.5),
        ("'a' 'b'", "ab"),
        ("[1, (2, None)]", [1, (2, None)]),
        ("{'a': True}", {"a": True}),
        ("1 + 1", UNKNOWN),
        ("0.7/0.2", UNKNOWN),
        ("name", UNKNOWN),
        ("f'{1}'", UNKNOWN),
        ("[x for x in y]", UNKNOWN),
        ("{[]: 1}", UNKNOWN),
    ],
)
def test_literals(literal, expected):
    (setting,) = parse_pex_config(f"config.a = {literal}").settings
    assert setting.value == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import numpy", "nothing is imported"),
        ("import os, shutil", "nothing is imported"),
        ("from . import other", "nothing is imported"),
        ("from lsstlike import x", "nothing is imported"),
        ("order = 4", "a variable"),
        ("diff.doDecorrelation = True", "a variable"),
        ("config = other", "replaces the whole"),
        ("config.a, config.b = pair", "known only when executed"),
        ("config.a[name].b = 1", "known only when executed"),
        ("config.a: int", "sets nothing"),
        ("order += 1", "no option"),
        ("print(config)", "a call"),
        ("setattr(config, name, 1)", "a call"),
        ("getattr(config, 'a').load('b.py')", "a call"),
        ("config.a == 3", "an expression"),
        ("assert config.a", "a check"),
        ("del config.a", "not followed"),
        ("raise RuntimeError", "not followed"),
        ("for x in y:\n    z(x)", "`for` that is not executed"),
    ],
)
def test_other_statements_are_named(text, reason):
    (remark,) = translate(text).left_out
    assert reason in remark.reason
    assert remark.line == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "'''A docstring.'''",
        "import os.path",
        "import lsst.pipe.tasks as t",
        "from lsst.utils import getPackageDir",
        "from os import environ",
        "pass",
        "# config.doDeblend = True",
    ],
)
def test_what_needs_no_word(text):
    out = translate(text)
    assert (out.values, out.remarks, out.left_out) == ({}, [], [])


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("if True:", "`if`"),
        ("for i in (1, 2):", "`for`"),
        ("while x:", "`while`"),
        ("with x:", "`with`"),
        ("def f(config):", "`def`"),
        ("async def f(config):", "`def`"),
        ("class C:", "`class`"),
        ("match x:\n  case 1:", "`match`"),
    ],
)
def test_what_depends_on_execution_is_named_and_not_applied(head, kind):
    inner = len(head.splitlines()) + 1
    out = translate(f"{head}\n     {AL}.spatialKernelOrder = 4\n{AL}.nStarPerCell = 4\n")
    assert out.values == {"subtract": {"stars": {"per_cell": 4}}}
    (remark,) = out.left_out
    assert f"inside {kind} on line 1" in remark.reason
    assert remark.line == inner


def test_all_branches_of_a_nested_statement_are_named():
    text = "try:\n    config.a = 1\nexcept E:\n    if x: config.b = 2\n    else: config.load('x')\n"
    assert list(reasons(text)) == [2, 4, 5]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{AL}.spatialKernelOrder = 2.0", "the stack takes a whole number here"),
        (f"{AL}.spatialKernelOrder = True", "a whole number"),
        (f"{AL}.spatialKernelOrder = None", "a whole number"),
        (f"{TASK}.detection.thresholdValue = '5.5'", "a number"),
        (f"{TASK}.detection.thresholdValue = True", "a number"),
        (f"{TASK}.doDecorrelation = 1", "True or False"),
        (f"{TASK}.doPreConvolve = 'yes'", "True or False"),
        (f"{TASK}.subtract = 5", "text"),
        (f"{AL}.alardSigGauss = 3.0", "a list"),
        (f"{AL}.alardSigGauss = ['a']", "a number"),
        (f"{AL}.alardDegGauss = [4, 2.5, 2]", "a whole number"),
        (f"{AL}.spatialKernelOrder = 2 * 2", "not a literal"),
        (f"{AL}.spatialKernelOrder = order", "not a literal"),
        (f"{TASK}.subtract = method", "not a literal"),
        ("config.x = = 3", "this is not Python"),
        ("config.x = (", "this is not Python"),
    ],
)
def test_mistakes_are_told_with_their_line(line, message):
    with pytest.raises(ConfigError, match=f"line 3: .*{message}"):
        translate(f"\n\n{line}\n")


@pytest.mark.parametrize(
    "source", [b"config.x = 1\0", b"config.x = '\xff'", "config" + ".a" * 20000 + " = 1"]
)
def test_what_python_cannot_read(source):
    with pytest.raises(ConfigError, match=r"not Python|nested too deeply"):
        translate(source)


def test_byte_order_mark_and_line_ends():
    source = f"\ufeff{AL}.spatialKernelOrder = 3\r\n".encode()
    assert translate(source).get("subtract.fit.order") == 3


def test_nothing_is_executed(tmp_path):
    witness = tmp_path / "executed"
    path = tmp_path / "config.py"
    path.write_text(
        "import os\n"
        "import this_module_does_not_exist\n"
        f"open({str(witness)!r}, 'w').close()\n"
        f"config.a = os.system('touch {witness}')\n"
        f"config.b.load(open({str(witness)!r}, 'w'))\n"
        f"if os.mkdir({str(witness)!r}): config.c = 1\n"
        f"{AL}.spatialKernelOrder = 3\n"
        "raise SystemExit(3)\n",
        encoding="utf-8",
    )
    assert cli.main(["import-config", str(path)]) == 0
    assert not witness.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_modules_do_not_execute():
    """No module of the importer has a call of eval, exec, compile or __import__."""
    for path in [*ROOT.glob("src/skydelta/dia_pipe/*.py"), ROOT / "src/skydelta/io/dia_pipe.py"]:
        calls = [n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        names = {f.id for f in calls if isinstance(f, ast.Name)}
        assert not names & {"eval", "exec", "compile", "__import__"}, path
