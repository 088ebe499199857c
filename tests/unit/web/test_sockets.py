"""Where servers listen, and what they say where they cannot."""

import socket
import subprocess
import sys

import pytest

from understudy.web.sockets import check_port, listen


def test_a_socket_is_bound_before_the_server_runs():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_a_port_that_is_taken_is_an_error_with_the_way_out():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            ValueError,
            match=f"{port} .Address already in use.; .*another",
        ):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("port", [0, -1, 65536, 80000])
def test_ports_that_do_not_exist_are_refused(port):
    with pytest.raises(ValueError, match=f"port is {port}; it must be from 1 to 65535"):
        check_port(port)


@pytest.mark.parametrize(
    "command", [["label"], ["serve", "--upstream", "http://127.0.0.1:1/v1"]], ids=["label", "serve"]
)
def test_both_servers_say_it_in_one_line(tmp_path, command):
    understudy = [sys.executable, "-m", "understudy.cli"]
    subprocess.run([*understudy, "new", str(tmp_path / "p")], check=True, capture_output=True)
    with listen("127.0.0.1", 0) as listener:
        for port in (str(listener.getsockname()[1]), "80000"):
            done = subprocess.run(
                [*understudy, *command, "--project", str(tmp_path / "p"), "--port", port],
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 2, done
            assert done.stdout == ""
            assert done.stderr.startswith("understudy: error: ")
            assert done.stderr.count("\n") == 1
