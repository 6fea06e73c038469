"""How workers meet: real sockets, and what is refused before TensorFlow could wait for it."""

import dataclasses
import socket
import threading
from contextlib import suppress

import pytest
from helpers.configs import SMALL

from cifarnet import config, data, system
from cifarnet.callbacks import Callback
from cifarnet.errors import CifarnetError, ConfigError, TrainingError
from cifarnet.training import Workers, messages
from cifarnet.training.meeting import Meeting, wait_for_chief

SETTINGS = config.parse(SMALL)


def changed(**sections) -> config.Config:
    document = SETTINGS.model_dump(mode="json")
    for name, keys in sections.items():
        document[name] |= keys
    return config.parse(document)


@pytest.fixture(scope="module")
def dataset():
    return data.load(SETTINGS.data, SETTINGS.seed)


@pytest.fixture
def pair():
    """The chief and another worker, who wait for 20 s."""
    addresses = ",".join(Workers.of(2).addresses)
    return tuple(Workers.of(addresses, index, patience=20.0) for index in (0, 1))


class Other(threading.Thread):
    """A worker that waits for the chief and loads `images`; `error` is what it ended with."""

    def __init__(self, workers: Workers, settings=None, images=None) -> None:
        super().__init__(daemon=True)
        self._arguments = workers, settings, images
        self.error: CifarnetError | None = None
        self.start()

    def run(self) -> None:
        workers, settings, images = self._arguments
        try:
            wait_for_chief(workers, settings).accept(workers, images)
        except CifarnetError as error:
            self.error = error

    def message(self) -> str:
        self.join(30)
        assert self.error is not None
        return str(self.error)


def test_a_worker_with_another_config_is_refused_and_both_say_why(pair):
    other = Other(pair[1], changed(train={"learning_rate": 0.5}))
    with (
        pytest.raises(ConfigError, match=r"worker 1 .*train.learning_rate: 0.02 and 0.5"),
        Meeting(pair[0], Callback()) as meeting,
    ):
        meeting.call(SETTINGS)
    assert "train.learning_rate: 0.02 and 0.5" in other.message()


def test_a_worker_of_other_workers_or_versions_is_refused(pair, monkeypatch):
    strangers = dataclasses.replace(pair[1], addresses=(*pair[1].addresses, "c:1"))
    other = Other(strangers)
    with (
        pytest.raises(ConfigError, match="its workers are"),
        Meeting(pair[0], Callback()) as meeting,
    ):
        meeting.call(SETTINGS)
    assert "its workers are" in other.message()
    own = system.versions()
    answers = iter([{**own, "keras": "1.0"}, own])
    monkeypatch.setattr(system, "versions", lambda: next(answers))
    other = Other(pair[1])
    with (
        pytest.raises(ConfigError, match=f"keras 1.0 and {own['keras']}"),
        Meeting(pair[0], Callback()) as meeting,
    ):
        meeting.call(SETTINGS)
    assert "keras 1.0" in other.message()


def test_other_images_are_refused_and_both_say_why(pair, dataset):
    fewer = changed(data={"limit": 300})
    # Its own config says where its images are; only their digests can tell.
    other = Other(pair[1], None, data.load(fewer.data, fewer.seed))
    with (
        pytest.raises(ConfigError, match="other images than the chief: train, validation"),
        Meeting(pair[0], Callback()) as meeting,
    ):
        meeting.call(SETTINGS)
        meeting.begin(SETTINGS, dataset)
    assert "other images" in other.message()


def test_a_missing_worker_is_named_and_the_others_are_told(dataset):
    addresses = ",".join(Workers.of(3).addresses)
    chief, first = (Workers.of(addresses, index, patience=2.0) for index in (0, 1))
    other = Other(first, None, dataset)
    with (
        pytest.raises(TrainingError, match=r"^worker 2 \(\S+\) did not come within 2 s"),
        Meeting(chief, Callback()) as meeting,
    ):
        meeting.call(SETTINGS)
    assert "worker 2" in other.message()


def test_a_missing_chief_is_named(pair):
    with pytest.raises(TrainingError, match=r"worker 0 .* did not call within 0.1 s"):
        wait_for_chief(dataclasses.replace(pair[1], patience=0.1), None)


def test_a_chief_that_fails_says_so_and_one_that_is_gone_is_noticed(pair, dataset):
    other = Other(pair[1], None, dataset)
    with pytest.raises(ZeroDivisionError), Meeting(pair[0], Callback()) as meeting:
        meeting.call(SETTINGS)
        raise ZeroDivisionError("in the loader")
    assert "in the loader" in other.message()
    other = Other(pair[1], None, dataset)
    meeting = Meeting(pair[0], Callback())
    meeting.call(SETTINGS)
    meeting._busy.end()
    for connection in meeting._connections.values():
        connection.close()
    assert "lost worker 0" in other.message()


