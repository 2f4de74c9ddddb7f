"""Regular expressions that are compiled when they are first used.

To compile those of a module takes longer than to import the rest of it, and most programs need few of them.
"""

from __future__ import annotations

import re
from typing import cast, final


@final
class _Pattern:
    def __init__(self, text: str, flags: int) -> None:
        self._arguments = text, flags

    def __getattr__(self, name: str) -> object:
        # What was found once is an attribute like any other: this is not called for it again.
        found = self.__dict__[name] = getattr(re.compile(*self._arguments), name)
        return found


def lazy_pattern(text: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    """Return what has the methods and attributes of ``re.compile(text, flags)``; the functions of :mod:`re` do not take it.

    Raises:
      re.error: not here, but on first use, if *text* is no regular expression.
    """
    return cast(re.Pattern[str], _Pattern(text, flags))
