"""Namespaces: each in a process of its own, since there is no way back."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def python(code: str, *arguments: str) -> str:
    """What the code prints."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


NETWORK = """
import socket
from harness.platforms.linux import enter_network_namespace
with socket.create_server(("127.0.0.1", 0)) as outside:
    if not enter_network_namespace():
        print("refused")
    else:
        address = outside.getsockname()
        with socket.socket() as client:
            print("outside", client.connect_ex(address) == 0)
        with socket.create_server(address) as inside, socket.create_connection(address):
            print("inside", inside.accept()[1][0])
        print("interfaces", [name for _, name in socket.if_nameindex()])
"""


def test_a_network_namespace_has_a_loopback_of_its_own() -> None:
    said = python(NETWORK)
    if said == "refused":
        pytest.skip("this system lets us make no network namespace")
    assert said.splitlines()[:2] == ["outside False", "inside 127.0.0.1"]
    assert "'lo'" in said.splitlines()[2]
    assert "eth" not in said.splitlines()[2]


MOUNT = """
import sys
from pathlib import Path
from harness.platforms.linux import enter_network_namespace, mount_privately
if not enter_network_namespace():
    print("refused")
else:
    try:
        mount_privately(sys.argv[1], sys.argv[2])
    except OSError as error:
        print("refused")
    else:
        print(sorted(path.name for path in Path(sys.argv[2]).iterdir()))
"""


def test_a_private_mount_is_seen_by_the_process_alone(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "file").touch()
    said = python(MOUNT, str(source), str(target))
    if said == "refused":
        pytest.skip("this system lets us mount nothing")
    assert said == "['file']"
    assert list(target.iterdir()) == []


def test_a_mount_that_fails_says_what() -> None:
    code = MOUNT.replace('print("refused")', "print(error)", 2).replace("print(error)", 'print("refused")', 1)
    said = python(code, "/nowhere/at/all", "/nowhere/else")
    if said == "refused" or "unshare" in said:
        pytest.skip("this system lets us mount nothing")
    assert "mount --bind /nowhere/at/all /nowhere/else: No such file or directory" in said
