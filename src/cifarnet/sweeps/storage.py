"""Where the trials of a sweep are counted: a journal file, or a database by its URL."""

from __future__ import annotations

import importlib.util
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cifarnet.errors import ConfigError, RunError
from cifarnet.sweeps.folder import SweepFolder

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage
    from sqlalchemy.engine import URL

T = TypeVar("T")

_CONNECT_SECONDS = 10
_AGAIN_SECONDS = 0.5
_CHECK = "Check that its server runs, and the user, host, port and name in the URL"
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


def connect(url: str) -> None:
    """Connect to a database, before a folder records it; raises as `open_study`."""
    _patiently(partial(_database, _parse(url)), without_password(url), _CHECK)


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
    recorded = folder.record.storage
    if not recorded:
        if url:
            raise ConfigError(
                f"storage: {folder.path} counts its trials in its own journal.log, received "
                f"{without_password(url)}. Leave out --storage, or give another `name:` for a new "
                "sweep"
            )
        where, advice = str(folder.journal_file), "Check that it is there"
        return _patiently(partial(_open, folder, url), where, advice, attempts=1)
    advice = _CHECK
    if not url:
        advice += "; if it moved, give its URL with --storage"
        if ":***@" in recorded:
            advice += "; its password is not stored: give it with --storage, or in PGPASSWORD"
    return _patiently(partial(_open, folder, url), without_password(url) or recorded, advice)


def _patiently(call: Callable[[], T], where: str, advice: str, attempts: int = 4) -> T:
    """Call again after a failure: another process may make the tables at the same time."""
    for left in reversed(range(attempts)):
        try:
            return call()
        except outages() as error:  # of packages that the call imports
            if not left:
                raise RunError(
                    f"cannot open the storage {where} of the sweep: {reason(error)}. {advice}. "
                    "Then run the command again."
                ) from error
            time.sleep(_AGAIN_SECONDS * 2 ** (attempts - 1 - left))
    raise AssertionError


def reason(error: BaseException) -> str:
    """Return the first line of what is at the root of an error of a storage, without a period."""
    while (cause := getattr(error, "orig", None) or error.__cause__) is not None:
        error = cause
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip().rstrip(".")


def _open(folder: SweepFolder, url: str | None) -> Study:
    """Open the study, or make it."""
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
    from optuna.storages import JournalStorage

    recorded = folder.record.storage
    if not recorded:
        from cifarnet.sweeps.journal import Journal

        return JournalStorage(Journal(folder.journal_file))
    # The password of the record is `***`; without one the driver asks its environment.
    stored = _parse(recorded)._replace(password=None)
    given = _parse(url) if url else stored
    found = _database(given)
    if given._replace(password=None) != stored or folder.runs():
        _require_trials(folder, found, given.render_as_string())
    return found


def _require_trials(folder: SweepFolder, storage: BaseStorage, where: str) -> None:
    """Check that a database has trials of this folder: another one would begin the sweep anew."""
    import optuna

    folders = set()
    with suppress(KeyError):  # no such study
        study = optuna.load_study(study_name=folder.record.study, storage=storage)
        folders = {one.user_attrs.get("folder") for one in study.get_trials(deepcopy=False)}
    if folder.record.folder_id not in folders:
        raise ConfigError(
            f"storage: expected the trials of {folder.path}, received {where}, which has none of "
            f"them. It was begun with {folder.record.storage}; if that moved, give its URL with "
            "--storage. For a new sweep give another `name:`"
        )


def _database(url: URL) -> BaseStorage:
    from optuna.storages import RDBStorage

    is_postgres = url.get_backend_name() == "postgresql"
    connect = {"connect_timeout": _CONNECT_SECONDS} if is_postgres else {}
    try:
        return RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs={"pool_pre_ping": True, "connect_args": connect},
        )
    except ImportError as error:
        raise ConfigError(
            f"storage: the driver of {url.render_as_string()} is not installed: {reason(error)}. "
            "For PostgreSQL: pip install 'cifarnet[postgres]'"
        ) from error


def _parse(stated: str) -> URL:
    require_optuna()
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(stated)
        url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
        url.get_dialect()
    except (ArgumentError, ValueError):
        # Of what cannot be parsed, any part may be the password.
        received = f"{stated.partition(':')[0]}:..." if ":" in stated else stated
        raise ConfigError(
            "storage: expected the URL of a database such as postgresql://USER@HOST/NAME, "
            f"received {received}"
        ) from None  # the cause may have a part of the password
    if {"password", "sslpassword"} & set(url.query) or "@" in (url.host or ""):
        raise ConfigError(
            "storage: a password stands before the host, as in postgresql://USER:PASSWORD@HOST/"
            "NAME (with %40 for an @ in it), or in PGPASSWORD; the rest of a URL is stored"
        )
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_absolute():
        raise ConfigError(
            "storage: expected the absolute path of a SQLite file, such as "
            f"sqlite:////home/me/trials.db, received {stated}: a relative one is another file in "
            "another current directory"
        )
    return url
