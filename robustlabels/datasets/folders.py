"""Images sorted into one folder per class."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustlabels.image_files import (
    EXTENSIONS,
    ImagePaths,
    PathLike,
    check_mode,
    check_size,
    files_below,
    is_decodable,
    open_image,
    shorten,
)


def load_image_folder(
    folder: PathLike,
    *,
    size: int = 64,
    mode: str = "RGB",
    skip_corrupt: bool = False,
    extensions: Sequence[str] = EXTENSIONS,
) -> tuple[ImagePaths, NDArray[np.str_]]:
    """Load images that are sorted into one subfolder per class, as a lazy X and the names of the classes as y.

    Classes are in alphabetical order, and the files of a class, including those in its subfolders, are in the order of
    their paths. Files and folders whose names start with a dot are ignored. The function needs Pillow:
    ``pip install "robustlabels[images]"``.

    Parameters
    ----------
    folder : str or Path
        Folder that contains the subfolders, whose names are the labels.
    size : int, default=64
        Height and width of the decoded images.
    mode : {"RGB", "L"}, default="RGB"
        Color (3 channels) or gray (1 channel).
    skip_corrupt : bool, default=False
        True decodes every file once, leaves out those that cannot be decoded and lists them in a warning. False reads
        only the header of each file: a file that is not an image raises an error now, but one that is cut off raises
        an error when it is decoded.
    extensions : sequence of str, default=(".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ...)
        Endings of the names of image files, in lower or upper case. Other files are left out with a warning.

    Returns
    -------
    X : ImagePaths
        The lazy images, of shape (n_images, channels, size, size).
    y : ndarray of shape (n_images,), dtype str
        The names of the classes.

    Raises
    ------
    FileNotFoundError
        If `folder` is not a folder.
    ValueError
        If there are fewer than two subfolders, or one of them contains no image.
    OSError
        If a file is not an image; the message names it.
    ImportError
        If Pillow is not installed.

    Warns
    -----
    UserWarning
        If files are left out.

    Examples
    --------
    >>> from robustlabels.datasets import load_image_folder
    >>> X, y = load_image_folder("pets", size=64)  # doctest: +SKIP
    >>> X  # doctest: +SKIP
    ImagePaths(7349 images, size=64, mode='RGB')
    """
    size, mode, root = check_size(size), check_mode(mode), Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder.")
    class_folders = _class_folders(root)
    endings = tuple(ending.lower() for ending in extensions)
    found = [_image_files(class_folder, endings, size, mode, skip_corrupt) for class_folder in class_folders]
    for key, reason in (("other", f"whose names do not end in {', '.join(endings)}"), ("corrupt", "that are corrupt")):
        left_out = [path for files in found for path in files[key]]
        if left_out:
            warnings.warn(f"Left out {len(left_out)} file(s) {reason}: {shorten(left_out)}.", stacklevel=2)
    paths = [path for files in found for path in files["images"]]
    counts = [len(files["images"]) for files in found]
    return ImagePaths(paths, size=size, mode=mode), np.repeat([child.name for child in class_folders], counts)


def _class_folders(root: Path) -> list[Path]:
    """Return the subfolders, sorted by name; raise unless there are two or more."""
    class_folders = sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    if len(class_folders) < 2:
        names = f"only {class_folders[0].name!r}" if class_folders else "none"
        raise ValueError(
            f"{root} must have a subfolder of images for each of two or more classes, it has {names}. Move the images "
            "of each class into a subfolder with the name of the class."
        )
    return class_folders


def _image_files(
    class_folder: Path, endings: tuple[str, ...], size: int, mode: str, skip_corrupt: bool
) -> dict[str, list[str]]:
    """Return the files of one class as "images", "other" files, and "corrupt" ones, which skip_corrupt leaves out."""
    files: dict[str, list[str]] = {"images": [], "other": [], "corrupt": []}
    for path in files_below(class_folder):
        if not path.lower().endswith(endings):
            files["other"].append(path)
        elif skip_corrupt and not is_decodable(path, size, mode):
            files["corrupt"].append(path)
        else:
            files["images"].append(path)
    if not files["images"]:
        raise ValueError(
            f"{class_folder} has no readable image ({', '.join(endings)}). Add images to the folder or remove it."
        )
    if not skip_corrupt:
        for path in files["images"]:
            open_image(path).close()  # It reads the header only, and raises for a file that is not an image.
    return files
