"""A headless Firefox of the system, driven by WebDriver BiDi: https://w3c.github.io/webdriver-bidi/"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_NAMES = ("firefox", "firefox-esr")
_TIMEOUT = 120.0  # seconds without an answer
# Whatever asks for a network finds a proxy that is not there; Firefox asks for nothing by itself.
_PREFERENCES = {
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "media.navigator.streams.fake": True,  # a camera with a test picture
    "media.navigator.permission.disabled": True,
    "app.update.disabledForTesting": True,
    "datareporting.policy.dataSubmissionEnabled": False,
    "services.settings.server": "",
}


def program() -> str | None:
    """Return the path of Firefox, if there is one."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Page:
    """A tab.

    Attributes:
        requests: addresses that it asked for.
        complaints: texts of its console and of errors that nothing caught.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._last = connection, 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.call("session.new", capabilities={})
        self.call("session.subscribe", events=["network.beforeRequestSent", "log.entryAdded"])
        # The first tab of a headless Firefox never has the focus: keys press no button.
        self._context = self.call("browsingContext.create", type="tab")["context"]

    def call(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result."""
        self._last += 1
        command = {"id": self._last, "method": method, "params": parameters}
        self._connection.send(json.dumps(command))
        while (answer := self._next()).get("id") != self._last:
            pass
        assert answer["type"] == "success", answer
        return answer["result"]

    def open(self, url: str) -> None:
        self.call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """Return the text, number or boolean that JavaScript, or its promise, gives."""
        answer = self.call(
            "script.evaluate",
            expression=expression,
            target={"context": self._context},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer
        return answer["result"].get("value")

    def choose(self, selector: str, file: Path) -> None:
        """Give a file to an input element."""
        found = self.call(
            "browsingContext.locateNodes",
            context=self._context,
            locator={"type": "css", "value": selector},
        )
        element = {"sharedId": found["nodes"][0]["sharedId"]}
        self.call("input.setFiles", context=self._context, element=element, files=[str(file)])

    def press(self, *keys: str) -> None:
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        devices = [{"type": "key", "id": "keyboard", "actions": actions}]
        self.call("input.performActions", context=self._context, actions=devices)

    def _next(self) -> Any:
        message = json.loads(self._connection.recv(timeout=_TIMEOUT))
        if message.get("method") == "network.beforeRequestSent":
            self.requests.append(message["params"]["request"]["url"])
        elif message.get("method") == "log.entryAdded":
            self.complaints.append(message["params"]["text"])
        return message


@contextmanager
def opened(profile: Path) -> Iterator[Page]:
    """Start Firefox with a new profile, and give its tab."""
    profile.mkdir()
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in _PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines))
    command = [program(), "--headless", "--no-remote", "--profile", profile]
    process = subprocess.Popen(
        [*command, "--remote-debugging-port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if found := re.search(r"BiDi listening on (ws://\S+)", line):
                break
        else:
            raise AssertionError("Firefox does not start")
        with connect(f"{found[1]}/session", max_size=None, proxy=None) as connection:
            yield Page(connection)
    finally:
        process.kill()
        process.communicate()
