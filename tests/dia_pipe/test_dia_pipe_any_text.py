import yaml
from hypothesis import given
from hypothesis import strategies as st
from pex_texts import AL, TASK, outcome, problems

from skydelta.dia_pipe.reasons import reason_for
from skydelta.dia_pipe.rules import UNDERSTOOD
from skydelta.io.dia_pipe import as_yaml

literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)

options = st.sampled_from(
    [
        *(
            f"{AL}.{o.removeprefix('kernel.')}"
            for o in sorted(UNDERSTOOD)
            if o.startswith("kernel.")
        ),
        *(f"{TASK}.{o}" for o in sorted(UNDERSTOOD) if "[" not in o and "kernel." not in o),
        f"{TASK}.subtract['al'].kernel",
        f"{TASK}.unknown['\u2028 # : {{']",
    ]
)


@given(st.lists(st.tuples(options, literals), max_size=6))
def test_any_values_give_an_error_with_a_line_or_valid_yaml(assignments):
    text = "".join(f"{option} = {literal!r}\n" for option, literal in assignments)
    out, error = outcome(text)
    if out is None:
        assert "line " in error
        return
    assert (yaml.safe_load(as_yaml(out, "x\n- y.py")) or {}) == out.values
    # Values that reach a key of today's schema are within its limits.
    assert not [e for e in problems(out.values) if e.validator != "additionalProperties"]


@given(st.text(max_size=60))
def test_any_text_gives_an_error_or_a_translation(text):
    out, _ = outcome(text)
    assert out is None or isinstance(yaml.safe_load(as_yaml(out, "x.py")), dict)


@given(st.text(min_size=1, max_size=30), literals)
def test_every_option_has_a_reason(option, literal):
    assert reason_for(option, literal, UNDERSTOOD).text
