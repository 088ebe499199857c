"""`understudy label` in a process of its own, and what it refuses to start with."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.stores import make_project

from understudy.cli import main
from understudy.labeling.serve import LabelConfig, make_app


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (dict(host="0.0.0.0"), "other machines can reach host 0.0.0.0"),
        (dict(host="labels.example"), "put a TLS reverse proxy in front"),
        (dict(tls=True), "give the host name"),
        (dict(port=0), "port is 0; it must be from 1 to 65535"),
        (dict(lease_minutes=-1.0), "lease_minutes is -1.0"),
    ],
)
def test_what_would_be_unsafe_or_senseless_is_refused(setting: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        LabelConfig(**setting)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_needs_no_tls(host: str) -> None:
    LabelConfig(host=host)


def test_a_folder_without_a_project_is_one_line(tmp_path: Path, capsys) -> None:
    assert main(["label", "--project", str(tmp_path)]) == 2
    assert "has no project.toml; make a project with" in capsys.readouterr().err


def test_the_application_needs_no_torch(tmp_path: Path) -> None:
    project = make_project("sqlite", tmp_path / "project")
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['transformers'] = None\n"  # importing them fails
        "from pathlib import Path\n"
        "from understudy.labeling.serve import LabelConfig, make_app\n"
        f"app = make_app(LabelConfig(project=Path({str(project.folder)!r})))\n"
        "assert len(app.state.routes) > 30\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_store_without_instructions_gets_the_built_in_ones(tmp_path: Path) -> None:
    project = make_project("sqlite", tmp_path / "project")
    for _ in range(2):
        app = make_app(LabelConfig(project=project.folder, names=("labels.example",), tls=True))
        assert app.state.frame.parts.version() == "default-1"
        assert "labels.example" in app.state.frame.settings.hosts
        app.state.frame.parts.store.engine.dispose()
