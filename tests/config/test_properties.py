"""Any document, override or file becomes a config or a ConfigError; configs round-trip."""

import yaml
from helpers.configs import MINIMAL, PROPERTY, holds, write
from hypothesis import given, reject
from hypothesis import strategies as st

from cifarnet import config
from cifarnet.errors import ConfigError

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["1e3", "0o7", "010", "1_0", "on", "~", "=", "<<", ".nan", "1:30", "a: b"])
)
keys = st.sampled_from(
    ["name", "seed", "data", "model", "train", "evaluate", "base", "layers", "path", "augment"]
) | st.sampled_from(["kind", "schedule", "at", "epochs", "stop", "<<", "1", ""])
plain = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
documents = st.dictionaries(keys | st.text(max_size=4), plain, max_size=5)


@PROPERTY
@given(documents, st.booleans())
def test_any_document_is_a_config_or_a_config_error(tmp_path, document, complete):
    if complete:
        document = {**yaml.safe_load(MINIMAL), **document}
    file = write(tmp_path, yaml.safe_dump(document))
    for read in (lambda: config.parse(document), lambda: config.load(file)):
        try:
            assert isinstance(read(), config.Config)
        except ConfigError as error:
            assert str(error)


@PROPERTY
@given(st.text(max_size=40) | st.builds("{}={}".format, keys, st.text(max_size=20)))
def test_any_override_is_taken_or_refused(tmp_path, text):
    file = write(tmp_path, MINIMAL)
    try:
        config.load(file, [text])
    except ConfigError as error:
        assert str(error)


@PROPERTY
@given(st.binary(max_size=60))
def test_any_file_is_a_config_or_a_config_error(tmp_path, content):
    try:
        config.load(write(tmp_path, content))
    except ConfigError as error:
        assert str(error)


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, exclude_min=True, exclude_max=True)


def optional(**fields: st.SearchStrategy) -> st.SearchStrategy[dict]:
    return st.fixed_dictionaries({}, optional=fields)


counts = st.integers(1, 2**31 - 1)
schedules = (
    st.fixed_dictionaries({"kind": st.just("constant")})
    | st.fixed_dictionaries(
        {"kind": st.just("step"), "at": st.lists(numbers(0, 50), min_size=1, max_size=3)},
        optional={"factor": numbers(0, 1), "warmup_epochs": numbers(0, 0.5)},
    )
    | st.fixed_dictionaries({"kind": st.just("cosine")}, optional={"end": st.floats(0, 1)})
    | st.fixed_dictionaries(
        {"kind": st.just("triangle")}, optional={"start": st.floats(0, 1), "peak_at": numbers(0, 1)}
    )
)
augmentations = (
    st.sampled_from(["flip", "alternating_flip", "rotate", "scale", "brightness"]).map(
        lambda kind: {"kind": kind}
    )
    | st.builds(lambda n: {"kind": "crop", "pixels": n}, st.integers(1, 16))
    | st.builds(lambda n: {"kind": "cutout", "size": n}, st.integers(1, 32))
)
layers = st.lists(
    st.text(min_size=1, max_size=6)
    | st.dictionaries(
        st.text(min_size=1, max_size=6),
        st.none() | st.dictionaries(st.text(max_size=4), plain, max_size=3),
        min_size=1,
        max_size=1,
    ),
    min_size=1,
    max_size=4,
)
configs = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries({"layers": layers}),
        "train": st.fixed_dictionaries(
            {"epochs": st.floats(1, 1000) | counts, "learning_rate": numbers(0, 10)},
            optional={
                "schedule": schedules,
                "momentum": st.floats(0, 0.99),
                "ema": st.none() | numbers(0, 1),
                "lookahead": st.none() | optional(every=counts, decay=numbers(0, 1)),
                "clip_norm": st.none() | numbers(0, 100),
                "stop": st.none() | st.builds(dict, validation_accuracy=st.floats(0, 1)),
                "early_stopping": st.none() | optional(patience=counts),
                "tensorboard": st.booleans(),
                "mlflow": st.none() | st.sampled_from(["mlruns", "http://127.0.0.1:5000"]),
            },
        ),
    },
    optional={
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True),
        "seed": st.integers(0, 2**31 - 1),
        "data": optional(
            path=st.none() | st.text(min_size=1, max_size=6),
            limit=st.none() | counts,
            augment=st.lists(augmentations, max_size=3),
        ),
        "evaluate": optional(batch_size=counts),
    },
)


@PROPERTY
@given(configs)
def test_what_is_dumped_is_read_back_equal_and_holds_against_the_schema(tmp_path, document):
    try:
        parsed = config.parse(document)
    except ConfigError as error:  # a layer argument or path that cannot be written
        assert "(" in str(error) or "data.path" in str(error)
        reject()
    text = config.dump(parsed)
    assert config.load(write(tmp_path, text)) == parsed
    assert config.dump(config.load(write(tmp_path, text))) == text
    holds(document)
    holds(yaml.safe_load(yaml.safe_dump(parsed.model_dump(mode="json"))))
