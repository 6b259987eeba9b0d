"""Sentinels are planted wherever a secret can stand; none may come out, and nothing else may be lost."""

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.evidence.redaction import Redactor, redactor

SENTINEL = "s3nt1nel"
REDACTOR = Redactor(salt=b"salt of the run")
PEM = f"-----BEGIN RSA PRIVATE KEY-----\nMIIE{SENTINEL}\nabc\n-----END RSA PRIVATE KEY-----"


def shown(value: Any) -> str:
    return json.dumps(REDACTOR.data(value))


@pytest.mark.parametrize(
    "data",
    [
        {"privatekey": SENTINEL},
        {"privatekey": {"key": SENTINEL, "parts": [SENTINEL]}},
        {"config": {"config": SENTINEL}},
        {"client-key-data": SENTINEL},
        {"EMCO_DATA_KEY": SENTINEL},
        {"userPassword": SENTINEL, "DB_EMCO_PASSWORD": SENTINEL},
        {"headers": {"Authorization": f"Bearer {SENTINEL}"}},
        {"headers": [["authorization", f"Basic {SENTINEL}"]]},
        {"token": 471147114711, "also": SENTINEL[:0]},
        {"env": [{"name": "GIT_TOKEN", "value": SENTINEL}]},
        {"where": "mongo emco.resources proj1/lc1 privatekey", "kind": "differs", "expected": SENTINEL, "actual": "x"},
        {"kind": "Secret", "data": {"a": SENTINEL}, "stringData": {"b": SENTINEL}},
        {"uri": f"mongodb://emco:{SENTINEL}@127.0.0.1:27017/emco"},
        {"body": json.dumps({"spec": {"password": SENTINEL}})},
        {"body": json.dumps({"body": json.dumps({"password": f'quo"{SENTINEL}"te'})})},
        {"log": f"key is {PEM}, so"},
        {"deep": [[{"x": ({"passphrase": SENTINEL},)}]]},
    ],
    ids=lambda data: json.dumps(data)[:60],
)
def test_data_comes_out_without_the_sentinel(data: dict[str, Any]) -> None:
    assert SENTINEL not in shown(data)
    assert "471147114711" not in shown(data)


@pytest.mark.parametrize(
    "text",
    [
        PEM,
        PEM[: PEM.index("abc")],
        f"MIIEabc\nAB{SENTINEL}\n-----END PRIVATE KEY-----",
        f"password={SENTINEL} and more",
        f"EMCO_DATA_KEY={SENTINEL}",
        f"  client-key-data: {SENTINEL}\n  name: x",
        f"password: two words {SENTINEL}\nname: x",
        f"password: |\n  first\n  {SENTINEL}\nname: x",
        f'cut off {{"metadata": {{"name": "x"}}, "password": "{SENTINEL} and no end',
        f'cut off "password": "{SENTINEL} and\nno end',
        f'cut off {{"privatekey": {{"key": "{SENTINEL}"',
        f'msg="{{\\"password\\":\\"{SENTINEL}\\"}}"',
        f'msg="{{\\"password\\":\\"a\\\\\\"{SENTINEL}\\"}}"',
        f'sent {{"config":"{SENTINEL}"}} to rsync',
        f"Authorization: Bearer {SENTINEL}",
        f"curl -H 'Authorization: Bearer {SENTINEL}' http://x",
        f"dial etcd://root:{SENTINEL}@127.0.0.1:2379 failed",
        f"kind: Secret\nmetadata:\n  name: x\ndata:\n  one: {SENTINEL}\n  two: {SENTINEL}\n",
        f"level=error token={SENTINEL}, next=1",
        f"eyJhbGciOiJIUzI1NiJ9.{SENTINEL}.{SENTINEL}",
    ],
)
def test_text_comes_out_without_the_sentinel(text: str) -> None:
    assert SENTINEL not in REDACTOR.text(text)


def test_base64_of_a_kubeconfig_and_of_pem_is_masked() -> None:
    kubeconfig = base64.b64encode(b"apiVersion: v1\nkind: Config\nusers: [] #" + bytes(range(60)))
    short_pem = base64.b64encode(PEM.encode()).decode()[:40]
    assert re.fullmatch(r"stored \[masked #[0-9a-f]{6}\] here", REDACTOR.text(f"stored {kubeconfig.decode()} here"))
    assert re.fullmatch(r"stored \[masked #[0-9a-f]{6}\] here", REDACTOR.text(f"stored {short_pem} here"))


