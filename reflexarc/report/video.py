"""H.264 films of rendered frames, and text on them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
WIDTH, HEIGHT, RATE_HZ = 960, 540, 25
# Constant quality of libx264, 0 (perfect) to 51; a key frame every four seconds makes seeking quick.
_QUALITY, _PRESET, _KEY_FRAME_S = 25, "veryfast", 4

# What a box of text may say: neutral, good, warning, alarm.
NEUTRAL, GOOD, WARNING, ALARM = (20, 27, 36), (18, 92, 58), (140, 92, 8), (160, 28, 38)
_INK = (255, 255, 255)
_OPACITY = 0.74
_PADDING = 9


def poster_path(film: Path) -> Path:
    """Where the picture of a film is."""
    return film.with_suffix(".jpg")


class Mp4Writer:
    """Writes frames to an MP4 file that every browser plays; a context manager.

    Args:
        path: the file; made anew.
    """

    def __init__(self, path: Path) -> None:
        """Remember the path."""
        self._path = path
        self._last: Image | None = None

    def __enter__(self) -> Self:
        """Open the file."""
        import av

        self._container = av.open(str(self._path), "w", options={"movflags": "+faststart"})
        stream: Any = self._container.add_stream("libx264", rate=RATE_HZ)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE_HZ)
        stream.codec_context.gop_size = RATE_HZ * _KEY_FRAME_S
        stream.options = {"crf": str(_QUALITY), "preset": _PRESET}
        self._stream = stream
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file; one that was given up is removed."""
        if kind is None:
            for packet in self._stream.encode(None):
                self._container.mux(packet)
        self._container.close()
        if kind is not None:
            self._path.unlink(missing_ok=True)

    def add(self, frame: Image) -> None:
        """Append one frame, shape (HEIGHT, WIDTH, 3), red, green, blue."""
        import av

        for packet in self._stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
            self._container.mux(packet)
        self._last = frame

    def keep_poster(self) -> None:
        """Write the last frame beside the film, as JPEG, for a page to show before the film plays."""
        from PIL import Image as Pillow

        if self._last is not None:
            Pillow.fromarray(self._last).save(poster_path(self._path), quality=82)

    def hold(self, duration_s: float) -> None:
        """Repeat the last frame for a while."""
        if self._last is not None:
            for _ in range(round(duration_s * RATE_HZ)):
                self.add(self._last)


@dataclass(frozen=True)
class Label:
    """A line of text in a box."""

    # What it says.
    text: str
    # Left or right edge of the box, and its top, pixels.
    x: int
    y: int
    # Size of the letters, pixels.
    size: int = 19
    # Colour of the box.
    colour: tuple[int, int, int] = NEUTRAL
    # Whether `x` is the right edge.
    from_right: bool = False


def write_labels(frame: Image, labels: list[Label]) -> None:
    """Write text on a frame, in place."""
    for label in labels:
        box = _box(label.text, label.size, label.colour)
        height, width = box.shape[:2]
        x = label.x - width if label.from_right else label.x
        area = frame[label.y : label.y + height, x : x + width]
        box = box[: area.shape[0], : area.shape[1]]
        alpha = box[..., 3:].astype(np.float32) / 255.0
        area[:] = (area * (1.0 - alpha) + box[..., :3] * alpha).astype(np.uint8)


@cache
def _font(size: int) -> Any:  # noqa: ANN401
    from PIL import ImageFont

    return ImageFont.load_default(size)


_cache: dict[tuple[str, int, tuple[int, int, int]], Image] = {}


def _box(text: str, size: int, colour: tuple[int, int, int]) -> Image:
    """A box with text, shape (h, w, 4); the same box again costs nothing."""
    key = (text, size, colour)
    found = _cache.get(key)
    if found is not None:
        return found
    from PIL import Image as Pillow
    from PIL import ImageDraw

    font = _font(size)
    ascent, descent = font.getmetrics()
    width = round(font.getlength(text)) + 2 * _PADDING
    height = ascent + descent + _PADDING
    image = Pillow.new("RGBA", (width, height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, width - 1, height - 1), 6, fill=(*colour, round(255 * _OPACITY)))
    draw.text((_PADDING, _PADDING // 2), text, font=font, fill=(*_INK, 255))
    if len(_cache) > 512:
        _cache.clear()
    box = _cache[key] = np.array(image)
    return box
