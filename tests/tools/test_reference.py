"""Protects the generator of the reference tables: it replaces what is between marks, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import reference  # noqa: E402, a script beside the packages

TABLE = "<!-- begin: fields recording.sampling:SamplingConfig -->\n"


def test_an_empty_block_is_filled_and_what_follows_stays():
    page = f"# One\n\n{TABLE}<!-- end -->\n\n# Two\n\n{TABLE}left over\n<!-- end -->\n\nlast\n"
    made = reference.fill(page)
    assert made.count("| `fps` |") == 2
    assert "left over" not in made
    assert made.endswith("<!-- end -->\n\nlast\n")
    assert "\n# Two\n" in made
    assert reference.fill(made) == made


@pytest.mark.parametrize(
    "page",
    [
        f"{TABLE}\n# Two\n\n{TABLE}left over\n<!-- end -->\n",
        f"{TABLE}\n# Two\n",
        "<!-- begin: fields recording.sampling:SamplingConfig --><!-- end -->\n",
    ],
)
def test_a_block_without_an_end_swallows_nothing(page):
    with pytest.raises(ValueError, match="begin: fields .*no line '<!-- end -->' before the next block"):
        reference.fill(page)
