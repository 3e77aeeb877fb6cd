"""Boards into a folder of a Grafana, so that a second time changes nothing.

What we save carries the board's digest in its version's message. By it a later push knows its own
work: the same digest is the same board, even where Grafana has rewritten what it was given; no
digest means that somebody saved since, and their work is not overwritten unasked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import quote

from phasegate.contract.errors import SourceError, WorkFailed
from phasegate.dashboards.export import folder_uid
from phasegate.dashboards.grafana_http import SOURCE, Grafana, Reply, shown

_MESSAGE = "phasegate dashboards push, board {digest}"
_OURS = re.compile(_MESSAGE.format(digest="([0-9a-f]{64})"))
_FOLDERS_A_PAGE, _MOST_PAGES = 1000, 100


class Push(NamedTuple):
    """What is to be done with each board. `say` gets one line for each outcome."""

    grafana: Grafana
    folder: str
    overwrite: bool
    dry_run: bool
    say: Callable[[str], None]


class _Refused(Exception):
    """This board is not saved; the text says why and what to do."""


class _Standing(NamedTuple):
    """The board that Grafana has. `digest` is ours where the last to save it were we."""

    content: dict[str, Any]
    version: int
    folder: str
    provisioned: bool
    changed: str
    digest: str | None


async def push_boards(boards: Mapping[str, str], push: Push) -> None:
    """Saves each of `boards` (file name → JSON text) that differs from what Grafana has.

    Raises WorkFailed after all were tried, where some were refused; SourceError where Grafana
    cannot be asked, after a line for each that was not tried.
    """
    left = sorted(boards)
    refused = []
    try:
        uid = await _ensure_folder(push)
        while left:
            try:
                outcome = await _push(json.loads(boards[left[0]]), uid, push)
            except _Refused as reason:
                refused.append(left[0])
                outcome = f"refused: {reason}"
            push.say(f"{left.pop(0)}: {outcome}")
    except (SourceError, WorkFailed):
        for name in left:
            push.say(f"{name}: not pushed")
        raise
    if refused:
        raise WorkFailed(f"{len(refused)} of {len(boards)} boards refused: {', '.join(refused)}")


async def _ensure_folder(push: Push) -> str:
    """The uid of the folder: ours, else the one of that name, else made now."""
    uid, name = folder_uid(push.folder), push.folder
    found = await push.grafana.ask("GET", f"/api/folders/{uid}")
    if found.status == 200:
        title = shown(str(_field(found, "title")))
        push.say(f"folder {title}: there")
        return uid
    if found.status != 404:
        raise WorkFailed(f"folder {name}: {_said(found)}")
    same = await _folders_named(push.grafana, name)
    if len(same) > 1:
        raise WorkFailed(
            f"folder {name}: {len(same)} folders have this name ({', '.join(map(shown, same))}); "
            "rename all but one, or give another --folder"
        )
    if same:
        push.say(f"folder {name}: there, with the uid {shown(same[0])} that somebody else gave it")
        return same[0]
    if push.dry_run:
        push.say(f"folder {name}: would be created")
        return uid
    made = await push.grafana.ask("POST", "/api/folders", {"uid": uid, "title": name})
    # A try whose answer was lost may have made it.
    if made.status >= 400:
        again = await push.grafana.ask("GET", f"/api/folders/{uid}")
        if again.status != 200:
            raise WorkFailed(f"folder {name}: {_said(made)}")
    push.say(f"folder {name}: created")
    return uid


async def _folders_named(grafana: Grafana, name: str) -> list[str]:
    found: list[str] = []
    for page in range(1, _MOST_PAGES + 1):
        reply = await grafana.ask("GET", f"/api/folders?limit={_FOLDERS_A_PAGE}&page={page}")
        if reply.status != 200 or not isinstance(reply.body, list):
            raise _strange(reply, "/api/folders")
        found += [
            str(folder["uid"])
            for folder in reply.body
            if isinstance(folder, dict) and folder.get("title") == name and "uid" in folder
        ]
        if len(reply.body) < _FOLDERS_A_PAGE:
            break
    return found


async def _push(board: dict[str, Any], folder: str, push: Push) -> str:
    """What was done with one board, in words."""
    standing = await _fetch(push.grafana, board["uid"])
    digest = _digest(board)
    if standing is None:
        if push.dry_run:
            return "would be created"
        return await _save(board, digest, 0, folder, push)
    if standing.folder == folder and _is_same(standing, board, digest):
        return f"unchanged (version {standing.version})"
    _refuse_others(standing, folder, push)
    if push.dry_run:
        return f"would be updated (version {standing.version})"
    return await _save(board, digest, standing.version, folder, push)


def _refuse_others(standing: _Standing, folder: str, push: Push) -> None:
    """What is not ours to change, or only with `--overwrite`."""
    if standing.provisioned:
        raise _Refused(
            "Grafana loads this board from a file, and lets nobody save it; change that file, or "
            "take it out of the provisioning"
        )
    if push.overwrite:
        return
    if standing.digest is None:
        raise _Refused(f"{standing.changed}, not by a push; --overwrite replaces it")
    if standing.folder != folder:
        place = shown(standing.folder) or "at the top"
        raise _Refused(f"it was moved into another folder ({place}); --overwrite moves it back")


async def _save(board: dict[str, Any], digest: str, version: int, folder: str, push: Push) -> str:
    """Saves over `version`, 0 for a new board; whatever was saved meanwhile is not lost."""
    reply = await push.grafana.ask(
        "POST",
        "/api/dashboards/db",
        {
            "dashboard": board | {"id": None, "version": version},
            "folderUid": folder,
            "message": _MESSAGE.format(digest=digest),
            "overwrite": push.overwrite,
        },
    )
    if reply.status == 412:
        standing = await _fetch(push.grafana, board["uid"])
        # A try whose answer was lost may have saved it.
        if standing is None or not _is_same(standing, board, digest):
            who = f"; {standing.changed}" if standing else ""
            raise _Refused(f"{_said(reply)}{who}; --overwrite replaces it")
        now = str(standing.version)
    elif reply.status >= 400:
        raise _Refused(_said(reply))
    else:
        now = shown(str(_field(reply, "version")))
    return f"updated (version {version} → {now})" if version else f"created (version {now})"


async def _fetch(grafana: Grafana, uid: str) -> _Standing | None:
    path = f"/api/dashboards/uid/{quote(uid, safe='')}"
    reply = await grafana.ask("GET", path)
    if reply.status == 404:
        return None
    content, meta = _field(reply, "dashboard"), _field(reply, "meta")
    try:
        version = int(content["version"])
        changed = f"{meta.get('updatedBy', 'somebody')} saved it at {meta.get('updated', '?')}"
        return _Standing(
            content=content,
            version=version,
            folder=str(meta.get("folderUid") or ""),
            provisioned=meta.get("provisioned") is True,
            changed=shown(f"version {version}: {changed}"),
            digest=await _pushed_digest(grafana, path, version),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _strange(reply, path) from None


async def _pushed_digest(grafana: Grafana, path: str, version: int) -> str | None:
    """The digest in the message of that version, None where it was not we who saved it."""
    reply = await grafana.ask("GET", f"{path}/versions?limit=10")
    # Grafana 11 and before give the list alone.
    listed = reply.body.get("versions", []) if isinstance(reply.body, dict) else reply.body
    for entry in listed if reply.status == 200 else []:
        if entry.get("version") == version:
            match = _OURS.fullmatch(str(entry.get("message", "")))
            return match[1] if match else None
    return None


def _is_same(standing: _Standing, board: dict[str, Any], digest: str) -> bool:
    return standing.digest == digest or _content(standing.content) == _content(board)


def _content(board: Mapping[str, Any]) -> dict[str, Any]:
    """Without what Grafana counts by itself."""
    return {key: value for key, value in board.items() if key not in ("id", "version")}


def _digest(board: Mapping[str, Any]) -> str:
    return sha256(json.dumps(_content(board), sort_keys=True).encode()).hexdigest()


def _said(reply: Reply) -> str:
    return f"Grafana answered {reply.status}: {reply.message or 'without a word'}"


def _field(reply: Reply, name: str) -> Any:
    if reply.status != 200 or not isinstance(reply.body, dict) or name not in reply.body:
        raise _strange(reply, f"the question for its {name}")
    return reply.body[name]


def _strange(reply: Reply, path: str) -> SourceError:
    said = f" ({reply.message})" if reply.message else ""
    return SourceError(
        SOURCE, f"answered {reply.status} to {path}, not as Grafana does{said}; is --url right?"
    )
