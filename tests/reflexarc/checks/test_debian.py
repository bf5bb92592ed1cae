"""Protects the verdicts on system packages."""

from reflexarc.checks import debian
from reflexarc.checks.finding import Level


def test_missing_packages_are_named_with_what_needs_them():
    findings = debian.check_packages({"libegl1": False, "libgl1": True, "libxml2-utils": False})
    assert [f.level for f in findings] == [Level.WARN, Level.WARN]
    assert findings[0].sentence == "Not here: libegl1, which the twin's pictures and videos need."
    assert findings[0].mend == "install libegl1; `make setup` does it when run as root"
    assert findings[0].commands == ("sudo apt-get install -y libegl1",)
    assert findings[1].sentence == "Not here: libxml2-utils, which `make test` needs."


def test_list_is_that_of_the_set_up(tmp_path, only):
    packages = debian.read_packages()
    assert {"libegl1", "libegl-mesa0"} <= set(packages)
    assert only(debian.check_packages(dict.fromkeys(packages, True)), Level.OK)
    assert debian.read_packages(tmp_path / "none.py") is None
    assert "Not a clone" in only(debian.check_packages(None), Level.OK).sentence
