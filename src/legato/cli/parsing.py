"""Parsers of command lines that name what they do not understand, where it stands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

EXIT_CONFIG = 2
"""It cannot run like this: one line on stderr says why, as argparse's own errors do."""


class Parser(argparse.ArgumentParser):
    """Called without a word where a command must follow, it prints its help. An option that it does not know it
    refuses itself, before what else is wrong: by its own usage, and with the option that is like it.
    """

    _branches = False

    def add_subparsers(self, **options: Any) -> Any:
        """See argparse."""
        self._branches = True
        return super().add_subparsers(**options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See argparse; but nothing is left over."""
        words = sys.argv[1:] if args is None else list(args)
        if self._branches and not words:
            self.print_help(sys.stderr)
            self.exit(EXIT_CONFIG)
        self._check(words)
        found, rest = self._parsed(words, namespace)
        if rest:
            self._refuse(rest)
        return found, rest

    def _parsed(self, words: list[str], namespace: Any) -> Any:
        return super().parse_known_args(words, namespace)

    def _check(self, words: Sequence[str]) -> None:
        """Finds an option that there is not, as far as the words are this parser's own."""
        for word in words:
            if word == "--" or (self._branches and not word.startswith("-")):
                return
            if word.startswith("--") and " " not in word and not self._has(word):
                self._refuse([word])

    def _has(self, word: str) -> bool:
        return word.partition("=")[0] in self._option_string_actions

    def _refuse(self, rest: Sequence[str]) -> NoReturn:
        from difflib import get_close_matches

        word = next((one for one in rest if one.startswith("-")), "")
        if not word:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        name = word.partition("=")[0]
        known = sorted(one for one in self._option_string_actions if one.startswith("--"))
        near = [one for one in known if len(name) > 2 and one.startswith(name)]
        near = near or get_close_matches(name, known, 1)
        hint = f": did you mean {' or '.join(near)}?" if near else f" ({self.prog} -h lists them)"
        self.error(f"there is no option {name}{hint}")


class Mixed(Parser):
    """Takes its words with options between them: `rollback --to 3 bot.py`."""

    _inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See argparse."""
        if self._inside:  # some Pythons parse words and options apart, by this method
            return super()._parsed(args, namespace)
        return super().parse_known_args(args, namespace)

    def _parsed(self, words: list[str], namespace: Any) -> Any:
        self._inside = True
        try:
            return self.parse_known_intermixed_args(words, namespace)
        finally:
            self._inside = False


__all__ = ["EXIT_CONFIG", "Mixed", "Parser"]
