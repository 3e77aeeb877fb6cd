"""The keys by which every HTTP endpoint is reached: certificates and authentication."""

from __future__ import annotations

from pathlib import Path

from phasegate.contract.frozen import keyed
from phasegate.contract.secrets import Secret
from phasegate.contract.sections import Section, setting
from phasegate.contract.settings_rules import of_basic_auth
from phasegate.contract.shapes import FilePath, Text


@keyed
class BasicAuth:
    """User and password of HTTP basic authentication."""

    username: str = setting(
        Text("a name without a colon", r"[^:\r\n]+"), "The user.", example="probe"
    )
    password: Secret | None = setting(
        Text("a password", secret=True), "The password.", None, example='"${API_PASSWORD}"'
    )
    password_file: Path | None = setting(
        FilePath(), "A file that holds the password; read again for each request.", None,
        example="/run/secrets/api-password",
    )  # fmt: skip


@keyed
class HttpAccess:
    """Certificates and authentication of an HTTP client."""

    ca: Path | None = setting(
        FilePath(), "Certificates that are trusted, PEM; absent: those of the system.", None,
        example="/etc/ssl/our-ca.pem",
    )  # fmt: skip
    cert: Path | None = setting(
        FilePath(), "The client's own certificate, PEM.", None, example="/etc/ssl/client.pem"
    )
    key: Path | None = setting(
        FilePath(), "The key of `cert`, PEM.", None, example="/etc/ssl/client.key"
    )
    basic_auth: BasicAuth | None = setting(
        Section(BasicAuth, "username, password or password_file", of_basic_auth),
        "User and password.",
        None,
        example="{username: probe, password_file: /run/secrets/api-password}",
    )
    bearer_file: Path | None = setting(
        FilePath(), "A file that holds a bearer token; read again for each request.", None,
        example="/run/secrets/token",
    )  # fmt: skip
