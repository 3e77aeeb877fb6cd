"""The web file's TLS section as an `ssl.SSLContext`.

Inline keys never touch a disk where the system offers memory instead: the runtime image has a
read-only root, and a key in a temporary file outlives a crash.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from phasegate.contract.errors import ConfigError
from phasegate.exporter.webconfig import (
    CURVES,
    REQUIRE_AND_VERIFY,
    TLS12_SUITES,
    VERIFY_IF_GIVEN,
    TlsServer,
    WebConfig,
)

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}


def ssl_context(config: WebConfig) -> ssl.SSLContext | None:
    """The context of the server, None for plain HTTP.

    Raises ConfigError, with the key's place, where a certificate, key or authority is unusable.
    """
    tls = config.tls_server_config
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    _choose_ciphers(context, tls)
    _load_certificate(context, tls, config)
    if tls.client_auth_type in (VERIFY_IF_GIVEN, REQUIRE_AND_VERIFY):
        required = tls.client_auth_type == REQUIRE_AND_VERIFY
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        _load_authorities(context, tls, config)
    return context


def _choose_ciphers(context: ssl.SSLContext, tls: TlsServer) -> None:
    suites = [TLS12_SUITES[name] for name in tls.cipher_suites or () if name in TLS12_SUITES]
    if suites:
        context.set_ciphers(":".join(suites))
    if not tls.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    for curve in tls.curve_preferences or ():
        context.set_ecdh_curve(CURVES[curve])


def _load_certificate(context: ssl.SSLContext, tls: TlsServer, config: WebConfig) -> None:
    cert_key = "cert_file" if tls.cert_file else "cert"
    key_key = "key_file" if tls.key_file else "key"
    with ExitStack() as stack:
        cert = tls.cert_file or stack.enter_context(_as_file(tls.cert or ""))
        key = tls.key_file or stack.enter_context(_as_file(tls.key.reveal() if tls.key else ""))
        if "CERTIFICATE-----" not in _readable(cert, cert_key, config):
            raise config.fault(cert_key, "no certificate", "a certificate and its chain in PEM")
        _readable(key, key_key, config)
        try:
            # Without a password of our own OpenSSL would ask for one at the terminal.
            context.load_cert_chain(cert, key, password=lambda: "")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                found, expected = "the key of another certificate", f"the key of {cert_key}"
                raise config.fault(key_key, found, expected) from error
            raise _whose_fault(cert, cert_key, key_key, config) from error


def _whose_fault(cert: Path, cert_key: str, key_key: str, config: WebConfig) -> ConfigError:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cert)
    except ssl.SSLError:
        return config.fault(cert_key, "a text that is no certificate", "a certificate in PEM")
    return config.fault(key_key, "no usable key", "an unencrypted private key in PEM")


def _load_authorities(context: ssl.SSLContext, tls: TlsServer, config: WebConfig) -> None:
    expected = "certificates of authorities in PEM"
    if tls.client_ca is None and tls.client_ca_file is None:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    key = "client_ca_file" if tls.client_ca_file else "client_ca"
    text = _readable(tls.client_ca_file, key, config) if tls.client_ca_file else tls.client_ca
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise config.fault(key, "no usable certificate", expected) from error


def _readable(path: Path, key: str, config: WebConfig) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError as error:
        raise config.fault(key, error.strerror or "an error", "a readable file") from error


@contextmanager
def _as_file(text: str) -> Iterator[Path]:
    """`text` under a path, for OpenSSL, which loads chains and keys from files only."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("phasegate-pem", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            yield Path(f"/proc/self/fd/{descriptor}")
        return
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        yield Path(file.name)
