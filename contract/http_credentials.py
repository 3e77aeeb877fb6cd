"""What an HTTP client shows of itself: read from its files at each request, and told to nobody."""

from __future__ import annotations

import base64
from pathlib import Path

from phasegate.contract.secrets import redactor
from phasegate.contract.settings_http import HttpAccess


class UnusableSecret(ValueError):
    """A file does not hold what it should; the text names the file, and nothing of its content."""


def read_secret_line(path: Path, key: str) -> str:
    """The one line of a file, which `key` names. Raises UnusableSecret."""
    try:
        text = path.read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise UnusableSecret(f"{key} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        # No cause: its text holds the bytes.
        raise UnusableSecret(f"{key} {path} is not UTF-8") from None
    if not text.strip() or any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise UnusableSecret(f"{key} {path} does not hold one line of text")
    redactor.learn([text])
    return text


def make_credentials(access: HttpAccess) -> dict[str, str]:
    """The headers; none where nothing is configured. Raises UnusableSecret."""
    if access.bearer_file is not None:
        return {"Authorization": f"Bearer {read_secret_line(access.bearer_file, 'bearer_file')}"}
    basic = access.basic_auth
    if basic is None:
        return {}
    password = basic.password.reveal() if basic.password else ""
    if basic.password_file is not None:
        password = read_secret_line(basic.password_file, "password_file")
    encoded = base64.b64encode(f"{basic.username}:{password}".encode()).decode()
    redactor.learn([encoded])
    return {"Authorization": f"Basic {encoded}"}
