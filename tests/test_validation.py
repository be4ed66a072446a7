"""Errors name the value, what is allowed, and the nearest valid choice."""

import pytest

from eureka_lib.validation import check_choice, check_divides, check_real, check_whole


def test_good_values_come_back():
    assert check_choice("colour", "red", ["red", "blue"]) == "red"
    assert check_whole("seed", 3) == 3
    assert check_real("rate", 0.5, 0, 1) == 0.5
    assert check_divides("patch", 4, "image size", 16) is None


def test_choice():
    with pytest.raises(ValueError, match="unknown colour 'rde': allowed are blue, red; did you mean 'red'"):
        check_choice("colour", "rde", ["red", "blue"])
    with pytest.raises(ValueError, match="unknown colour None: allowed are blue, red$"):
        check_choice("colour", None, ["red", "blue"])


@pytest.mark.parametrize("value", ["3", 3.0, None, True])
def test_whole_refuses_other_types(value):
    with pytest.raises(TypeError, match="seed must be a whole number >= 0"):
        check_whole("seed", value)


@pytest.mark.parametrize(("value", "near"), [(2e3, 2000), (2.6, 3), (-4.0, 1)])
def test_a_number_that_is_not_whole_is_answered_with_the_nearest(value, near):
    with pytest.raises(TypeError, match=rf"of type float; did you mean {near}\?"):
        check_whole("steps", value, 1)


def test_ranges_name_the_nearest():
    with pytest.raises(ValueError, match="got -1; the nearest valid value is 0"):
        check_whole("seed", -1)
    with pytest.raises(ValueError, match="got 2; the nearest valid value is 1"):
        check_real("rate", 2, 0, 1)
    with pytest.raises(ValueError, match="got nan"):
        check_real("rate", float("nan"), 0, 1)
    with pytest.raises(TypeError, match="rate must be a number"):
        check_real("rate", "fast", 0, 1)


def test_divides_names_the_divisors():
    with pytest.raises(
        ValueError, match="patch 6 does not divide image size 16: allowed are 1, 2, 4, 8, 16; the nearest"
    ):
        check_divides("patch", 6, "image size", 16)
