"""Faults as text."""

from __future__ import annotations

import pytest

from ipfs_accelerate_py.simulator import FAULTS, Fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("429:retry_after=2", Fault.status(429, retry_after=2.0)),
        ("503", Fault.status(503)),
        ("500:should_retry=false,error_code=x", Fault.status(500, should_retry=False, error_code="x")),
        ("status:code=500,headers=a: b;c: d", Fault.status(500, headers=(("a", "b"), ("c", "d")))),
        ("cut:after=40", Fault.cut(after=40)),
        ("cut:after=40,rst", Fault.cut(after=40, rst=True)),
        ("stall", Fault.stall()),
        ("stall:seconds=20", Fault.stall(seconds=20.0)),
        ("stall:seconds=forever", Fault.stall()),
        ("endless-line", Fault.endless_line()),
        ("no_done:hold=yes", Fault.no_done(hold=True)),
        ("latency:seconds=1+cut:after=3", Fault.latency(1.0) + Fault.cut(after=3)),
        (" latency:seconds=1 + 503 ", Fault.latency(1.0) + Fault.status(503)),
        ("redirect:to=http://h:9/a?b=c+d", Fault.redirect(to="http://h:9/a?b=c+d")),
    ],
)
def test_text_is_parsed_and_written_back(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault
    assert Fault.parse(str(fault)) == fault


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_every_fault_can_be_named(name: str) -> None:
    fault = Fault.parse(name)
    assert str(fault) == ("status" if name == "status" else name)
    assert type(fault) is getattr(Fault, name)
    assert FAULTS[name].summary.endswith(".")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nope", r"Unknown fault 'nope'. Faults: ok, status, .*cut.*or a status such as 503"),
        ("", "Unknown fault ''"),
        ("cut+nope", "Unknown fault 'cut\\+nope'"),
        ("cut:at=3", r"'cut' has no option 'at'. It takes: after, rst."),
        ("reset:at=3", r"takes no options"),
        ("cut:after=many", r"after must be a whole number; got 'many'"),
        ("stall:seconds=many", r"seconds must be a number; got 'many'"),
        ("cut:rst=perhaps", r"rst must be true or false; got 'perhaps'"),
        ("messy:newline=tab", r"newline must be lf, cr, crlf or mixed; got 'tab'"),
        ("malformed:kind=x", r"kind must be one of status_line, "),
        ("199", r"code must be a status between 200 and 599; got 199"),
        ("600", r"code must be a status between 200 and 599; got 600"),
        ("latency:seconds=inf", r"seconds must be a number; got .inf."),
        ("cut:after=-1", r"after must not be negative"),
        ("latency:seconds=-1", r"seconds must not be negative"),
        ("drip:size=0", r"size must be at least 1"),
    ],
)
def test_wrong_text_says_what_would_be_right(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Fault.parse(text)


def test_only_faults_are_added() -> None:
    with pytest.raises(TypeError):
        _ = Fault.reset() + 3  # type: ignore[operator]
    three = Fault.gzip() + Fault.latency(1) + (Fault.cut() + Fault.split())
    assert str(three) == "gzip+latency+cut+split"
