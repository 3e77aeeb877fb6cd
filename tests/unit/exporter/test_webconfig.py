"""The web file: what is read of it, and what is refused by name."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phasegate.contract.errors import ConfigError
from phasegate.exporter.webconfig import HEADERS, RateLimit, WebConfig, load_web_config

HASH = "$2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze"
FILES = "cert_file: a, key_file: b"


def load(folder: Path, text: str) -> WebConfig:
    path = folder / "web.yml"
    path.write_text(text)
    return load_web_config(path)


def test_every_key_of_the_format(tmp_path: Path) -> None:
    config = load(tmp_path, f"""\
tls_server_config:
  cert_file: server.crt
  key_file: /etc/ssl/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca/clients.crt
  client_allowed_sans: [prometheus.example, "10.0.0.7"]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
  curve_preferences: [X25519]
http_server_config:
  http2: false
  headers:
    Strict-Transport-Security: max-age=31536000
    X-Content-Type-Options: nosniff
    X-Frame-Options: deny
    X-XSS-Protection: 0
    Content-Security-Policy: "default-src 'self'"
basic_auth_users:
  alice: {HASH}
rate_limit:
  interval: 1s
  burst: 20
""")  # fmt: skip
    tls = config.tls_server_config
    assert tls is not None
    assert tls.cert_file == tmp_path / "server.crt"
    assert tls.key_file == Path("/etc/ssl/server.key")
    assert tls.client_ca_file == tmp_path / "ca" / "clients.crt"
    assert tls.client_allowed_sans == ("prometheus.example", "10.0.0.7")
    assert tls.prefer_server_cipher_suites is False
    assert tls.curve_preferences == ("X25519",)
    assert set(config.http_server_config.headers) == set(HEADERS)
    assert config.http_server_config.headers["X-XSS-Protection"] == "0"
    assert config.basic_auth_users is not None
    assert config.basic_auth_users["alice"].reveal() == HASH
    assert config.rate_limit == RateLimit(interval=1.0, burst=20)


def test_inline_certificates(tmp_path: Path) -> None:
    text = "tls_server_config:\n  cert: |\n    one\n  key: |\n    two\n"
    tls = load(tmp_path, text).tls_server_config
    assert tls is not None
    assert (tls.cert, tls.key.reveal() if tls.key else "") == ("one\n", "two\n")


def test_blank_headers_are_unset(tmp_path: Path) -> None:
    config = load(
        tmp_path, 'http_server_config: {headers: {X-Frame-Options: "", X-XSS-Protection: }}'
    )
    assert config.http_server_config.headers == {}


def test_an_interval_of_0_turns_the_limit_off(tmp_path: Path) -> None:
    assert load(tmp_path, "rate_limit: {interval: 0, burst: 0}").rate_limit == RateLimit(
        interval=0.0, burst=0
    )


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "1:1: (document)", "empty file"),
        ("junk", "1:1: (document)", "expected a mapping"),
        ("tls_config: {}", "1:1: tls_config", "did you mean tls_server_config?"),
        (f"tls_server_config: {{{FILES}, cert_flie: a}}", "1:48: tls_server_config.cert_flie",
         "did you mean cert_file?"),
        ("tls_server_config: {}", "1:20: tls_server_config.cert_file", "cert_file or cert"),
        ("tls_server_config: {cert_file: a}", "1:20: tls_server_config.key_file",
         "key_file or key"),
        (f"tls_server_config: {{{FILES}, cert: c}}", "tls_server_config.cert_file", "one of them"),
        (f"tls_server_config: {{{FILES}, client_auth_type: RequestClientCert}}",
         "tls_server_config.client_auth_type", "cannot ask for one without verifying"),
        (f"tls_server_config: {{{FILES}, client_auth_type: RequireAnyClientCert}}",
         "tls_server_config.client_auth_type", "cannot ask for one without verifying"),
        (f"tls_server_config: {{{FILES}, client_ca_file: c}}", "tls_server_config.client_ca_file",
         "no client is asked"),
        (f"tls_server_config: {{{FILES}, client_allowed_sans: [a]}}",
         "tls_server_config.client_allowed_sans", "no client is asked"),
        (f"tls_server_config: {{{FILES}, client_auth_type: RequireAndVerifyClientCert, "
         "client_allowed_sans: []}", "tls_server_config.client_allowed_sans", "an empty list"),
        (f"tls_server_config: {{{FILES}, min_version: TLS10}}", "tls_server_config.min_version",
         "RFC 8996"),
        (f"tls_server_config: {{{FILES}, min_version: TLS13, max_version: TLS12}}",
         "tls_server_config.max_version", "below min_version"),
        (f"tls_server_config: {{{FILES}, cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}}",
         "tls_server_config.cipher_suites[0]", "expected one of"),
        (f"tls_server_config: {{{FILES}, cipher_suites: [TLS_AES_128_GCM_SHA256]}}",
         "tls_server_config.cipher_suites", "min_version: TLS13"),
        (f"tls_server_config: {{{FILES}, curve_preferences: [X25519, CurveP256]}}",
         "tls_server_config.curve_preferences", "one curve"),
        ("http_server_config: {http2: true}", "1:29: http_server_config.http2", "HTTP/1.1 only"),
        ("http_server_config: {headers: {Server: x}}", "http_server_config.headers.Server",
         "no other header"),
        ("http_server_config: {headers: {X-Frame-Options: allow}}",
         "http_server_config.headers.X-Frame-Options", "one of deny, sameorigin"),
        ('http_server_config: {headers: {Content-Security-Policy: "a\\r\\nb"}}',
         "http_server_config.headers.Content-Security-Policy", "one line"),
        ("basic_auth_users: {}", "basic_auth_users", "at least one user"),
        ("basic_auth_users: {alice: secret}", "basic_auth_users.alice", "a bcrypt hash"),
        (f"basic_auth_users: {{alice: {HASH.replace('2y', '2x')}}}", "basic_auth_users.alice",
         "a bcrypt hash"),
        (f"basic_auth_users: {{alice: {HASH}, alice: {HASH}}}", "basic_auth_users.alice",
         "the same key again"),
        (f'basic_auth_users: {{"a:b": {HASH}}}', "basic_auth_users", "without a colon"),
        ("rate_limit: {burst: 3}", "rate_limit.interval", "found nothing"),
        ("rate_limit: {interval: 1s}", "rate_limit.burst", "found nothing"),
        ("rate_limit: {interval: 1s, burst: 0}", "rate_limit.burst", "refuse every request"),
        ("rate_limit: {interval: 5, burst: 1}", "rate_limit.interval", "needs its unit"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, text: str, place: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert place in message
    assert words in message
    assert str(tmp_path / "web.yml") in message


def test_all_faults_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "rate_limit: {burst: x}\nbasic_auth_users: {a: b}\nodd: 1\n")
    assert [fault.line for fault in caught.value.faults] == [1, 1, 2, 3]


def test_secrets_stand_in_no_fault_and_no_repr(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "basic_auth_users: {a: CANARY}\ntls_server_config: {key: [CANARY]}\n")
    assert "CANARY" not in str(caught.value)
    text = f"tls_server_config: {{cert: x, key: CANARY}}\nbasic_auth_users: {{a: {HASH}}}"
    shown = repr(load(tmp_path, text))
    assert "CANARY" not in shown
    assert HASH not in shown


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_web_config(tmp_path / "none.yml")
    with pytest.raises(ConfigError, match="directory"):
        load_web_config(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["tls_server_config", "cert_file", "key_file", "client_auth_type", "cipher_suites",
         "http_server_config", "http2", "headers", "X-Frame-Options", "basic_auth_users",
         "rate_limit", "interval", "burst", "min_version", "max_version", "client_allowed_sans"]),
        inner, max_size=4), max_leaves=8))  # fmt: skip
def test_no_document_raises_anything_else(tmp_path: Path, document: object) -> None:
    with contextlib.suppress(ConfigError):
        load(tmp_path, yaml.safe_dump(document))
