"""Two systems on one machine never share a domain, and one that is given back leaves no files."""

import pytest
from reflexarc_ros import domain
from reflexarc_ros.domain import OwnDomain

from hardware import ConfigError


def test_domains_that_are_open_together_differ():
    with OwnDomain() as first, OwnDomain() as second:
        assert first.id != second.id


def test_a_domain_can_be_claimed_again_when_it_is_given_back(monkeypatch):
    monkeypatch.setattr(domain, "_LAST", domain._FIRST)
    for _ in range(2):
        with OwnDomain() as only:
            assert only.id == domain._FIRST
            with pytest.raises(ConfigError, match="all domain ids from 20 to 20 are claimed"), OwnDomain():
                pass


def test_what_fast_dds_forgot_of_this_domain_is_removed_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(domain, "_SHARED_MEMORY", tmp_path)
    with OwnDomain() as own:
        first = 7400 + 250 * own.id
        mine = [
            f"fastrtps_port{first + 11}",
            f"fastrtps_port{first + 13}_el",
            f"sem.fastrtps_port{first}_mutex",
        ]
        others = [
            f"fastrtps_port{first - 1}",
            f"fastrtps_port{first + 250}",
            "fastrtps_port7000",
            "fastrtps_ab_el",
        ]
        for name in (*mine, *others):
            (tmp_path / name).touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
