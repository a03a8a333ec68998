"""Parts of errors about unknown names: the options, and the one that was probably meant."""

import difflib
from collections.abc import Iterable


def closest(name: str, options: Iterable[str]) -> str:
    """Return the end of an error about an unknown `name`: the most similar option, if one is similar enough.

    Parameters
    ----------
    name : str
        The unknown name.
    options : iterable of str
        The known names.

    Returns
    -------
    str
        A full stop, and a question if there is a similar option.

    Examples
    --------
    >>> from robustlabels.modules import closest
    >>> closest("widht", ["width", "depth"])
    ". Did you mean 'width'?"
    """
    found = difflib.get_close_matches(str(name), list(options), n=1)
    return f". Did you mean {found[0]!r}?" if found else "."


def listed(names: Iterable[str]) -> str:
    """Return names as errors show them.

    Parameters
    ----------
    names : iterable of str
        The names.

    Returns
    -------
    str

    Examples
    --------
    >>> from robustlabels.modules.hints import listed
    >>> listed(["width", "depth"])
    "'width', 'depth'"
    """
    return ", ".join(repr(n) for n in names)
