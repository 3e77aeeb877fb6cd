"""The web file: TLS, basic authentication, headers and the rate limit of our own HTTP server.

Its format is that of the Prometheus exporter-toolkit, so that one file serves every exporter of a
host. Each key either works here as it does there or is refused by name with the reason; none is
ignored. Stricter than the toolkit on purpose: an empty file, an empty list of users or a
`client_allowed_sans` that nothing enforces would look like protection and be none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from phasegate.contract.document import MappingNode, Node, Reader, Scalar, read_document
from phasegate.contract.errors import ConfigError, ConfigFault
from phasegate.contract.frozen import frozen, keyed
from phasegate.contract.secrets import Secret
from phasegate.contract.sections import Contradiction, ListOf, MapOf, Rule, Section, setting
from phasegate.contract.shapes import (
    INVALID,
    Choice,
    Duration,
    FilePath,
    Number,
    Shape,
    Switch,
    Text,
)

NO_CLIENT_CERT = "NoClientCert"
VERIFY_IF_GIVEN = "VerifyClientCertIfGiven"
REQUIRE_AND_VERIFY = "RequireAndVerifyClientCert"

# Go's names, which the format uses, and OpenSSL's. Those of TLS 1.3 cannot be chosen, here as in
# Go: they are on whenever TLS 1.3 is.
TLS13_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
TLS12_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
HEADERS: Mapping[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}

_UNVERIFIED = (
    "a certificate that nobody verifies proves nothing, and Python's TLS cannot ask for one "
    f"without verifying it; use {VERIFY_IF_GIVEN} or {REQUIRE_AND_VERIFY}"
)
_OLD_TLS = (
    "TLS 1.0 and 1.1 are withdrawn (RFC 8996) and off in current builds of OpenSSL; use TLS12"
)


@frozen
class _Supported(Choice):
    """A choice of the format of which a few values are not supported here, each with its reason."""

    refused: Mapping[str, str]

    def read(self, node: Node, reader: Reader) -> Any:
        reason = self.refused.get(node.text) if isinstance(node, Scalar) else None
        return self.refuse(node, reader, reason) if reason else super().read(node, reader)


class _Http2(Switch):
    def read(self, node: Node, reader: Reader) -> Any:
        value = super().read(node, reader)
        if value is not True:
            return value
        reader.fault(node, "true", "false, or no such key", "this server speaks HTTP/1.1 only")
        return INVALID


@frozen
class _OneCurve(ListOf):
    def read(self, node: Node, reader: Reader) -> Any:
        curves = super().read(node, reader)
        if curves is INVALID or len(curves) <= 1:
            return curves
        reader.fault(
            node,
            f"{len(curves)} curves",
            "one curve, or no such key",
            "Python's TLS can restrict itself to one curve, not order several",
        )
        return INVALID


@frozen
class _Interval(Duration):
    """A duration in which a bare 0 means "off"."""

    def read(self, node: Node, reader: Reader) -> Any:
        if isinstance(node, Scalar) and node.text == "0":
            return 0.0
        return super().read(node, reader)


class _Headers(Shape):
    """The headers that the format allows. A blank one is unset, as in the toolkit."""

    expected = "a mapping of headers"

    def read(self, node: Node, reader: Reader) -> Any:
        if not isinstance(node, MappingNode):
            return self.refuse(node, reader)
        values: dict[str, str] = {}
        for entry in node.entries:
            if entry.name not in HEADERS:
                reader.fault(
                    entry.place,
                    "an unknown key",
                    "one of " + ", ".join(HEADERS),
                    "the format allows no other header",
                )
            elif not (isinstance(entry.value, Scalar) and entry.value.kind == "nothing") and (
                not isinstance(entry.value, Scalar) or entry.value.text.strip()
            ):
                value = self._value(entry.name).read(entry.value, reader)
                if value is not INVALID:
                    values[entry.name] = value
        return values

    @staticmethod
    def _value(name: str) -> Shape:
        return Choice(HEADERS[name]) if HEADERS[name] else _HeaderText()

    def json_schema(self) -> dict[str, Any]:
        return {"type": "object", "propertyNames": {"enum": list(HEADERS)}}


@frozen
class _HeaderText(Shape):
    """The text of a header; `X-XSS-Protection: 0` is one too, though YAML calls it a number."""

    expected: str = "one line of printable ASCII"

    def read(self, node: Node, reader: Reader) -> Any:
        if isinstance(node, Scalar) and re.fullmatch(r"[ -~]+", node.text):
            return node.text
        return self.refuse(node, reader)

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["string", "number"]}


def _one_of_each(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    for inline, file, needed in (
        ("cert", "cert_file", True),
        ("key", "key_file", True),
        ("client_ca", "client_ca_file", False),
    ):
        given = [name for name in (inline, file) if values.get(name) is not None]
        if len(given) > 1:
            yield Contradiction((file,), f"{inline} and {file}", "one of them")
        elif needed and not given and inline in values and file in values:
            yield Contradiction((file,), "nothing", f"{file} or {inline}")


def _client_auth(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    if values.get("client_auth_type") != NO_CLIENT_CERT:
        return
    for name in ("client_ca", "client_ca_file", "client_allowed_sans"):
        if values.get(name) is not None:
            yield Contradiction(
                (name,),
                f"{name} with client_auth_type {NO_CLIENT_CERT}",
                f"client_auth_type {REQUIRE_AND_VERIFY} or {VERIFY_IF_GIVEN}",
                "without one of them no client is asked for a certificate",
            )


def _versions(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    least, most = values.get("min_version", ""), values.get("max_version", "TLS13")
    if least > most:
        yield Contradiction(("max_version",), f"{most} below min_version {least}", f"{least}")
    suites = values.get("cipher_suites") or ()
    usable = any(suite in TLS12_SUITES for suite in suites)
    if suites and INVALID not in suites and least == "TLS12" and not usable:
        yield Contradiction(
            ("cipher_suites",),
            "suites of TLS 1.3 only",
            "a suite of TLS 1.2 too, or min_version: TLS13",
            "with this list no client of TLS 1.2 could connect",
        )


def _tls_rules(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    for rule in (_one_of_each, _client_auth, _versions):
        yield from rule(values)


def _rate_rules(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    interval, burst = values.get("interval"), values.get("burst")
    if interval and burst == 0:
        yield Contradiction(("burst",), "0", "at least 1", "0 would refuse every request")


def _user_rules(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    if values.get("basic_auth_users") == {}:
        yield Contradiction(
            ("basic_auth_users",), "no user", "at least one user, or no such key",
        )  # fmt: skip


_FILE = FilePath()
_PEM = Text("PEM text")
_VERSION = _Supported(("TLS12", "TLS13"), {"TLS10": _OLD_TLS, "TLS11": _OLD_TLS})
_CLIENT_AUTH = _Supported(
    (NO_CLIENT_CERT, VERIFY_IF_GIVEN, REQUIRE_AND_VERIFY),
    dict.fromkeys(("RequestClientCert", "RequireAnyClientCert", "RequireClientCert"), _UNVERIFIED),
)
_SUITES = ListOf(Choice((*TLS12_SUITES, *TLS13_SUITES)), "cipher suites", least=1, unique=True)
_CURVES = _OneCurve(Choice(tuple(CURVES)), "curves", least=1, unique=True)
_HASH = Text(
    "a bcrypt hash, $2y$, $2b$ or $2a$", r"\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}",
    secret=True,
)  # fmt: skip


@keyed
class TlsServer:
    """TLS of the server. Paths start from the folder of the file."""

    cert: str | None = setting(_PEM, "The certificate and its chain.", None)
    key: Secret | None = setting(Text("PEM text", secret=True), "The certificate's key.", None)
    client_ca: str | None = setting(_PEM, "Who signs the clients' certificates.", None)
    cert_file: Path | None = setting(_FILE, "A file with the certificate and its chain.", None)
    key_file: Path | None = setting(_FILE, "A file with the certificate's key.", None)
    client_auth_type: str = setting(_CLIENT_AUTH, "What is asked of clients.", NO_CLIENT_CERT)
    client_ca_file: Path | None = setting(_FILE, "A file with the clients' authorities.", None)
    client_allowed_sans: tuple[str, ...] | None = setting(
        ListOf(Text("a DNS name, address, e-mail or URI"), "names", least=1),
        "A client's certificate must have one of these names.",
        None,
    )
    min_version: str = setting(_VERSION, "Oldest TLS.", "TLS12")
    max_version: str = setting(_VERSION, "Newest TLS.", "TLS13")
    cipher_suites: tuple[str, ...] | None = setting(_SUITES, "Suites of TLS 1.2, in order.", None)
    prefer_server_cipher_suites: bool = setting(Switch(), "Our order wins.", True)
    curve_preferences: tuple[str, ...] | None = setting(_CURVES, "The curve.", None)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that this section reads."""
        given = (self.cert_file, self.key_file, self.client_ca_file)
        return tuple(path for path in given if path is not None)


