"""Pictures of boards, taken from the preview by a headless Chromium."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from phasegate.contract.errors import SourceTimeout, SourceUnavailable
from phasegate.dashboards.preview.chromium import Tab, chromium, open_tab

WITHIN_SECONDS = 60.0
DRAWN = "document.documentElement.dataset.state === 'ready'"
"""True once the page has drawn everything that it was asked for."""
_TALL = "Math.ceil(document.body.getBoundingClientRect().height)"


class Picture(NamedTuple):
    """`board` is a uid, and behind a `?` what its address says more. Pixels; a `height` of 0 is
    that of the whole board."""

    board: str
    file: Path
    width: int = 1280
    height: int = 800
    theme: str = "dark"

    @property
    def uid(self) -> str:
        """Of the board."""
        return self.board.partition("?")[0]

    @property
    def path(self) -> str:
        """Where the preview shows it."""
        given = parse_qsl(self.board.partition("?")[2], keep_blank_values=True)
        asked = urlencode([*given, ("theme", self.theme)])
        return f"/d/{quote(self.uid, safe='')}?{asked}"


async def take_pictures(base: str, pictures: Sequence[Picture]) -> None:
    """Writes each as a PNG, of what the preview at `base` shows once all panels are drawn.

    Raises SourceUnavailable where there is no Chromium or a file cannot be written, SourceTimeout
    where a board is not drawn in time.
    """
    with chromium() as devtools:
        for picture in pictures:
            async with open_tab(devtools) as tab:
                await _take(tab, base, picture)


async def _take(tab: Tab, base: str, picture: Picture) -> None:
    await tab.resize(picture.width, picture.height or 800)
    await tab.open(base + picture.path)
    try:
        await tab.wait_for(DRAWN, WITHIN_SECONDS)
    except TimeoutError:
        told = f"{picture.board} was not drawn within {WITHIN_SECONDS:g} s"
        raise SourceTimeout("chromium", told) from None
    if not picture.height:
        await tab.resize(picture.width, int(await tab.evaluate(_TALL)))
    await tab.settle()
    try:
        await tab.screenshot(picture.file)
    except OSError as error:
        raise SourceUnavailable(str(picture.file), error.strerror or str(error)) from error
