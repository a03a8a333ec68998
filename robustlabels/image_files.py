"""Images on disk that behave as an array: :class:`ImagePaths` reads and decodes a batch at a time."""

import os
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import EllipsisType, ModuleType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

PathLike: TypeAlias = str | os.PathLike[str]
Rows: TypeAlias = int | np.integer[Any] | slice | EllipsisType | ArrayLike


EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


_CHANNELS = {"L": 1, "RGB": 3}


class ImagePaths:
    """Images on disk as an array: rows are picked without reading them, pixels are decoded a batch at a time.

    scikit-learn's splitters, searches and scorers take it as X. An image is turned upright as its camera recorded,
    converted to `mode`, scaled until its shorter side is `size` and cropped to the square in its center.

    Parameters
    ----------
    paths : array-like of str or Path, shape (n_images,)
        A list, array or Series of image files. They are not opened here.
    size : int, default=64
        Height and width of the decoded images.
    mode : {"RGB", "L"}, default="RGB"
        Color, 3 channels, or gray, 1 channel.

    Attributes
    ----------
    paths : ndarray of shape (n_images,), dtype object
        The files as str.
    shape : tuple
        (n_images, channels, size, size).
    dtype : dtype
        uint8.
    ndim : int
        4.

    Raises
    ------
    TypeError
        If `paths` is one path or holds something else than paths.
    ValueError
        If `paths` is not 1-D, or `size` or `mode` is not possible.

    Notes
    -----
    ``images[3]`` is the fourth image, decoded, of shape (channels, size, size); a slice, an array of row numbers or a
    mask gives another lazy `ImagePaths`; ``np.asarray(images)`` decodes everything. Pillow is needed to decode, not to
    pick. It raises an OSError that names the file if one cannot be read.

    Examples
    --------
    >>> from robustlabels.image_files import ImagePaths
    >>> images = ImagePaths(["cat/1.png", "cat/2.png", "dog/1.png"], size=32)
    >>> images.shape
    (3, 3, 32, 32)
    >>> images[[2, 0]].paths
    array(['dog/1.png', 'cat/1.png'], dtype=object)
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, paths: Iterable[PathLike], size: int = 64, mode: str = "RGB") -> None:
        self.paths = _as_paths(paths)
        self.size = check_size(size)
        self.mode = check_mode(mode)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n_images, channels, size, size)."""
        return len(self.paths), _CHANNELS[self.mode], self.size, self.size

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"ImagePaths({len(self)} images, size={self.size}, mode={self.mode!r})"

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):  # scikit-learn asks for array[rows, ...]
            key, *rest = key
            if any(part is not Ellipsis and not (isinstance(part, slice) and part == slice(None)) for part in rest):
                raise IndexError("ImagePaths is indexed by rows only; take read(rows) first to index pixels.")
        if isinstance(key, int | np.integer):
            return self.read(key)[0]
        return ImagePaths(self.paths[_row_key(key)], size=self.size, mode=self.mode)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("ImagePaths holds no pixels to share: np.asarray(images, copy=False) is not possible.")
        return self.read(slice(None)).astype(self.dtype if dtype is None else dtype, copy=False)

    def read(self, index: Rows) -> NDArray[np.uint8]:
        """Decode some rows.

        Parameters
        ----------
        index : int, slice, array of int or mask
            The rows, as for an array.

        Returns
        -------
        ndarray of shape (n_rows, channels, size, size), dtype uint8
            The images; one row, if `index` is an int.

        Raises
        ------
        OSError
            If a file is missing or cannot be decoded; the message names it.
        ImportError
            If Pillow is not installed.
        """
        picked = np.atleast_1d(self.paths[_row_key(index)])
        images = np.empty((len(picked), *self.shape[1:]), np.uint8)
        for row, path in enumerate(picked):
            images[row] = _decode_file(path, self.size, self.mode)
        return images


def _pillow(part: str) -> ModuleType:
    """Import one of Pillow's modules."""
    try:
        return import_module(f"PIL.{part}")
    except ImportError as error:
        raise ImportError('Images need Pillow: pip install "robustlabels[images]".') from error


def open_image(path: str) -> Any:
    """Open an image whose header is read and whose pixels are not."""
    try:
        return _pillow("Image").open(path)
    except FileNotFoundError:
        raise  # it names the file
    except Exception as error:  # Pillow's plugins raise many types on a damaged header
        raise _unreadable(path, error) from error


def _decode_file(path: str, size: int, mode: str) -> NDArray[np.uint8]:
    """Decode one file to (channels, size, size): upright, converted, shorter side scaled, center cropped."""
    pil, ops = _pillow("Image"), _pillow("ImageOps")
    with open_image(path) as image:
        try:
            image.draft(mode, (2 * size, 2 * size))  # a large JPEG is decoded at a half, quarter or eighth of its size
            upright = ops.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip at 255
                upright = pil.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            pixels = np.asarray(ops.fit(upright.convert(mode), (size, size)))
        except Exception as error:
            raise _unreadable(path, error) from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def is_decodable(path: str, size: int, mode: str) -> bool:
    """Decode a file for good: Pillow's own verify() lets a JPEG pass that was cut off."""
    try:
        _decode_file(path, size, mode)
    except OSError:
        return False
    return True


def check_size(size: int) -> int:
    """Raise unless ``size`` is a whole number of pixels, at least 1."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(f"size must be a number of pixels >= 1, got {size!r}.")
    return int(size)


def check_mode(mode: str) -> str:
    """Raise unless ``mode`` is "RGB" or "L"."""
    if mode not in _CHANNELS:
        raise ValueError(f'mode must be "RGB" or "L", got {mode!r}.')
    return mode


def _unreadable(path: str, error: Exception) -> OSError:
    return OSError(f"{path} is not a readable image ({error}): remove it, or load its folder with skip_corrupt=True.")


def files_below(folder: Path) -> list[str]:
    """All files in a folder and the folders below it, sorted, without hidden ones."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _as_paths(paths: Iterable[PathLike]) -> NDArray[np.object_]:
    """1-D object array of str, never the caller's own."""
    if isinstance(paths, str | os.PathLike):
        raise TypeError(f"paths must be a list of image files, got the single path {os.fspath(paths)!r}.")
    shape = getattr(paths, "shape", (0,))
    if len(shape) != 1:
        raise ValueError(f"paths must be 1-D, got shape {shape}.")
    names: list[str] = []
    for path in paths:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"paths must hold str or Path, got {path!r} in row {len(names)}.")
        names.append(str(os.fspath(path)))  # str() makes numpy's str_ a plain one
    array = np.empty(len(names), dtype=object)
    array[:] = names
    return array


def _row_key(key: Any) -> Any:
    """Return a key that numpy understands: a slice, an int or an array, an empty list being an array of no rows."""
    if isinstance(key, slice | EllipsisType | int | np.integer):
        return key
    rows = np.asarray(key)
    return rows if rows.size else rows.astype(np.intp)


def shorten(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
