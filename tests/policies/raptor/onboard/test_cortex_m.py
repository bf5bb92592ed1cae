"""Protects the Cortex-M4F build: it computes the same, in the instructions and bytes that are allowed."""

import pytest

from policies.raptor import onboard_build

MISSING = onboard_build.missing_arm_packages()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"for a Cortex-M4F: apt install {MISSING}")


def test_the_exported_test_passes_on_a_cortex_m(exported, tmp_path):
    text = onboard_build.prove_cortex_m(exported, tmp_path, options=("-O2",))
    assert "ok    the example is reproduced" in text
    assert text.endswith("passed\n")


def test_a_failed_check_ends_the_emulator_with_an_error(exported, tmp_path):
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    for name in ("raptor_policy.h", "raptor_policy.c", "raptor_test.c"):
        text = (exported / name).read_text()
        (spoilt / name).write_text(text.replace("update * hidden[i]", "0.999f * update * hidden[i]"))
    with pytest.raises(onboard_build.ConfigError, match="FAIL  the example is reproduced"):
        onboard_build.prove_cortex_m(spoilt, tmp_path, options=("-O2",))


@pytest.mark.parametrize("options", [("-Os",), ("-O2",)], ids=" ".join)
def test_instructions_and_bytes(exported, tmp_path, options):
    timing = onboard_build.measure_cortex_m(exported, tmp_path, options=options, steps=200)
    assert timing.unit == "instructions"
    assert 2_000 < timing.minimum <= timing.maximum <= 20_000
    weight = onboard_build.measure_footprint(exported, tmp_path, options=options)
    # The weights alone are 8 KiB.
    assert 8_192 < weight.flash_bytes <= 16 * 1024
    assert timing.state_bytes < weight.ram_bytes <= 1024
    assert 400 < weight.stack_bytes <= 1024
