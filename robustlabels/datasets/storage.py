"""How the published sets are stored: .npz files with images as residuals and texts as one array, and IDX files."""

import gzip
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlabels.image_files import PathLike


def read_arrays(data_home: PathLike | None, name: str) -> dict[str, NDArray[Any]]:
    """Read the arrays of ``name.npz`` in the data folder."""
    home = data_home if data_home is not None else os.environ.get("ROBUSTLABELS_DATA")
    way_out = "Set data_home= or the environment variable ROBUSTLABELS_DATA to the folder that holds the file."
    if not home:
        raise FileNotFoundError(f"{name}.npz cannot be read, because no data folder is set. {way_out}")
    path = Path(home).expanduser() / f"{name}.npz"
    if not path.is_file():
        source = "ROBUSTLABELS_DATA" if data_home is None else "data_home"
        raise FileNotFoundError(f"{name}.npz is not in {path.parent} (from {source}). {way_out}")
    # A file with pickled objects could run code while it is read.
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def read_idx_folder(folder: Path) -> dict[str, NDArray[Any]]:
    """Read Fashion-MNIST from the four gzipped IDX files in which it is published."""
    return {
        f"{letter}_{part}": _read_idx(folder / f"{prefix}-{kind}-ubyte.gz")
        for part, prefix in (("train", "train"), ("test", "t10k"))
        for letter, kind in (("x", "images-idx3"), ("y", "labels-idx1"))
    }


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of bytes.

    The format is two zeros, 8 for uint8, the number of axes, the lengths of the axes as big-endian int32, the values.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.name} is not in {path.parent} (from idx_folder). Set idx_folder= to the folder that holds the file."
        )
    with gzip.open(path) as stream:
        content = stream.read()
    header = np.frombuffer(content, ">i4", count=1 + content[3]) if content[:3] == b"\0\0\x08" else ()
    shape = tuple(int(length) for length in header[1:])
    if not shape or len(content) != 4 * len(header) + int(np.prod(shape)):
        raise ValueError(f"{path} is not a complete IDX file of bytes. Download it again.")
    return np.frombuffer(content, np.uint8, offset=4 * len(header)).reshape(shape).copy()


def decode_images(residuals: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Decode pixels from prediction residuals: (3, n, height, width) -> (n, 3, height, width), modulo 256.

    The planes are green, red - green and blue - green. In each plane, a pixel was predicted from its neighbors on the
    left, above and in the corner between them, as the median of left, above and left + above - corner (Weinberger et
    al., "The LOCO-I lossless image compression algorithm", 2000, eq. 1). Neighbors outside the image count as zero.
    """
    n_planes, n_images, height, width = residuals.shape
    planes = np.empty((n_planes, n_images, height, width), np.uint8)
    # A pixel needs its decoded neighbors, so only images can be processed at once. 2048 of them fit into the cache.
    for start in range(0, n_images, 2048):
        block = np.ascontiguousarray(residuals[:, start : start + 2048].transpose(2, 3, 0, 1))  # (h, w, planes, b)
        # The border of zeros on the left and above represents the neighbors outside the image.
        pixels = np.zeros((height + 1, width + 1, *block.shape[2:]), np.int16)
        for row in range(height):
            for column in range(width):
                corner, above, left = pixels[row, column], pixels[row, column + 1], pixels[row + 1, column]
                median = np.clip(left + above - corner, np.minimum(left, above), np.maximum(left, above))
                pixels[row + 1, column + 1] = (block[row, column] + median) & 255
        planes[:, start : start + 2048] = pixels[1:, 1:].transpose(2, 3, 0, 1)
    green, red, blue = planes
    return np.stack([red + green, green, blue + green], axis=1)


def decode_texts(blob: NDArray[np.uint8], offsets: NDArray[np.integer[Any]]) -> NDArray[np.object_]:
    """Decode n texts from their concatenated UTF-8 bytes and the n + 1 offsets at which they start and end."""
    content = blob.tobytes()
    texts = np.empty(len(offsets) - 1, dtype=object)
    texts[:] = [content[start:stop].decode() for start, stop in pairwise(offsets.tolist())]
    return texts


def as_labels(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return stored labels, which have the smallest dtype that holds them, as int64."""
    return values.astype(np.int64)


def as_names(values: NDArray[Any]) -> tuple[str, ...]:
    """Return stored names as a tuple of Python strings."""
    return tuple(values.tolist())