@keyed
class HttpServer:
    """HTTP of the server."""

    http2: bool = setting(_Http2(), "HTTP/2.", False)
    headers: Mapping[str, str] = setting(_Headers(), "Headers of every answer.", dict)


@keyed
class RateLimit:
    """A bucket of `burst` requests that gains one every `interval` seconds; 0 turns it off."""

    interval: float = setting(_Interval(1e-6, 86_400), "Time for one request.")
    burst: int = setting(Number("requests", 0, 1_000_000, whole=True), "Requests at once.")


@keyed
class WebConfig:
    """The web file. `places` are line and column of the keys of TLS, for faults found later."""

    tls_server_config: TlsServer | None = setting(
        Section(TlsServer, "TLS of the server", (_tls_rules,)), "TLS; absent: plain HTTP.", None
    )
    http_server_config: HttpServer = setting(
        Section(HttpServer, "http2, headers"), "HTTP.", HttpServer
    )
    basic_auth_users: Mapping[str, Secret] | None = setting(
        MapOf(_HASH, "users and their bcrypt hashes", Text("a name without a colon", r"[^:]+")),
        "Who may ask; absent: everybody.",
        None,
    )
    rate_limit: RateLimit | None = setting(
        Section(RateLimit, "interval, burst", (_rate_rules,)), "Most requests.", None
    )
    file: str = ""
    places: Mapping[str, tuple[int, int]] | None = None

    def fault(self, key: str, found: str, expected: str) -> ConfigError:
        """The error for a key of `tls_server_config` whose file or text cannot be used."""
        line, column = (self.places or {}).get(key, (0, 0))
        dotted = f"tls_server_config.{key}"
        return ConfigError((ConfigFault(self.file, line, column, dotted, found, expected),))


