"""Meshes light enough for software rendering: merged, decimated and kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Part of the cache key: raise it when the way of decimating changes.
_VERSION = 2
# The size of the cell in which vertices become one, as a share of the mesh's longest side.
_WELD = 0.006


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh."""

    # Corner positions, shape (V, 3), float32, in the unit of the file.
    vertices: NDArray[np.float32]
    # Corner numbers of each triangle, shape (F, 3), int32.
    faces: NDArray[np.int32]


def cache_directory() -> Path:
    """Find the user's cache folder.

    Returns:
        $XDG_CACHE_HOME/reflexarc/meshes, or the same below ~/.cache; it need not exist.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(root) if root and Path(root).is_absolute() else Path.home() / ".cache"
    return base / "reflexarc" / "meshes"


def decimated(path: Path, *, target_faces: int) -> Mesh:
    """Load a mesh file with at most about so many triangles, from the cache when it is there.

    Args:
        path: an STL, OBJ or other file that trimesh reads.
        target_faces: the number of triangles to aim at; a lighter mesh stays as it is.

    Returns:
        The mesh. A cache that cannot be read or written costs time, never an error.
    """
    key = hashlib.sha256(f"{_VERSION} {target_faces} ".encode() + path.read_bytes()).hexdigest()[:32]
    entry = cache_directory() / f"{path.stem}-{key}.npz"
    mesh = _load(entry)
    if mesh is None:
        mesh = _decimate(path, target_faces)
        _store(mesh, entry)
    return mesh


def _decimate(path: Path, target_faces: int) -> Mesh:
    import fast_simplification
    import trimesh

    loaded = trimesh.load(path, force="mesh", process=True)
    vertices, faces = _weld(np.asarray(loaded.vertices, np.float64), np.asarray(loaded.faces, np.int64))
    if len(faces) > target_faces:
        vertices, faces = fast_simplification.simplify(vertices, faces, target_count=target_faces)
    return Mesh(np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32))


def _weld(
    vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    # CAD exports are full of slivers round holes and fillets, which edge collapse refuses to touch
    # (it stops at a third of the triangles). Vertices that share a small cell become one.
    extent = float(np.ptp(vertices, axis=0).max())
    cells = np.round(vertices / (extent * _WELD)).astype(np.int64)
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    cell = cell.ravel()
    counts = np.bincount(cell)
    middles = np.stack([np.bincount(cell, vertices[:, axis]) / counts for axis in range(3)], axis=1)
    welded = cell[faces]
    first, second, third = welded.T
    welded = welded[(first != second) & (second != third) & (third != first)]
    # Triangles that fell onto each other count once.
    _, kept = np.unique(np.sort(welded, axis=1), axis=0, return_index=True)
    return middles.astype(np.float32), welded[np.sort(kept)].astype(np.int32)


def _load(entry: Path) -> Mesh | None:
    try:
        with np.load(entry, allow_pickle=False) as arrays:
            return Mesh(arrays["vertices"], arrays["faces"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _store(mesh: Mesh, entry: Path) -> None:
    temporary = ""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        # Two processes may write at once: each writes its own file, the rename is atomic.
        handle, temporary = tempfile.mkstemp(dir=entry.parent, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, vertices=mesh.vertices, faces=mesh.faces)
        os.replace(temporary, entry)
    except OSError:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
