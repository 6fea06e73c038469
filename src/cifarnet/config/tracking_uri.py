"""Which URIs of an experiment tracker a config may hold."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from cifarnet.config.text import brief, is_text

# What MLflow's client takes, and SQLAlchemy's names of a database with its driver.
_SCHEMES = ("", "file", "http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
_SECRET = ("password", "passwd", "pwd", "secret", "token")


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
    if (scheme := parts.scheme.split("+")[0]) not in _SCHEMES:
        listed = ", ".join(filter(None, _SCHEMES))
        raise ValueError(f"expected a folder or a URI of {listed}; received one of {scheme}:")
    names = [name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if secret or any(word in name for word in _SECRET for name in names):
        raise ValueError(
            "expected a URI without a password, which config.yaml would hold. For a server, "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; "
            "for a database, use its password file, or a server in front of it"
        )
