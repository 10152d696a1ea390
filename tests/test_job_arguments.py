"""Python's quotes read by a shell."""

import subprocess

import pytest

from skydelta.errors import BadNameError
from skydelta.job_arguments import refuse_unquotable

LITERAL = [
    "exposures=/data/E.csv",
    'a b;c & $(id) `id` * ? # "d" %s ~ {e} |',
    "it's",
    "it's a b;c & * ? # %s",
]
NOT_LITERAL = ["it's $HOME", "it's `id`", "it's $(id)", 'it\'s "b"', "a\\b", "a\nb"]


@pytest.mark.parametrize("text", LITERAL)
def test_a_shell_reads_what_is_let_through(text):
    refuse_unquotable([text])
    command = ["sh", "-c", f"printf %s {text!r}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == text


@pytest.mark.parametrize("text", NOT_LITERAL)
def test_what_a_shell_reads_otherwise_is_refused(text):
    with pytest.raises(BadNameError, match="rename"):
        refuse_unquotable(["a=b", text])
