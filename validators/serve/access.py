"""Who may ask: whoever shows the token that stands in a file, which is read at each request.

As `Authorization: Bearer TOKEN`; or as the password of basic authentication with any user, since
Flagger sends no header of one's own but obeys `https://user:TOKEN@host` in the URL of a hook.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from pathlib import Path

from phasegate.contract.errors import SourceError, SourceUnavailable
from phasegate.contract.secrets import redactor


def read_token(path: Path) -> bytes:
    """The file's text without its line end. Raises SourceError for none or an empty one."""
    try:
        token = path.read_bytes().strip()
    except OSError as error:
        raise SourceUnavailable(str(path), error.strerror or "cannot be read") from None
    if not token:
        raise SourceError(str(path), "is empty, expected a token")
    redactor.learn({token.decode("utf-8", "replace")})
    return token


def shows_token(header: str, token: bytes) -> bool:
    """Whether this `Authorization` header shows the token; takes as long for any that does not."""
    scheme, _, shown = header.partition(" ")
    found = shown.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() == "basic":
        try:
            found = base64.b64decode(found, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(found, token)