@pytest.mark.parametrize("index", [0, 1])
def test_an_occupied_port_is_told(pair, index):
    port = int(pair[index].addresses[index].split(":")[1])
    told = rf"worker {index} \(127.0.0.1:{port}\) cannot listen on port {port}: Address already in"
    with socket.create_server(("127.0.0.1", port)), pytest.raises(TrainingError, match=told):
        if index == 0:
            Meeting(pair[0], Callback()).call(SETTINGS)
        else:
            wait_for_chief(pair[1], None)


def test_more_local_workers_than_cores_are_refused(monkeypatch):
    monkeypatch.setattr(system, "usable_cores", lambda: 2)
    with (
        pytest.raises(ConfigError, match=r"expected at most 2 processes .* received 3"),
        Meeting(Workers.of(3), Callback()) as meeting,
    ):
        meeting.call(SETTINGS)


def test_a_worker_takes_the_precision_that_its_chief_chose_for_auto(pair, dataset):
    assert SETTINGS.train.precision == "auto"
    other = Other(pair[1], SETTINGS, dataset)
    with Meeting(pair[0], Callback()) as meeting:
        meeting.call(changed(train={"precision": "bfloat16"}))  # as of a run that is resumed
    assert "ended" in other.message()
    other = Other(pair[1], changed(train={"precision": "float32"}))
    with (
        pytest.raises(ConfigError, match=r"train\.precision: bfloat16 and float32"),
        Meeting(pair[0], Callback()) as meeting,
    ):
        meeting.call(changed(train={"precision": "bfloat16"}))
    assert "train.precision" in other.message()


def test_of_many_differences_of_configs_a_few_are_listed_in_order(pair):
    many = {"weight_decay": 0.1, "momentum": 0.5, "epochs": 30.0, "ema": 0.9, "batch_size": 40}
    layers = ["Flatten", *[{"Dense": {"units": 10}}] * 9]
    other = Other(pair[1], changed(train=many, model={"layers": layers}))
    expected = (
        r"model.layers differs; train.batch_size: 50 and 40; train.ema: null and 0.9; "
        r"train.epochs: 1 and 30; train.momentum: 0.9 and 0.5; and 1 more\. "
    )
    with pytest.raises(ConfigError, match=expected), Meeting(pair[0], Callback()) as meeting:
        meeting.call(SETTINGS)
    assert "and 1 more" in other.message()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" * 4,
        b"cifarnet-team-1\n\xff\xff\xff\xff",
        b"cifarnet-team-1\n\x00\x00\x00\x02[]",
        b"cifarnet-team-1\n\x00\x01\x00\x00" + b"[" * 65536,
        b"cifarnet-team-1\n\x00\x00\x00\x02{}",
        b"",
    ],
)
def test_what_is_no_chief_is_ignored(pair, dataset, sent):
    other = Other(pair[1], None, dataset)
    host, port = pair[1].addresses[1].split(":")
    stranger = None
    while stranger is None:
        with suppress(OSError):  # not yet listening
            stranger = socket.create_connection((host, int(port)))
    with stranger:
        stranger.settimeout(20)
        with suppress(OSError):  # it may be closed already
            stranger.sendall(sent)
            stranger.shutdown(socket.SHUT_WR)
            assert stranger.recv(10) == b""
    with Meeting(pair[0], Callback()) as meeting:
        meeting.call(SETTINGS)
    assert "ended" in other.message()


def test_who_is_busy_is_waited_for_and_who_is_silent_is_lost(pair, dataset, monkeypatch):
    monkeypatch.setattr(messages, "_BUSY_SECONDS", 0.05)
    monkeypatch.setattr(messages, "SILENCE_SECONDS", 0.5)
    other = Other(pair[1], None, dataset)
    with pytest.raises(ZeroDivisionError), Meeting(pair[0], Callback()) as meeting:
        meeting.call(SETTINGS)
        other.join(1.5)  # more than the silence; the worker has its images and waits
        assert other.error is None and other.is_alive()
        raise ZeroDivisionError("in the loader")
    assert "in the loader" in other.message()
    other = Other(pair[1], None, dataset)
    meeting = Meeting(pair[0], Callback())
    meeting.call(SETTINGS)
    meeting._busy.end()  # as if frozen
    assert "lost worker 0" in other.message()


def test_a_message_is_received_in_parts():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        message = {"config": "ä" * 100_000}
        sender = threading.Thread(target=messages.send, args=(theirs, message))
        sender.start()
        assert messages.receive(ours) == message
        sender.join()
