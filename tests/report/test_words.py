"""How figures are written."""

from __future__ import annotations

import pytest

from gradiometer.audit.schema import Estimate, Meter, MeterLayer
from gradiometer.report import figures, words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234, "1,234"),
        (0.01234, "0.0123"),
        (0.250, "0.25"),
        (12345678, "1.23e+07"),
        (-3.5, "-3.5"),
        (1e-7, "1.00e-07"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert figures.number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0"), (1, "100"), (0.5, "50"), (0.074, "7.4"), (0.04, "4"), (0.0004, "<0.1"), (0.9999, ">99.9"),
        (0.996, "99.6"), (0.1, "10"), (0.123, "12"), (-0.2, "-20"), (1 - 1e-16, "100"),
    ],
)  # fmt: skip
def test_percent_never_rounds_to_nothing_or_all(share: float, text: str) -> None:
    assert figures.percent(share) == f"{text}\u00a0%"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0123, "12 ms"),
        (3.25, "3.2 s"),
        (59.9, "59.9 s"),
        (75, "1 min 15 s"),
        (120, "2 min"),
        (3700, "1 h 1 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert figures.duration(seconds).replace("\u00a0", " ") == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1_234_567, "1.23 MB"), (10**15, "1,000 TB")])
def test_size(count: int, text: str) -> None:
    assert figures.size(count).replace("\u00a0", " ") == text


def test_what_was_not_measured_is_marked_everywhere() -> None:
    for write in (
        figures.number,
        figures.percent,
        figures.duration,
        figures.size,
        figures.count,
        figures.decibel,
        figures.share_interval,
    ):
        assert write(None) == figures.MISSING


def test_intervals_name_their_n() -> None:
    text = figures.share_interval(Estimate(value=0.25, lower=0.1, upper=0.5, n=12)).replace("\u00a0", " ")
    assert text == "25 % [10 %, 50 %], n = 12"


def test_no_character_steers_the_terminal() -> None:
    assert words.clean("a\x1b[31mb\u202ec\x00d\n\te") == "a\ufffd[31mb\ufffdc\ufffdd\n\te"
    assert words.one_line("a\n  b\u00a0c") == "a b\u00a0c"


@pytest.mark.parametrize(
    ("level", "threshold", "reached"),
    [
        ("high", "high", True),
        ("critical", "high", True),
        ("medium", "high", False),
        ("none", "low", False),
        ("critical", "never", False),
    ],
)
def test_thresholds(level: str, threshold: str, reached: bool) -> None:
    assert words.at_least(level, threshold) is reached  # type: ignore[arg-type]


def test_a_meter_that_foresees_noise_says_how_much() -> None:
    told = "exact reconstruction is predicted; it should survive noise of 0.0004 of the gradient’s root mean square"
    assert words.meter_line(Meter(verdict="exact", noise=(0.00043, 0.02))) == f"{told} and end by 0.02"
    assert words.meter_line(Meter(verdict="exact", noise=(0.00043, 0.00043))) == f"{told} and no more"


def test_the_meter_in_words() -> None:
    layer = MeterLayer(where="layer4.1.conv2", shape=[512, 4, 4], unknowns=64, missing=0, rank=64, gap=30000.4)
    read = Meter(verdict="exact", examples=4, layers=[layer])
    assert words.meter_line(read) == (
        "exact reconstruction is predicted; a batch of 4, read off rank 64 of layer4.1.conv2 (gap 30,000)"
    )
    descended = read.model_copy(update={"reason": "conv1 has 9 equations a channel too few"})
    assert words.meter_line(descended).endswith("; conv1 has 9 equations a channel too few: from there by descent")
    assert words.meter_line(Meter(verdict="partial", reason="pool")) == "upper layers only are determined: pool"
    assert words.meter_line(Meter(verdict="not")) == "nothing is determined"
