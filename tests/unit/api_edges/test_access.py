"""Kubeconfigs: what is used, what is refused and with which sentence."""

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from harness.faults.victim import UsageError
from harness.platforms.edges.access import read_hub, read_kubeconfig, write_client_files, write_kubeconfig
from harness.platforms.edges.authority import Authority, open_authority

LOCAL = "http://127.0.0.1:8001"


def kubeconfig(
    folder: Path, *, server: str = LOCAL, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None
) -> Path:
    path = folder / "kubeconfig"
    content = {
        "clusters": [{"name": "k", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "kind-hub", "context": {"cluster": "k", "user": "u"}}],
        "current-context": "kind-hub",
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_the_only_context_needs_no_name(tmp_path: Path) -> None:
    access = read_kubeconfig(kubeconfig(tmp_path, user={"token": "sesame"}), "")
    assert (access.address, access.tls, access.token) == (("127.0.0.1", 8001), None, "sesame")
    assert access.url == "http://127.0.0.1:8001"
    assert "sesame" not in repr(access)


def test_of_several_contexts_the_current_one_is_not_taken(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path)
    content = yaml.safe_load(path.read_text())
    content["contexts"].append({"name": "production", "context": {"cluster": "k", "user": "u"}})
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError) as error:
        read_kubeconfig(path, "")
    assert f"{path}: 2 contexts (kind-hub, production); name the one to use: {path}#CONTEXT" == str(error.value)
    assert read_kubeconfig(path, "production").address == ("127.0.0.1", 8001)
    with pytest.raises(UsageError, match="there is no context 'staging'; there are kind-hub, production"):
        read_kubeconfig(path, "staging")


@pytest.mark.parametrize(
    "server, sentence",
    [
        ("https://api.example.com:6443", "api.example.com is neither on this machine nor in a private network"),
        ("https://203.0.114.7:6443", "203.0.114.7 is neither on this machine nor in a private network"),
        ("https://127.0.0.1:6443/k8s/clusters/c-1", "https://host:port is expected"),
        ("ftp://127.0.0.1", "https://host:port is expected"),
        ("https://127.0.0.1:port", "is no address"),
        ("", "https://host:port is expected"),
    ],
)
def test_servers_that_are_refused(tmp_path: Path, server: str, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        read_kubeconfig(kubeconfig(tmp_path, server=server), "")
    assert sentence in str(error.value)


@pytest.mark.parametrize("server", ["https://127.8.9.1:6443", "https://172.18.0.2:6443", "https://localhost:6443"])
def test_servers_that_are_near(tmp_path: Path, server: str) -> None:
    assert server == read_kubeconfig(kubeconfig(tmp_path, server=server), "").url


@pytest.mark.parametrize(
    "cluster, user, sentence",
    [
        (
            {},
            {"exec": {"command": "aws"}},
            "its user authenticates by 'exec'; a client certificate or a token is needed",
        ),
        ({}, {"username": "a", "password": "b"}, "its user authenticates by 'username'"),
        ({"tls-server-name": "x"}, {}, "its cluster has 'tls-server-name', which the harness's relay does not support"),
        ({"proxy-url": "http://p"}, {}, "its cluster has 'proxy-url'"),
        ({}, {"tokenFile": "missing"}, "its token cannot be read"),
    ],
)
def test_access_that_a_relay_cannot_stand_in_for(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError) as error:
        read_kubeconfig(kubeconfig(tmp_path, cluster=cluster, user=user), "")
    assert sentence in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "clusters: []", "contexts: [{name: a}]\nclusters: []"])
def test_what_is_no_kubeconfig(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="this is no kubeconfig"):
        read_kubeconfig(path, "")


def test_a_context_without_its_cluster(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text("contexts: [{name: a, context: {cluster: gone}}]\nclusters: []", encoding="utf-8")
    with pytest.raises(UsageError, match="its cluster 'gone' is not in the file"):
        read_kubeconfig(path, "")


def test_certificates_by_value_and_by_file(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("emco")
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    user = {
        "client-certificate-data": base64_of(issued.cert_chain_pems[0].bytes()),
        "client-key-data": base64_of(issued.private_key_pem.bytes()),
    }
    path = kubeconfig(tmp_path, server="https://127.0.0.1:1", cluster={"certificate-authority": "ca.pem"}, user=user)
    tls = read_kubeconfig(path, "").tls
    assert tls is not None
    assert tls.verify_mode == ssl.CERT_REQUIRED
    assert tls.cert_store_stats()["x509_ca"] == 1


@pytest.mark.parametrize("data", ["not base64!", base64_of(b"no certificate")])
def test_certificates_that_are_none(tmp_path: Path, data: str) -> None:
    path = kubeconfig(tmp_path, server="https://127.0.0.1:1", cluster={"certificate-authority-data": data})
    with pytest.raises(UsageError, match="its certificates cannot be used"):
        read_kubeconfig(path, "")


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "for-emco"
    pem = Authority.passing().pem
    path.write_text(write_kubeconfig("p1+c1", "https://127.0.5.1:1", authority=pem, token="t"), encoding="utf-8")
    access = read_kubeconfig(path, "p1+c1")
    assert (access.url, access.token) == ("https://127.0.5.1:1", "t")


def test_the_authority_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    first, second = open_authority(tmp_path / "a"), open_authority(tmp_path / "a")
    assert first.identity == second.identity
    assert first.identity != open_authority(tmp_path / "b").identity
    assert {0o600} == {path.stat().st_mode & 0o777 for path in (tmp_path / "a").glob("authority.[kp]*")}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("host", ["cluster.example.org", "1.2.3.4"])
def test_the_cluster_in_which_emco_is_may_be_anywhere_and_an_edge_may_not(tmp_path: Path, host: str) -> None:
    path = kubeconfig(tmp_path, server=f"https://{host}:6443")
    assert read_hub(path, "kind-hub").address == (host, 6443)
    with pytest.raises(UsageError, match="neither on this machine nor in a private network"):
        read_kubeconfig(path, "kind-hub")


def content(file: Path | None) -> bytes:
    assert file is not None
    assert file.stat().st_mode & 0o777 == 0o600
    return file.read_bytes()


def test_a_context_is_written_as_files_for_programs_without_kubeconfigs(tmp_path: Path) -> None:
    user = {"client-certificate-data": base64_of(b"certificate"), "client-key-data": base64_of(b"key")}
    cluster = {"certificate-authority-data": base64_of(b"authority")}
    files = write_client_files(kubeconfig(tmp_path, cluster=cluster, user=user), "kind-hub", tmp_path)
    assert (files.url, files.verified, files.token) == (LOCAL, True, "")
    assert [content(one) for one in (files.authority, files.certificate, files.key)] == [
        b"authority",
        b"certificate",
        b"key",
    ]


def test_of_a_context_with_a_token_there_are_no_files_of_a_certificate(tmp_path: Path) -> None:
    cluster = {"insecure-skip-tls-verify": True}
    files = write_client_files(kubeconfig(tmp_path, cluster=cluster, user={"token": "sesame"}), "kind-hub", tmp_path)
    assert (files.authority, files.certificate, files.key, files.token) == (None, None, None, "sesame")
    assert not files.verified
    assert "sesame" not in repr(files)
