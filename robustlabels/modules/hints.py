"""What errors about names say: the options there are, and the one that was meant."""

import difflib
from collections.abc import Iterable


def closest(name: str, options: Iterable[str]) -> str:
    """End of an error about an unknown `name`: the option most like it, if any is.

    Examples
    --------
    >>> from robustlabels.modules import closest
    >>> closest("widht", ["width", "depth"])
    ". Did you mean 'width'?"
    """
    found = difflib.get_close_matches(str(name), list(options), n=1)
    return f". Did you mean {found[0]!r}?" if found else "."


def listed(names: Iterable[str]) -> str:
    """Names as an error shows them.

    Examples
    --------
    >>> from robustlabels.modules.hints import listed
    >>> listed(["width", "depth"])
    "'width', 'depth'"
    """
    return ", ".join(repr(n) for n in names)
