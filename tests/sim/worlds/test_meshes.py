"""Protects the visual meshes: light, still the same shape, cached, and never a reason to fail."""

import numpy as np
import pytest

from sim.worlds import meshes


@pytest.fixture
def sphere(tmp_path, monkeypatch):
    """A finely meshed ball as an STL, in which every triangle has its own three corners."""
    import trimesh

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "ball.stl"
    trimesh.creation.icosphere(subdivisions=4, radius=0.05).export(path)
    return path


def forbid(path, target_faces):
    raise AssertionError("decimated again")


def test_a_mesh_gets_light_and_keeps_its_shape(sphere):
    mesh = meshes.decimated(sphere, target_faces=300)
    assert 200 <= len(mesh.faces) <= 300
    assert mesh.vertices.dtype == np.float32
    assert mesh.faces.dtype == np.int32
    radii = np.linalg.norm(mesh.vertices, axis=1)
    assert abs(radii - 0.05).max() < 0.003
    # Closed: every edge belongs to two triangles.
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 2).all()


def test_a_light_mesh_keeps_its_triangles(sphere):
    import trimesh

    trimesh.creation.box((1.0, 1.0, 1.0)).export(sphere)
    assert len(meshes.decimated(sphere, target_faces=300).faces) == 12


def test_the_second_time_comes_from_the_cache(sphere, monkeypatch):
    first = meshes.decimated(sphere, target_faces=300)
    monkeypatch.setattr(meshes, "_decimate", forbid)
    second = meshes.decimated(sphere, target_faces=300)
    np.testing.assert_array_equal(first.vertices, second.vertices)
    np.testing.assert_array_equal(first.faces, second.faces)


def test_another_target_or_another_file_is_another_entry(sphere, monkeypatch):
    meshes.decimated(sphere, target_faces=300)
    monkeypatch.setattr(meshes, "_decimate", forbid)
    with pytest.raises(AssertionError, match="decimated again"):
        meshes.decimated(sphere, target_faces=299)
    sphere.write_bytes(
        sphere.read_bytes()[:80] + sphere.read_bytes()[80:].replace(b"\x00\x00", b"\x00\x01", 1)
    )
    with pytest.raises(AssertionError, match="decimated again"):
        meshes.decimated(sphere, target_faces=300)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 torn off", b"not a zip"])
def test_a_damaged_entry_is_made_anew(sphere, damage):
    first = meshes.decimated(sphere, target_faces=300)
    (entry,) = meshes.cache_directory().glob("*.npz")
    entry.write_bytes(damage)
    again = meshes.decimated(sphere, target_faces=300)
    np.testing.assert_array_equal(first.faces, again.faces)
    with np.load(entry) as arrays:
        np.testing.assert_array_equal(arrays["faces"], first.faces)


def test_a_cache_that_cannot_be_written_costs_only_time(sphere, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert len(meshes.decimated(sphere, target_faces=300).faces) <= 300


def test_no_temporary_file_is_left(sphere):
    meshes.decimated(sphere, target_faces=300)
    assert [path.suffix for path in meshes.cache_directory().iterdir()] == [".npz"]


def test_a_relative_cache_home_is_ignored_as_the_xdg_rules_say(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert meshes.cache_directory() == tmp_path / ".cache" / "reflexarc" / "meshes"
