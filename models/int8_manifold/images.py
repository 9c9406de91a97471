"""Images that are made here, and their two codes in integers: ON and OFF nodes of pixels, and pooled Gabor responses.

Model: the paper's images, filters and codes are unknown. 8192 is taken for 64 x 64 pixels, ON and OFF, and 4096 for
16 x 16 places of 8 orientations and 2 phases.
"""

from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from simcore import Work

Kind = Literal["white", "pink", "shapes"]
Array = NDArray[Any]
SIDE, STEP, POOL, TAPS = 64, 2, 2, 9
ORIENTATIONS, PHASES = 8, 2
SPATIAL, STRUCTURAL = 2 * SIDE**2, (SIDE // (STEP * POOL)) ** 2 * ORIENTATIONS * PHASES
"""Nodes of the two codes: 8192 and 4096."""
BAND = 4
"""Grey levels by which a pixel must differ from the mean of its image to fire."""


def draw(kind: Kind, rng: np.random.Generator) -> Array:
    """Return an image int8 [64, 64]: white noise; noise whose amplitude falls as 1 / frequency (pink); or twelve flat
    rectangles and discs on one another (shapes)."""
    if kind == "shapes":
        return _shapes(rng)
    noise = rng.standard_normal((SIDE, SIDE))
    if kind == "pink":
        rows, columns = np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None, :]
        radius = np.hypot(rows, columns)
        radius[0, 0] = np.inf
        noise = np.fft.ifft2(np.fft.fft2(noise) / radius).real
    return np.clip(np.rint(40 * noise / noise.std()), -127, 127).astype(np.int8)


def _shapes(rng: np.random.Generator) -> Array:
    image = np.zeros((SIDE, SIDE), np.int8)
    row, column = np.indices(image.shape)
    for _ in range(12):
        top, left, high, wide = rng.integers(0, SIDE, 2).tolist() + rng.integers(8, 32, 2).tolist()
        if rng.random() < 0.5:
            inside = (abs(row - top) < high // 2) & (abs(column - left) < wide // 2)
        else:
            inside = (row - top) ** 2 + (column - left) ** 2 < (high // 2) ** 2
        image[inside] = rng.integers(-100, 101)
    return image


def spatial(image: Array) -> tuple[Array, Work]:
    """Return the code int8 [8192] of ``image``, and the work: 1 for pixels above its mean by more than the band (ON
    nodes, first), and for pixels as far below it (OFF nodes).

    A pixel is added up once, for the mean, and compared twice.
    """
    plain = np.asarray(image)
    total = plain.astype(np.int32) * plain.size - int(plain.sum(dtype=np.int64))
    on, off = total > BAND * plain.size, total < -BAND * plain.size
    code = np.concatenate((on.ravel(), off.ravel())).astype(np.int8)
    return code, Work({"vote": 3 * image.size}, {"sram": 2 * image.nbytes}, {"sram": code.nbytes}, launches=1)


def taps() -> Array:
    """Return the filters int8 [8, 2, 9, 9]: Gabor functions of wavelength 6 pixels under a Gaussian of deviation 2,
    even and odd, in sixteenths, each without mean."""
    y, x = np.mgrid[-(TAPS // 2) : TAPS // 2 + 1, -(TAPS // 2) : TAPS // 2 + 1]
    found = np.zeros((ORIENTATIONS, PHASES, TAPS, TAPS), np.int8)
    for k in range(ORIENTATIONS):
        along = x * np.cos(np.pi * k / ORIENTATIONS) + y * np.sin(np.pi * k / ORIENTATIONS)
        window = np.exp(-(x**2 + y**2) / 8)
        for phase in range(PHASES):
            wave = np.cos(2 * np.pi * along / 6 - phase * np.pi / 2) * window
            filtered = np.rint(16 * (wave - window * wave.sum() / window.sum())).astype(np.int8)
            filtered[TAPS // 2, TAPS // 2] -= filtered.sum()
            found[k, phase] = filtered
    return found


def structural(image: Array, filters: Array) -> tuple[Array, Work]:
    """Return the code int8 [4096] of ``image``, and the work: of every 2 x 2 responses, 2 pixels apart, the sign of the
    largest by magnitude, 0 where that is below a quarter of the largest of all; [place, orientation, phase].

    A tap is a multiplication and an addition, in integers.
    """
    padded = np.pad(np.asarray(image).astype(np.int32), TAPS // 2, mode="edge")
    windows = sliding_window_view(padded, (TAPS, TAPS))[::STEP, ::STEP]
    flat = np.asarray(filters).reshape(ORIENTATIONS * PHASES, -1).astype(np.int32)
    responses = windows.reshape(-1, TAPS * TAPS).astype(np.int32) @ flat.T
    side = SIDE // (STEP * POOL)
    blocks = responses.reshape(side, POOL, side, POOL, -1).transpose(0, 2, 4, 1, 3).reshape(side * side, -1, POOL**2)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)[..., 0]
    code = np.where(4 * np.abs(largest) >= np.abs(largest).max(), np.sign(largest), 0).astype(np.int8).ravel()
    operations = 2 * responses.size * TAPS * TAPS
    work = Work({"int8": operations}, {"sram": image.nbytes + filters.nbytes}, {"sram": code.nbytes}, launches=1)
    return code, work


def centred(code: Array, gain: int) -> Array:
    """Return what ``code`` writes, int8 [nodes]: ``gain`` times its distance from its mean, rounded."""
    total = code.astype(np.int64) * len(code) - int(code.sum(dtype=np.int64))
    return ((2 * gain * total + len(code)) // (2 * len(code))).astype(np.int8)
