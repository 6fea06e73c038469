"""Who may ask: addresses, tokens, names; and what a server refuses to start with."""

import json

import pytest
from helpers.commands import cifarnet
from helpers.serving import serving

from cifarnet.errors import ConfigError
from cifarnet.serving.limits import access

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def guarded(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("token") / "token.txt"
    path.write_text(f"{TOKEN}\n")
    options = ("--host", "0.0.0.0", "--token-file", path, "--allow-host", "Model.Example")
    with serving(network, *options) as server:
        yield server


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Basic {TOKEN}", 401),
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        ("Bearer é", 401),
    ],
)
def test_the_token_is_asked_for(guarded, authorization, status):
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    for path in ("/v2", "/metrics", "/openapi.json", "/v2/models/dense"):
        response, body = guarded.ask("GET", path, headers=headers)
        assert response.status == status, path
        if status == 401:
            assert response.headers["www-authenticate"] == "Bearer"
            assert TOKEN.encode() not in body


def test_probes_and_the_page_need_no_token(guarded):
    assert guarded.ask("GET", "/")[0].status == 200
    assert guarded.ask("GET", "/v2/health/live")[0].status == 200
    assert guarded.ask("GET", "/v2/health/ready")[0].status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("model.example", 200),
        ("MODEL.example:80", 200),
        ("192.0.2.7:8000", 200),
        ("[2001:db8::1]:8000", 200),
        ("localhost", 200),
        ("evil.example", 403),
        ("model.example.evil.example", 403),
        ("", 403),
        ("192.0.2.7.evil.example", 403),
    ],
)
def test_only_own_names_are_answered(guarded, host, status):
    headers = {"Host": host, "Authorization": f"Bearer {TOKEN}"}
    assert guarded.ask("GET", "/v2", headers=headers)[0].status == status


@pytest.mark.parametrize("host", ["192.0.2.7", "10.0.0.1:8000", "model.example"])
def test_on_loopback_only_its_own_names_are_answered(server, host):
    assert server.ask("GET", "/v2", headers={"Host": host})[0].status == 403


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_the_names_of_loopback_are_its_own(server, host):
    assert server.ask("GET", "/v2", headers={"Host": host})[0].status == 200


def test_an_own_page_may_ask(server):
    headers = {"Origin": server.url.rstrip("/")}
    assert server.ask("GET", "/v2", headers=headers)[0].status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.com", ""])
def test_another_address_needs_a_token_or_a_word(host):
    with pytest.raises(ConfigError, match="give --token-file FILE"):
        access(host, None, False, [])
    assert access(host, None, True, []).token is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.5.5.5", "::1", "[::1]", "localhost"])
def test_loopback_needs_none(host):
    assert access(host, None, False, []).token is None


@pytest.mark.parametrize("text", ["", "short", "two words that are long", "é" * 20])
def test_a_weak_token_is_refused(tmp_path, text):
    (tmp_path / "token").write_text(text)
    with pytest.raises(ConfigError, match="at least 16 ASCII characters"):
        access("0.0.0.0", tmp_path / "token", False, [])


def test_contradictions_and_missing_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="received both"):
        access("0.0.0.0", tmp_path / "token", True, [])
    with pytest.raises(ConfigError, match="cannot be read"):
        access("0.0.0.0", tmp_path / "token", False, [])


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--port", "{port}"], 1, "cannot listen on 127.0.0.1"),
        (["--host", "192.0.2.7", "--no-auth"], 1, "cannot listen on 192.0.2.7"),
        (["--max-body", "0"], 2, "--max-body"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(
    options, code, message, network, server, tmp_path
):
    """In a process of its own: the browser of other tests leaves an event loop in this one."""
    options = [option.format(port=server.port) for option in options]
    done = cifarnet("serve", network, *options, cwd=tmp_path, code=code)
    assert message in done.stderr


def test_limits_are_as_given(network):
    with serving(network, "--max-body", "10kB", "--max-pixels", "100") as server:
        response, body = server.ask("POST", "/predict", bytes(10_001))
        assert (response.status, json.loads(body)["error"]) == (
            413,
            "the body is larger than 10,000 bytes",
        )
        image = b"BM" + bytes(12) + (40).to_bytes(4, "little")
        image += (11).to_bytes(4, "little") + (10).to_bytes(4, "little")
        image += (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(24 + 400)
        response, body = server.ask("POST", "/predict", image)
        assert response.status == 413
        assert "11 x 10 pixels are more than the limit of 100" in json.loads(body)["error"]
