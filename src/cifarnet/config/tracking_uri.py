"""Which URIs of an experiment tracker a config may hold."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from cifarnet.config.text import brief, is_text

# What MLflow's client takes, and SQLAlchemy's names of a database with its driver.
_SCHEMES = ("", "file", "http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
# Also inside a value, as `odbc_connect` has it.
_SECRET = re.compile(r"(password|passwd|pwd|secret|token)\w*\s*=", re.IGNORECASE)


def check_tracking_uri(uri: str) -> None:
    """Refuse a URI that is no text of one line, or that has a password in it.

    A config is written into each run's `config.yaml`, and its overrides into `run.json`.

    Raises:
        ValueError: says what is wrong, without the password.
    """
    if not uri.strip() or not uri.isprintable() or not is_text(uri):
        raise ValueError(
            "expected a URI of MLflow, such as http://127.0.0.1:5000 or sqlite:///mlflow.db, "
            f"received {brief(uri)}"
        )
    try:
        parts = urlsplit(uri)
        secret = parts.password is not None
    except ValueError as error:  # such as brackets that enclose no IPv6 address
        raise ValueError(f"expected a URI of MLflow, received one that is none: {error}") from error
    scheme = parts.scheme.split("+")[0]
    if len(scheme) != 1 and scheme not in _SCHEMES:  # one letter: a drive of Windows
        listed = ", ".join(filter(None, _SCHEMES))
        raise ValueError(f"expected a folder or a URI of {listed}; received one of {scheme}:")
    if secret or _SECRET.search(unquote(parts.query)):
        raise ValueError(
            "expected a URI without a password, which config.yaml would hold. For a server, "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; "
            "for a database, use its password file, or a server in front of it"
        )
