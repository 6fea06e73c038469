"""Where the trials of a sweep are counted: a journal file, or a database by its URL."""

from __future__ import annotations

import importlib.util
import sys
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

from cifarnet.errors import ConfigError, RunError
from cifarnet.sweeps.folder import SweepFolder

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage

_CONNECT_SECONDS = 10
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


def require_optuna() -> None:
    """Check that Optuna is installed, and keep it from logging.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError(
            "sweeps need the package optuna; install it with: pip install 'cifarnet[sweep]'"
        )
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")


def without_password(url: str | None) -> str:
    """Return a URL as it may be stored, `***` for its password; empty without a URL.

    Raises:
        ConfigError: it is no URL of a database.
    """
    return _parse(url).render_as_string(hide_password=True) if url else ""


def open_study(folder: SweepFolder, url: str | None) -> Study:
    """Open the study of a sweep, or make it in a storage that has none.

    Args:
        folder: of the sweep.
        url: of the storage; None: as its record says.

    Raises:
        ConfigError: another storage than the sweep's, or one whose driver is not installed.
        RunError: the storage cannot be opened.
    """
    require_optuna()
    for seconds in (0.5, 1.0, 2.0) if folder.record.storage else ():
        with suppress(*outages()):
            return _open(folder, url)
        time.sleep(seconds)
    try:
        return _open(folder, url)
    except outages() as error:
        where = folder.record.storage or str(folder.journal_file)
        raise RunError(
            f"cannot open the storage {where} of the sweep: {_first_line(error)}. Check that it is "
            "there, then run the command again."
        ) from error


def _open(folder: SweepFolder, url: str | None) -> Study:
    """Open the study, or make it; fails if another process makes the tables at the same time."""
    import optuna

    return optuna.create_study(
        storage=_storage(folder, url),
        study_name=folder.record.study,
        direction="maximize",
        pruner=_pruner(folder),
        load_if_exists=True,
    )


def outages() -> tuple[type[Exception], ...]:
    """Return the kinds of errors of a storage that is away, and may come back."""
    from optuna.exceptions import StorageInternalError

    found: tuple[type[Exception], ...] = (StorageInternalError, OSError)
    if "sqlalchemy" in sys.modules:
        from sqlalchemy.exc import SQLAlchemyError

        found = (*found, SQLAlchemyError)
    return found


def _pruner(folder: SweepFolder) -> BasePruner:
    import optuna

    prune = folder.record.prune
    if prune is None:
        return optuna.pruners.NopPruner()
    return optuna.pruners.SuccessiveHalvingPruner(
        min_resource=prune.first, reduction_factor=prune.factor
    )


def _storage(folder: SweepFolder, url: str | None) -> BaseStorage:
    from optuna.storages import JournalStorage, RDBStorage

    recorded = folder.record.storage
    given = recorded if url is None else without_password(url)
    if given != recorded:
        raise ConfigError(
            f"storage: {folder.path} counts its trials in {recorded or 'its own journal.log'}, "
            f"received {given}. Leave out --storage, or give another `name:` for a new sweep."
        )
    if not recorded:
        from cifarnet.sweeps.journal import Journal

        return JournalStorage(Journal(folder.journal_file))
    if url is None and ":***@" in recorded:
        raise ConfigError(
            f"storage: the password of {recorded} is not stored. Give the whole URL: --storage URL"
        )
    parsed = _parse(url or recorded)
    is_postgres = parsed.get_backend_name() == "postgresql"
    connect = {"connect_timeout": _CONNECT_SECONDS} if is_postgres else {}
    try:
        return RDBStorage(
            parsed.render_as_string(hide_password=False),
            engine_kwargs={"pool_pre_ping": True, "connect_args": connect},
        )
    except ImportError as error:
        raise ConfigError(
            f"storage: the driver of {recorded} is not installed: {_first_line(error)}. For "
            "PostgreSQL: pip install 'cifarnet[postgres]'"
        ) from error


def _parse(url: str):  # type: ignore[no-untyped-def]  # of a package that may be missing
    require_optuna()
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "storage: expected the URL of a database such as postgresql://USER@HOST/NAME"
        ) from None  # the cause may have a part of the password
    if {"password", "sslpassword"} & set(parsed.query) or "@" in (parsed.host or ""):
        raise ConfigError(
            "storage: a password stands before the host, as in postgresql://USER:PASSWORD@HOST/"
            "NAME (with %40 for an @ in it), or in PGPASSWORD; the rest of a URL is stored"
        )
    return parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
