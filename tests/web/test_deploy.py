"""docs/deploy.md: its nginx configuration in front of real servers, and a backup restored."""

import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from tests.docs.pages import DOCS
from tests.labeling_client import LabelingClient
from tests.web.site import PASSWORD, TIDES, Site, answers, free_port, make_site, prompt

from understudy.cli import main
from understudy.loop import check_deployment as deployment
from understudy.loop.check_deployment import CheckDeploymentConfig

NGINX = shutil.which("nginx")
OPENSSL = shutil.which("openssl")
NAME = "localhost"


@dataclass
class Front:
    """nginx with the configuration of the docs."""

    site: Site
    url: str
    plain: str
    certificate: Path

    def client(self) -> httpx2.Client:
        context = ssl.create_default_context(cafile=str(self.certificate))
        return httpx2.Client(base_url=self.url, verify=context, trust_env=False, timeout=30)


def configuration(folder: Path, ports: dict[str, int], certificate: Path, key: Path) -> str:
    """The docs' servers with this test's names, ports and certificate; nothing else changed."""
    text = (DOCS / "deploy.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```nginx\n(.*?)```", text, re.DOTALL)
    changes = {
        "listen 443": f"listen 127.0.0.1:{ports['tls']}",
        "listen 80": f"listen 127.0.0.1:{ports['plain']}",
        "127.0.0.1:8080": f"127.0.0.1:{ports['label']}",
        "labels.example.org;": f"{NAME};",
        "labels.example.org api.example.org;": f"{NAME};",
        "/etc/letsencrypt/live/labels.example.org/fullchain.pem": str(certificate),
        "/etc/letsencrypt/live/labels.example.org/privkey.pem": str(key),
    }
    for old, new in changes.items():
        assert old in block or old.startswith("labels.example.org api"), old
        block = block.replace(old, new)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{block}}}\n"
    )


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    if NGINX is None or OPENSSL is None:
        pytest.skip("nginx or openssl is not installed (Debian: apt-get install nginx openssl)")
    folder = tmp_path_factory.mktemp("front")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "90", "-subj", f"/CN={NAME}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    names = ["-addext", f"subjectAltName=DNS:{NAME}"]
    subprocess.run([OPENSSL, *made, *names, *files], check=True, capture_output=True)
    site = make_site(folder, "--tls", "--names", NAME)
    ports = {"tls": free_port(), "plain": free_port(), "label": site.port}
    conf = folder / "nginx.conf"
    conf.write_text(configuration(folder, ports, certificate, key))
    site.start()
    command = [NGINX, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(conf)]
    with subprocess.Popen(command) as server:
        try:
            _wait_for_port(ports["plain"])
            urls = (f"https://{NAME}:{ports['tls']}", f"http://{NAME}:{ports['plain']}")
            yield Front(site, *urls, certificate)
        finally:
            server.terminate()
            site.stop()


def _wait_for_port(port: int) -> None:
    """Ask until somebody listens."""
    for _ in range(100_000):
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise AssertionError("nginx does not listen; see error.log")


def test_a_labeler_signs_in_and_sends_through_nginx(front: Front) -> None:
    to = prompt("p", "Why are there tides?")
    front.site.add([to], answers(to, TIDES[:2]))
    front.site.plan("rank")
    front.site.account("Ann")
    with front.client() as http:
        page = http.get("/sign-in")
        assert page.headers["strict-transport-security"] == "max-age=31536000"
        assert "Secure" in page.headers["set-cookie"]
        client = LabelingClient(http)
        client.sign_in("Ann", PASSWORD)
        task = client.next()
        assert task is not None
        ratings = {one["id"]: {"likert": 4} for one in task["answers"]}
        tiers = [[one["id"]] for one in task["answers"]]
        sent = {"id": "through-nginx", "outcome": "ranked", "ratings": ratings, "tiers": tiers}
        assert client.submit(task["id"], sent)["state"] == "done"


def test_plain_http_is_sent_on_and_another_name_is_refused(front: Front) -> None:
    reply = httpx2.get(f"{front.plain}/work?kind=rank", trust_env=False)
    assert reply.status_code == 301
    assert reply.headers["location"] == f"https://{NAME}/work?kind=rank"
    with front.client() as http:
        assert http.get("/health", headers={"Host": "evil.example"}).status_code >= 400


def test_the_check_looks_at_the_address(front: Front) -> None:
    config = CheckDeploymentConfig(
        project=front.site.project.folder, labels=front.url, ca_file=front.certificate
    )
    found = [
        (state, text) for state, what, text in deployment._findings(config) if what == "labels"
    ]
    assert [state for state, _ in found] == ["ok", "ok", "ok"], found
    distrusting = CheckDeploymentConfig(project=front.site.project.folder, labels=front.url)
    (one,) = [text for _, what, text in deployment._findings(distrusting) if what == "labels"]
    assert "certificate" in one


def test_a_backup_is_restored_as_the_page_says(tmp_path: Path, capsys) -> None:
    site = make_site(tmp_path)
    folder = site.project.folder
    site.add([prompt("kept", "Before the copy?")])
    assert main(["store", "backup", str(tmp_path / "copy.sqlite"), "--project", str(folder)]) == 0
    site.add([prompt("lost", "After the copy?")])
    site.store.engine.dispose()
    for name in ("store.sqlite-wal", "store.sqlite-shm"):
        (folder / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "copy.sqlite", folder / "store.sqlite")
    assert main(["store", "check", "--project", str(folder)]) == 0
    assert "the store is sound" in capsys.readouterr().out
    assert [one.id for one in site.project.open_store().prompts()] == ["kept"]
