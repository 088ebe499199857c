"""A PostgreSQL of the tests' own: on a unix socket in a temporary folder, as a non-root user.

Debian's package `postgresql` brings it. `server()` is None where it is not installed.
"""

import atexit
import os
import pwd
import shutil
import signal
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


def server() -> str | None:
    """The host part of the URLs of the server that the tests share."""
    shared = _shared()
    return shared.host if shared else None


@cache
def _shared() -> "Server | None":
    """Started once per test process."""
    return Server() if program("initdb") else None


class Server:
    """A server with settings of its own, which ends with the test process at the latest.

    `host` is the host part of its URLs, with a place for the database's name; `data` is where all
    that it keeps is.
    """

    def __init__(self, *settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.host = f"postgresql+psycopg://tester@/{{}}?host={self.folder}"
        user = _user()
        options = {"user": user, "group": pwd.getpwnam(user).pw_gid} if os.geteuid() == 0 else {}
        if options:
            shutil.chown(self.folder, user)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": self.folder}
        initdb = [program("initdb"), "-D", self.data, "-U", "tester", "--no-sync", "--locale=C"]
        initdb += ["-E", "UTF8", "--wal-segsize=1"]  # MB: `users forget` writes all of them once
        subprocess.run(initdb, check=True, **quiet, **options)
        self.command = [program("postgres"), "-D", self.data, "-k", self.folder, "-F"]
        for setting in ("listen_addresses=", *settings):
            self.command += ["-c", setting]
        self.options = {**quiet, **options}
        atexit.register(self.stop)
        self.start()

    def start(self) -> None:
        """Run it, at first and after `halt`."""
        self.process = subprocess.Popen(self.command, **self.options)
        _wait(self.host.format("postgres"), self.process)

    def halt(self) -> None:
        """End it, and every client's connection; what it keeps stays."""
        self.process.send_signal(signal.SIGINT)  # SIGTERM would wait for every client to go
        self.process.wait()

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as a superuser, each by itself."""
        engine = create_engine(self.host.format(database), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def stop(self) -> None:
        """End it and remove its files."""
        atexit.unregister(self.stop)
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)


def fresh_database(migrated: bool = True) -> str:
    """The URL of a new database, with the newest schema or empty."""
    shared = _shared()
    assert shared is not None
    name = f"t{uuid4().hex}"
    source = _template(shared) if migrated else "template0"
    shared.execute(f"CREATE DATABASE {name} TEMPLATE {source}")
    return shared.host.format(name)


@cache
def _template(shared: Server) -> str:
    shared.execute("CREATE DATABASE migrated")
    engine = make_engine(shared.host.format("migrated"))
    upgrade(engine)
    engine.dispose()
    return "migrated"


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
