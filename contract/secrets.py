"""What keeps a password out of every log, label, error and page.

Three lines of defence: `Secret` prints as `***`; `redact` removes known secrets in each spelling
that a driver, a URL or a shell gives them, and passwords in a DSN that it never heard of;
`Redactor` does so for whole log records and follows each reload.
"""

from __future__ import annotations

import html
import json
import logging
import re
import traceback
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
_SHORTEST = 4  # a shorter "secret" would blank half of every sentence, and so tell itself
_MOST = 1_000  # short-lived passwords come one at each connect
_WORD = r"(?:passw(?:or)?d|sslpassword|pass|pwd|secret|token|api_?key|access_?key)"
_PATTERNS = (
    # The userinfo of any URL. A broken URL may hold an unescaped "@" or "/" in its password, so
    # everything up to the last "@" of the word is taken.
    (re.compile(r"([a-z][a-z0-9+.-]*://[^\s:@/?#\"']*):[^\s\"']*@", re.I), rf"\1:{HIDDEN}@"),
    (
        re.compile(
            rf"([A-Za-z_]*{_WORD}\s*=\s*)(?:'(?:[^'\\]|\\.)*(?:'|$)|\"[^\"]*\"|[^\s&#'\"]+)", re.I
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(\b(?:Basic|Bearer)\s+)[A-Za-z0-9+/._~=-]{6,}"), rf"\1{HIDDEN}"),
)
_URL_PASSWORD = re.compile(r"^[a-z][a-z0-9+.-]*://[^:@/?#]*:(.*@.*)", re.I | re.S)
_NAMED_PASSWORD = re.compile(rf"{_WORD}\s*=\s*(?:'((?:[^'\\]|\\.)*)'|([^\s&#']+))", re.I)


class Secret:
    """A text that prints as `***`; `reveal()` gives it to the one call that needs it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def parts(self) -> set[str]:
        """The texts that must not be seen."""
        return {self._text}

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._text == other._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Secret is not pickled")


class Dsn(Secret):
    """A URL or a keyword form: only its passwords are secret, but it is hidden whole."""

    __slots__ = ()

    def parts(self) -> set[str]:
        return passwords_in(self._text)


def passwords_in(dsn: str) -> set[str]:
    """The passwords that a URL or a keyword form holds, as written and decoded.

    Where a password has an unescaped `@`, nobody knows where it ends: every reading is taken.
    """
    found: set[str] = set()
    if match := _URL_PASSWORD.match(dsn):
        rest = match[1]
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
        found |= {rest.partition("@")[0], rest.rpartition("@")[0], authority.rpartition("@")[0]}
    for quoted, plain in _NAMED_PASSWORD.findall(dsn):
        found |= {re.sub(r"\\(.)", r"\1", quoted), quoted, plain}
    return {text for raw in found for text in (raw, unquote(raw)) if text}


def _spellings(secret: str) -> Iterator[str]:
    """How drivers, URLs, shells, logs and pages may write `secret`."""
    for text in {secret, unquote(secret)}:
        yield text
        yield from (quote(text, safe=""), quote(text), quote_plus(text))
        yield text.replace("\\", "\\\\").replace("'", "\\'")  # libpq's keyword form
        yield text.replace("'", "''")  # an SQL literal
        yield repr(text)[1:-1]
        yield json.dumps(text)[1:-1]
        yield html.escape(text)


def _known(secrets: Iterable[str]) -> re.Pattern[str] | None:
    spellings = {
        spelling
        for secret in secrets
        for spelling in _spellings(secret)
        if len(spelling) >= _SHORTEST
    }
    longest_first = sorted(spellings, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(_pattern, longest_first))) if longest_first else None


def _pattern(spelling: str) -> str:
    # Percent-encoding is the same in small letters.
    return re.sub(r"%[0-9A-Fa-f]{2}", lambda match: f"(?i:{match[0]})", re.escape(spelling))


def _redact(text: str, known: re.Pattern[str] | None) -> str:
    if known is not None:
        text = known.sub(HIDDEN, text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without `secrets` in any spelling, and without passwords of DSNs and headers."""
    return _redact(text, _known(secrets))


class Redactor(logging.Filter):
    """`redact` with the secrets learned so far; a logging filter and a structlog processor too.

    Old secrets stay known after a reload: an error about the old password may come late.
    """

    def __init__(self) -> None:
        super().__init__()
        self._secrets: tuple[str, ...] = ()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, secrets: Iterable[str]) -> None:
        """Adds secrets; a new one that was known already costs nothing."""
        new = [secret for secret in dict.fromkeys(secrets) if secret not in self._secrets]
        if new:
            self._secrets = (*self._secrets, *new)[-_MOST:]
            self._pattern = _known(self._secrets)

    def __call__(self, text: str) -> str:
        return _redact(text, self._pattern)

    def filter(self, record: logging.LogRecord) -> bool:
        """Redacts the message and the traceback; lets every record pass."""
        record.msg, record.args = self(record.getMessage()), None
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = self("".join(traceback.format_exception(*record.exc_info))).rstrip()
            record.exc_info = None
        elif record.exc_text:
            record.exc_text = self(record.exc_text)
        return True

    def processor(
        self, logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """For structlog, after the processor that formats exceptions and before the renderer."""
        del logger, method
        return {name: self._value(value) for name, value in event.items()}

    def _value(self, value: Any) -> Any:
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self(value)
            case dict():
                return {self(str(name)): self._value(part) for name, part in value.items()}
            case list() | tuple():
                return [self._value(part) for part in value]
        return self(str(value))


redactor = Redactor()
"""The one of this process: whatever reads a secret teaches it, every log handler asks it."""