@pytest.mark.parametrize(
    "text",
    [
        "dcm/logical-clouds/create-l1@after:mongo.stateInfo~2.crash",
        "/context/8721340921834/app/collectd/cluster/provider1+Cluster2/resource/r1-cm+ConfigMap/levels/0/and/so/on",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "http://127.0.0.1:9031/v2/projects/proj1/logical-clouds/lc1?status=true&type=cluster",
        '{"metadata": {"name":   "spelling is kept"}}',
        "SIGKILL reaped (pid 4711), 5 of 5 connections ended",
        "config: could not be read",
        "kind: ConfigMap\ndata:\n  one: visible\n",
        "password: ''\nname: x",
    ],
)
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert text == REDACTOR.text(text)


def test_harmless_data_stays_as_it_is() -> None:
    data = {
        "keyId": "abc",
        "config": {"replicas": 3},
        "token": None,
        "references": [{"key": {"project": "p"}}],
        "n": 1.5,
    }
    assert data == REDACTOR.data(data)


def test_the_neighbours_of_a_secret_stay_readable() -> None:
    text = 'POST /v2/x {"name": "lc1", "password": "abc", "level": "1"} -> 201'
    assert re.sub(r"#[0-9a-f]{6}", "#", REDACTOR.text(text)) == (
        'POST /v2/x {"name": "lc1", "password": "[masked #]", "level": "1"} -> 201'
    )


def test_different_secrets_stay_different_and_equal_ones_equal_but_only_within_a_run() -> None:
    one, two, again = (REDACTOR.data({"privatekey": value})["privatekey"] for value in ("a-key", "b-key", "a-key"))
    assert one == again
    assert one != two
    assert one != Redactor(salt=b"another run").data({"privatekey": "a-key"})["privatekey"]


def test_known_values_are_masked_wherever_they_stand_even_in_keys() -> None:
    knows = redactor(salt=b"x", environment={"DB_PASSWORD": SENTINEL, "HOME": "/", "A_TOKEN": ""}, known=["abc"])
    assert tuple(value for value in knows.known if len(value) > 3) == (SENTINEL,)
    assert SENTINEL not in json.dumps(knows.data({f"/etcd/{SENTINEL}/x": f"failed with {SENTINEL}!"}))
    assert knows.text("/root abc") == "/root abc", "too short to be masked without harm"


@pytest.mark.parametrize(
    "text, shown",
    [
        ("/home/me/emco/bin/dcm: no such file", "bin/dcm: no such file"),
        ("see /home/me/.cache/x and /home/me.", "see ~/.cache/x and /home/me."),
        ("in /home/me", "in ~/"),
        ("in /home/me/emco", "in ."),
        ("--emco-bin '/home/me/emco/b c'", "--emco-bin 'b c'"),
        ("/home/mean /x/home/me/y http://h/home/me/emco", "/home/mean /x/home/me/y http://h/home/me/emco"),
        ('{"at": "/home/me/emco/x"}', '{"at": "x"}'),
    ],
)
def test_places_of_this_machine_are_not_told(text: str, shown: str) -> None:
    places = {"/home/me": "~/", "/home/me/emco": "", "/": "nothing"}
    assert redactor(salt=b"x", environment={}, places=places).text(text) == shown


def test_bytes_and_broken_text_come_out_as_text() -> None:
    assert REDACTOR.data([b"a\xff", "b\ud800"]) == ["a\\xff", "b?"]


def test_time_grows_with_the_length_of_the_text_and_no_faster() -> None:
    for hostile in ("a=" * 50_000, "word " * 20_000, "\\" * 100_000, "a" * 100_000, "-----END PRIVATE KEY-----" * 500):
        assert len(REDACTOR.text(hostile)) > 0, "with a quadratic pattern this test would run into the time limit"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("password"), inner, max_size=4),
    max_leaves=12,
)


@given(_JSON)
def test_masking_twice_changes_nothing(data: Any) -> None:
    once = REDACTOR.data(data)
    assert once == REDACTOR.data(once)


@given(st.text(alphabet=st.sampled_from("ab =:\"'\\{}[]\n|>-,&tokenpassword"), max_size=60))
def test_masking_text_twice_changes_nothing(text: str) -> None:
    once = REDACTOR.text(text)
    assert once == REDACTOR.text(once)