_DOCUMENT_RULES: tuple[Rule, ...] = (_user_rules,)
_DOCUMENT = Section(WebConfig, "the exporter-toolkit's web configuration", _DOCUMENT_RULES)


def load_web_config(path: Path) -> WebConfig:
    """The web file at `path`. Raises ConfigError with all its faults.

    Certificates are read by `ssl_context`, not here.
    """
    reader = Reader(file=str(path), base=path.parent, environ={})
    try:
        data = path.read_bytes()
    except OSError as error:
        fault = ConfigFault(
            str(path), 0, 0, "--web.config.file", error.strerror or "an error", "a readable file"
        )
        raise ConfigError((fault,)) from error
    root = read_document(data, reader)
    config = _DOCUMENT.read(root, reader) if root is not None else INVALID
    if reader.faults:
        raise ConfigError(
            tuple(sorted(reader.faults, key=lambda fault: (fault.line, fault.column)))
        )
    assert isinstance(config, WebConfig)
    assert isinstance(root, MappingNode)
    return replace(config, file=str(path), places=_places(root))


def _places(root: MappingNode) -> dict[str, tuple[int, int]]:
    section = root.get("tls_server_config")
    if not isinstance(section, MappingNode):
        return {}
    return {entry.name: (entry.place.line, entry.place.column) for entry in section.entries}
