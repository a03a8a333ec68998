"""Images on disk that behave like an array: :class:`ImagePaths` reads and decodes a batch at a time."""

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
    """Images on disk as an array: rows are selected without reading them, and pixels are decoded a batch at a time.

    scikit-learn's splitters, searches and scorers take it as X. Each image is rotated as its camera recorded, converted
    to `mode`, scaled until its shorter side is `size`, and cropped to the square in its center.

    Parameters
    ----------
    paths : array-like of str or Path, shape (n_images,)
        A list, array or Series of image files, which the constructor does not open.
    size : int, default=64
        Height and width of the decoded images.
    mode : {"RGB", "L"}, default="RGB"
        Color (3 channels) or gray (1 channel).

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
        If `paths` is a single path or holds anything but paths.
    ValueError
        If `paths` is not 1-D, or if `size` or `mode` is out of range.

    Notes
    -----
    ``images[3]`` is the fourth image, decoded, of shape (channels, size, size). A slice, an array of row numbers or a
    mask gives another lazy `ImagePaths`. ``np.asarray(images)`` decodes all images. Decoding needs Pillow, but
    selecting rows does not. If a file cannot be read, decoding raises an OSError that names it.

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
        if isinstance(key, tuple):  # scikit-learn indexes with array[rows, ...].
            key, *rest = key
            if any(part is not Ellipsis and not (isinstance(part, slice) and part == slice(None)) for part in rest):
                raise IndexError("ImagePaths is indexed by rows only; call read(rows) first to index pixels.")
        if isinstance(key, int | np.integer):
            return self.read(key)[0]
        return ImagePaths(self.paths[_row_key(key)], size=self.size, mode=self.mode)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError(
                "np.asarray(images, copy=False) is not possible, because ImagePaths holds no pixels to share; "
                "leave copy=False out."
            )
        return self.read(slice(None)).astype(self.dtype if dtype is None else dtype, copy=False)

    def read(self, index: Rows) -> NDArray[np.uint8]:
        """Decode some rows.

        Parameters
        ----------
        index : int, slice, array of int or mask
            The rows, as in the index of an array.

        Returns
        -------
        ndarray of shape (n_rows, channels, size, size), dtype uint8
            The images. An int gives an array of one row.

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
    """Open an image, which reads its header but not its pixels."""
    try:
        return _pillow("Image").open(path)
    except FileNotFoundError:
        raise  # The message names the file.
    except Exception as error:  # Pillow's plugins raise exceptions of many types for a damaged header.
        raise _unreadable(path, error) from error


def _decode_file(path: str, size: int, mode: str) -> NDArray[np.uint8]:
    """Decode one file to (channels, size, size): rotate, convert, scale the shorter side and crop the center."""
    pil, ops = _pillow("Image"), _pillow("ImageOps")
    with open_image(path) as image:
        try:
            # A large JPEG is decoded at a half, a quarter or an eighth of its size, which is much faster.
            image.draft(mode, (2 * size, 2 * size))
            upright = ops.exif_transpose(image)
            if upright.mode.startswith("I"):  # Pixels have 16 bits, which convert() would clip at 255.
                upright = pil.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            pixels = np.asarray(ops.fit(upright.convert(mode), (size, size)))
        except Exception as error:
            raise _unreadable(path, error) from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def is_decodable(path: str, size: int, mode: str) -> bool:
    """Return whether a file can be decoded, by decoding it."""
    # Pillow's own verify() does not notice that a JPEG was cut off.
    try:
        _decode_file(path, size, mode)
    except OSError:
        return False
    return True


def check_size(size: int) -> int:
    """Return ``size`` as an int, or raise ValueError unless it is a whole number of pixels, at least 1."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(f"size must be a whole number of pixels, at least 1, got {size!r}.")
    return int(size)


def check_mode(mode: str) -> str:
    """Return ``mode``, or raise ValueError unless it is "RGB" or "L"."""
    if mode not in _CHANNELS:
        raise ValueError(f'mode must be "RGB" or "L", got {mode!r}.')
    return mode


def _unreadable(path: str, error: Exception) -> OSError:
    return OSError(f"{path} is not a readable image ({error}). Remove it, or load its folder with skip_corrupt=True.")


def files_below(folder: Path) -> list[str]:
    """Return all files in a folder and its subfolders, sorted, without hidden ones."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _as_paths(paths: Iterable[PathLike]) -> NDArray[np.object_]:
    """Return paths as a new 1-D array of str with dtype object."""
    if isinstance(paths, str | os.PathLike):
        raise TypeError(
            f"paths must be a list of image files, got the single path {os.fspath(paths)!r}; put it into a list, or "
            "load a folder with load_image_folder."
        )
    shape = getattr(paths, "shape", (0,))
    if len(shape) != 1:
        raise ValueError(f"paths must be 1-D, got shape {shape}; flatten it with paths.ravel().")
    names: list[str] = []
    for path in paths:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"paths must hold str or Path, got {path!r} in row {len(names)}.")
        names.append(str(os.fspath(path)))  # str() turns numpy's str_ into a Python string.
    array = np.empty(len(names), dtype=object)
    array[:] = names
    return array


def _row_key(key: Any) -> Any:
    """Return a key that numpy takes: a slice, an int or an array."""
    if isinstance(key, slice | EllipsisType | int | np.integer):
        return key
    # An empty list would become an array of floats, which is not a valid index.
    rows = np.asarray(key)
    return rows if rows.size else rows.astype(np.intp)


def shorten(names: list[str]) -> str:
    """Return the first ten names as text, and the number of further ones."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
