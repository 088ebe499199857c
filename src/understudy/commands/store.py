"""`understudy store check | backup | upgrade`."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from understudy.store.project import open_project


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckConfig:
    """Verify a store: the database's integrity, the record chain, the datasets' files."""

    project: Path = Path()
    """The project's folder."""


def check_store(config: CheckConfig) -> str:
    """A summary; StoreDamaged names the first problems."""
    from understudy.store.maintenance import check

    return check(open_project(config.project))


@dataclass(frozen=True, kw_only=True, slots=True)
class BackupConfig:
    """Copy the store to a file, and the gateway's log beside it; safe while both are in use."""

    out: Positional[Path]
    """The copy: a SQLite file, or a pg_dump archive for PostgreSQL. The log's copy is OUT.log."""
    project: Path = Path()
    """The project's folder."""


def backup_store(config: BackupConfig) -> str:
    """Copy a snapshot of the store and one of the log, each atomically."""
    from understudy.store.maintenance import backup

    backup(open_project(config.project), config.out)
    return f"wrote {config.out}"


@dataclass(frozen=True, kw_only=True, slots=True)
class UpgradeConfig:
    """Bring a store of an earlier version to the newest schema, in one transaction."""

    project: Path = Path()
    """The project's folder."""


def upgrade_store(config: UpgradeConfig) -> str:
    """Upgrade the store; ValueError for an unknown schema."""
    from understudy.store.engine import make_engine
    from understudy.store.migrate import newest_version, upgrade, version_of

    engine = make_engine(open_project(config.project).url)
    before = version_of(engine)
    upgrade(engine)
    return f"schema {before} -> {newest_version()}"
