"""A user's own changes to the boards, as jsonnet: from memory, without a file read by it.

An overlay is a function of one board, as `function(board) board + {refresh: '1m'}`; it is asked for
each board, and `board.uid` tells which. jsonnet writes figures with a tail
(0.050000000000000003); read back they are the same figures, and are written short again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import _jsonnet

from phasegate.contract.errors import ConfigError, ConfigFault


class Overlay:
    """One file of jsonnet, read once. Raises ConfigError for a file that cannot be read."""

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        try:
            self._text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise self._fault(f"a file that cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise self._fault("a file that is not UTF-8") from error

    def apply(self, board: dict[str, Any]) -> dict[str, Any]:
        """The board as the overlay wants it. Raises ConfigError."""
        try:
            text = _jsonnet.evaluate_snippet(
                self._name,
                self._text,
                tla_codes={"board": json.dumps(board)},
                import_callback=_refuse,
            )
        except RuntimeError as error:
            raise self._fault(" ".join(str(error).split())) from error
        changed = json.loads(text)
        if not isinstance(changed, dict) or changed.get("uid") != board["uid"]:
            raise self._fault(f"no board of uid {board['uid']} from that of {board['uid']}")
        return changed

    def _fault(self, found: str) -> ConfigError:
        expected = "a function(board) that gives the board, without imports"
        return ConfigError((ConfigFault(self._name, 0, 0, "--overlay", found, expected),))


def _refuse(folder: str, name: str) -> tuple[str, bytes]:
    raise RuntimeError(f"an overlay imports nothing: {folder}{name}")
