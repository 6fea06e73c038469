"""Who may ask: the Host and Origin of a request, and its token."""

from __future__ import annotations

import functools
import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.datastructures import Headers

from cifarnet.errors import ConfigError
from cifarnet.serving.refusals import Refused

MAX_BODY = 10_000_000  # bytes
MAX_PIXELS = 20_000_000
_MIN_TOKEN = 16  # characters
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
# Without a token: probes have none, and the page asks for it.
_OPEN_PATHS = ("/", "/v2/health/live", "/v2/health/ready")


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Access:
    """What a request must show to be answered.

    Attributes:
        host: the address the server listens on.
        hosts: further names by which it is called, lower case, without port.
        token: None: no token is asked for.
    """

    host: str
    hosts: frozenset[str] = frozenset()
    token: str | None = field(default=None, repr=False)

    def check(self, path: str, headers: Headers) -> None:
        """Check a request.

        Raises:
            Refused: 403 for a foreign Host (a name that someone has pointed to this address) or
                Origin (another site's page that asks); 401 without the token.
        """
        host = headers.get("host", "").lower()
        if not self._is_own(host):
            raise Refused(
                403, "this Host is not served; start the server with --allow-host NAME to allow it"
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host:
            raise Refused(403, "requests from pages of other origins are refused")
        if self.token is not None and path not in _OPEN_PATHS:
            self._check_token(headers.get("authorization", ""))

    @functools.lru_cache(maxsize=64)  # noqa: B019 - as long as the server
    def _is_own(self, host: str) -> bool:
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name in _LOOPBACK_NAMES or name == self.host.lower() or name in self.hosts:
            return True
        # No one can point a numeric address elsewhere; it is how probes and proxies call.
        return not is_loopback(self.host) and _is_address(name)

    def _check_token(self, authorization: str) -> None:
        kind, _, given = authorization.partition(" ")
        assert self.token is not None  # noqa: S101 - checked by the caller
        if not (
            kind.lower() == "bearer"
            and hmac.compare_digest(given.strip().encode(), self.token.encode())
        ):
            raise Refused(
                401,
                "expected the header Authorization: Bearer TOKEN",
                {"www-authenticate": "Bearer"},
            )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def access(
    host: str, token_file: str | Path | None, no_auth: bool, allow_hosts: Iterable[str]
) -> Access:
    """Return what requests must show.

    Raises:
        ConfigError: an address that other machines reach, without a token or `no_auth`; both; or a
            token that cannot be read or is short.
    """
    if token_file is not None and no_auth:
        raise ConfigError("expected a token file or no authentication, received both")
    if token_file is None and not no_auth and not is_loopback(host):
        raise ConfigError(
            f"{host} is reached from other machines: give --token-file FILE, with a token that "
            "every request must have; or --no-auth to answer everyone"
        )
    hosts = frozenset(name.lower() for name in allow_hosts)
    return Access(host, hosts, None if token_file is None else _read_token(Path(token_file)))


def _read_token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"the token file {path} cannot be read: {error}") from error
    if len(token) < _MIN_TOKEN or not token.isascii() or len(token.split()) != 1:
        raise ConfigError(
            f"{path}: expected one word of at least {_MIN_TOKEN} ASCII characters; make one with: "
            f"openssl rand -hex 32 > {path}"
        )
    return token
