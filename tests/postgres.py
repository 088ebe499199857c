"""A PostgreSQL of the tests' own: on a unix socket in a temporary folder, as a non-root user.

Debian's package `postgresql` brings it. `template_url()` is None where it is not installed.
"""

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from uuid import uuid4

from sqlalchemy import create_engine

from understudy.store.engine import make_engine
from understudy.store.migrate import upgrade


@cache
def program(name: str) -> str | None:
    """Path of one of PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@cache
def server() -> str | None:
    """Start a server once per test process: the host part of its URLs."""
    if program("initdb") is None:
        return None
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    user = _user()
    options = {"user": user, "group": pwd.getpwnam(user).pw_gid} if os.geteuid() == 0 else {}
    if options:
        shutil.chown(folder, user)
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    subprocess.run(
        [program("initdb"), "-D", data, "-U", "tester", "--no-sync", "--locale=C", "-E", "UTF8"],
        check=True,
        **quiet,
        **options,
    )
    process = subprocess.Popen(
        [program("postgres"), "-D", data, "-k", folder, "-c", "listen_addresses=", "-F"],
        **quiet,
        **options,
    )
    atexit.register(_stop, process, folder)
    host = f"postgresql+psycopg://tester@/{{}}?host={folder}"
    _wait(host.format("postgres"), process)
    return host


def fresh_database(migrated: bool = True) -> str:
    """The URL of a new database, with the newest schema or empty."""
    host = server()
    assert host is not None
    name = f"t{uuid4().hex}"
    source = _template() if migrated else "template0"
    _execute(f"CREATE DATABASE {name} TEMPLATE {source}")
    return host.format(name)


@cache
def _template() -> str:
    _execute("CREATE DATABASE migrated")
    engine = make_engine(server().format("migrated"))
    upgrade(engine)
    engine.dispose()
    return "migrated"


def _execute(statement: str) -> None:
    engine = create_engine(server().format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def _user() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _wait(url: str, process: subprocess.Popen) -> None:
    engine = create_engine(url)
    for _ in range(1200):
        try:
            engine.connect().close()
        except Exception:  # not up yet
            assert process.poll() is None, "postgres ended at once"
            time.sleep(0.05)
        else:
            engine.dispose()
            return
    raise AssertionError("postgres did not start in a minute")


def _stop(process: subprocess.Popen, folder: Path) -> None:
    process.terminate()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
