"""One YAML file, its `base` files and `-o key=value` overrides -> one frozen `Config`.

Every value is checked here, once; the rest of the program receives typed, frozen values.
The JSON Schema for editors is generated from these models (`cifarnet config schema`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field
from pydantic_core import PydanticCustomError

from cifarnet.errors import ConfigError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Layer = dict[str, dict[str, Any]]
KeyPath = tuple[str | int, ...]  # of a key in the document


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            for key in value:
                if key not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_key", "", {"key": key, "known": [*cls.model_fields]}
                    )
        return value


# --- data -----------------------------------------------------------------------------


class Flip(_Section):
    """Mirror left-right, each image with probability 1/2, anew every epoch."""

    kind: Literal["flip"]


class AlternatingFlip(_Section):
    """Mirror a random half of the images in even epochs and the other half in odd ones.

    Jordan 2024, arXiv 2404.00498, section 3.6: two epochs show every image both ways.
    """

    kind: Literal["alternating_flip"]


class Crop(_Section):
    """Shift by up to `pixels` in each direction, the border filled by reflection."""

    kind: Literal["crop"]
    pixels: int = Field(4, ge=1, le=16, description="largest shift, pixels")


class Rotate(_Section):
    """Rotate about the centre by up to `degrees` either way."""

    kind: Literal["rotate"]
    degrees: float = Field(10.0, gt=0.0, le=180.0)


class Scale(_Section):
    """Zoom about the centre by a factor between 1 - fraction and 1 + fraction."""

    kind: Literal["scale"]
    fraction: float = Field(0.1, gt=0.0, lt=1.0)


class Cutout(_Section):
    """Replace a square wholly inside the image by the training set's mean colour.

    DeVries and Taylor 2017, arXiv 1708.04552.
    """

    kind: Literal["cutout"]
    size: int = Field(8, ge=1, le=32, description="side of the square, pixels")


class Brightness(_Section):
    """Add up to +-`fraction` of the full range of 255."""

    kind: Literal["brightness"]
    fraction: float = Field(0.2, gt=0.0, le=1.0)


class Contrast(_Section):
    """Scale each image's distance from its own mean by 1 +- `fraction`."""

    kind: Literal["contrast"]
    fraction: float = Field(0.2, gt=0.0, le=1.0)


Augmentation = Annotated[
    Flip | AlternatingFlip | Crop | Rotate | Scale | Cutout | Brightness | Contrast,
    Field(discriminator="kind"),
]


class DataConfig(_Section):
    """Where the images come from and how they are split and varied."""

    source: Literal["cifar10", "synthetic", "directory"] = "cifar10"
    path: Path | None = Field(
        None,
        description="cifar10: an archive or folder to read instead of fetching; "
        "directory: the folder that holds a folder per class (required)",
    )
    validation_fraction: float = Field(
        0.1, ge=0.0, lt=1.0, description="share of the training images held out, class by class"
    )
    test_fraction: float = Field(
        0.2,
        gt=0.0,
        lt=1.0,
        description="directory without train/ and test/ folders: share held out as the test set",
    )
    limit: int | None = Field(
        None, ge=1, description="use this many training images in all, class-balanced"
    )
    image_size: int = Field(
        32, ge=8, le=512, description="side of the input, pixels; directory images are resized"
    )
    max_unreadable: Fraction = Field(
        0.01, description="directory: share of unreadable images that is tolerated"
    )
    augment: tuple[Augmentation, ...] = Field(
        (), description="applied to training images, in this order"
    )

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        if self.source == "directory" and self.path is None:
            raise ValueError("source: directory needs data.path, a folder with a folder per class")
        if self.source != "directory" and self.image_size != 32:
            raise ValueError(
                f"{self.source} images are 32 pixels wide; image_size is only for source: directory"
            )
        return self


# --- model ----------------------------------------------------------------------------


class ModelConfig(_Section):
    """The network: raw pixels 0-255 in, logits out."""

    normalise: Literal["unit", "standard", "none"] = Field(
        "standard",
        description="first step inside the model. unit: pixels / 255; standard: subtract the "
        "training images' channel means and divide by their standard deviations",
    )
    layers: tuple[Layer, ...] = Field(
        description="Keras layer class names with their keyword arguments, in order; "
        "the last gives one logit a class"
    )

    @pydantic.field_validator("layers", mode="before")
    @classmethod
    def _layers(cls, value: object) -> object:
        return normalise_layers(value, "model.layers")

    @pydantic.field_validator("layers")
    @classmethod
    def _not_empty(cls, value: tuple[Layer, ...]) -> tuple[Layer, ...]:
        if not value:
            raise ValueError("expected at least one layer, received an empty list")
        return value


def normalise_layers(value: object, where: str) -> list[Layer]:
    """Turn `- Flatten` and `- Flatten:` into `- Flatten: {}`; check the form of the list.

    Raises:
        ValueError: an item that is neither a name nor one name with keyword arguments.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"expected a list of layers, received {_kind(value)}")
    return [_one_layer(item, f"{where}[{i}]") for i, item in enumerate(value)]


def _one_layer(item: object, where: str) -> Layer:
    if isinstance(item, str):
        return {item: {}}
    if isinstance(item, Mapping) and len(item) == 1:
        ((name, kwargs),) = item.items()
        if isinstance(name, str) and kwargs is None:
            return {name: {}}
        if isinstance(name, str) and isinstance(kwargs, Mapping):
            return {name: {str(k): v for k, v in kwargs.items()}}
    raise ValueError(
        f"{where}: expected a layer name or one name with its keyword arguments, such as "
        f"`- Conv2D: {{filters: 32, kernel_size: 3}}`, received {_brief(item)}"
    )


# --- train ----------------------------------------------------------------------------


class _Schedule(_Section):
    warmup_epochs: float = Field(
        0.0, ge=0.0, description="epochs over which the rate first rises linearly from 0"
    )


class ConstantSchedule(_Schedule):
    """The same rate throughout."""

    kind: Literal["constant"]


class StepSchedule(_Schedule):
    """Multiply by `factor` at each of the epochs `at`."""

    kind: Literal["step"]
    at: tuple[Positive, ...] = Field(min_length=1, description="epochs")
    factor: float = Field(0.1, gt=0.0, le=1.0)


class CosineSchedule(_Schedule):
    """Half a cosine from the peak to `end` times the peak.

    Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts.
    """

    kind: Literal["cosine"]
    end: Fraction = Field(0.0, description="last rate, as a share of the peak")


class TriangleSchedule(_Schedule):
    """Linear from `start` to the peak at the share `peak_at` of training, then to `end`.

    The one-cycle policy of Smith 2018, arXiv 1803.09820, with straight sides.
    """

    kind: Literal["triangle"]
    start: Fraction = Field(0.2, description="first rate, as a share of the peak")
    peak_at: float = Field(0.2, gt=0.0, lt=1.0, description="where the peak is, share of all steps")
    end: Fraction = Field(0.0, description="last rate, as a share of the peak")


Schedule = Annotated[
    ConstantSchedule | StepSchedule | CosineSchedule | TriangleSchedule,
    Field(discriminator="kind"),
]


class EarlyStopping(_Section):
    """Stop when the validation loss has not improved for `patience` epochs."""

    patience: int = Field(5, ge=1, description="epochs")
    min_delta: float = Field(0.0, ge=0.0, description="smallest fall of the loss that counts")


class Stop(_Section):
    """Stop as soon as the level is reached."""

    validation_accuracy: Fraction


class TrainConfig(_Section):
    """SGD and everything around it."""

    epochs: float = Field(gt=0.0, description="passes over the training images; may be a fraction")
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(gt=0.0, description="the peak of the schedule")
    schedule: Schedule = ConstantSchedule(kind="constant")
    momentum: float = Field(0.0, ge=0.0, lt=1.0)
    nesterov: bool = False
    weight_decay: float = Field(
        0.0,
        ge=0.0,
        description="each step also multiplies every trainable weight by "
        "1 - learning rate x weight_decay",
    )
    norm_bias_factor: Positive = Field(
        1.0,
        description="learning rate of the biases of batch normalisations, as a multiple; "
        "64 in Jordan 2024, arXiv 2404.00498, section 3.4",
    )
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)
    clip_norm: Positive | None = Field(
        None, description="scale gradients down to this norm over all weights together"
    )
    ema: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="decay a step of an exponential moving average of the weights, "
        "which is then what is validated and kept",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the arithmetic; weights are float32 always"
    )
    early_stopping: EarlyStopping | None = None
    stop: Stop | None = None
    select: Literal["best", "last"] = Field(
        "last",
        description="which epoch's weights are kept: the highest validation accuracy, or the last",
    )
    tensorboard: bool = Field(False, description="also write TensorBoard logs (extra: tensorboard)")

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov: true needs a momentum above 0, such as 0.9")
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs {self.schedule.warmup_epochs} must be below "
                f"epochs {self.epochs}"
            )
        return self


class EvaluateConfig(_Section):
    """How accuracy is measured."""

    batch_size: int = Field(500, ge=1)
    tta: Literal["none", "mirror", "mirror_translate"] = Field(
        "none",
        description="test-time augmentation. mirror: mean of the image and its mirror image; "
        "mirror_translate: those two, and both shifted by one pixel up-left and down-right",
    )


class Config(_Section):
    """All that decides what a run computes."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    seed: int = Field(0, ge=0, lt=2**31, description="of the split, weights, order, augmentation")
    data: DataConfig = DataConfig()
    model: ModelConfig
    train: TrainConfig
    evaluate: EvaluateConfig = EvaluateConfig()

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Config:
        needs = [
            name
            for name, used in (
                ("train.early_stopping", self.train.early_stopping is not None),
                ("train.stop", self.train.stop is not None),
                ("train.select: best", self.train.select == "best"),
            )
            if used
        ]
        if needs and self.data.validation_fraction == 0.0:
            raise ValueError(f"{needs[0]} needs a validation set: data.validation_fraction above 0")
        return self


# --- reading --------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """Safe YAML in which `1e-3` is a number (YAML 1.2) and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} appears twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def load(path: Path | str, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML config, its bases and the overrides.

    Args:
        path: the YAML file; `base: other.yaml` in it is relative to its folder.
        overrides: `dotted.key=value` texts, each value YAML; list items by number, as in
            `model.layers.0.Conv2D.filters=16`.

    Raises:
        ConfigError: naming the file, line and dotted key, what was expected and received.
    """
    path = Path(path)
    lines: dict[KeyPath, str] = {}
    document = _read(path, lines, ())
    for override in overrides:
        _override(document, override, lines)
    return _validate(document, str(path), lines)


def parse(document: Mapping[str, Any], where: str = "config") -> Config:
    """Check a plain mapping, as `load` does for a file; `where` names it in errors."""
    return _validate(dict(document), where, {})


def dump(config: Config) -> str:
    """The whole config as YAML that `load` reads back to an equal `Config`."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=100)


def schema() -> dict[str, Any]:
    """JSON Schema of a config file; a file with a `base` need not be complete."""
    document = Config.model_json_schema()
    document["properties"]["base"] = {
        "type": "string",
        "description": "another config this one starts from, relative to this file",
    }
    for section in (document, document["$defs"]["TrainConfig"], document["$defs"]["ModelConfig"]):
        section.pop("required", None)
    return document


def _read(path: Path, lines: dict[KeyPath, str], chain: tuple[Path, ...]) -> dict[str, Any]:
    """One file merged over its base. `lines` collects where each key was written."""
    if path.resolve() in chain:
        loop = " -> ".join(str(p) for p in (*chain, path.resolve()))
        raise ConfigError(f"base files form a circle: {loop}. Remove one `base:` line.")
    document, own_lines = _parse_file(path)
    base = document.pop("base", None)
    merged: dict[str, Any] = {}
    if base is not None:
        if not isinstance(base, str):
            raise ConfigError(f"{path}: base: expected a file name, received {_brief(base)}")
        merged = _read(path.parent / base, lines, (*chain, path.resolve()))
    lines.update(own_lines)
    return _merge(merged, document)


def _parse_file(path: Path) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(_missing(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the config {path}: {error}") from None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        document = loader.construct_document(node) if node is not None else None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML: {_yaml_problem(error)}") from None
    finally:
        loader.dispose()
    if not isinstance(document, dict):
        raise ConfigError(
            f"{path}: expected sections such as `data:`, `model:`, `train:`, "
            f"received {_kind(document)}"
        )
    return document, dict(_node_lines(node, path))


def _missing(path: Path) -> str:
    message = f"there is no config file {path}"
    folder = path.parent
    known = sorted(p.name for p in folder.glob("*.yaml")) if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, known, n=1) or known
    return f"{message}. In {folder} there is: {', '.join(near)}" if near else message


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return str(error)


def _node_lines(node: yaml.Node, path: Path, at: KeyPath = ()) -> Iterable[tuple[KeyPath, str]]:
    children: list[tuple[str | int, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        children = [(key.value, key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(i, value, value) for i, value in enumerate(node.value)]
    for name, key, value in children:
        yield (*at, name), f"{path}:{key.start_mark.line + 1}"
        yield from _node_lines(value, path, (*at, name))


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merge key by key, anything else (lists too) is replaced.

    A mapping that names another `kind` replaces the base's: its keys belong to the old kind.
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping) and not _other_kind(old, value):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def _other_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return "kind" in new and new["kind"] != old.get("kind")


def _override(document: dict[str, Any], text: str, lines: dict[KeyPath, str]) -> None:
    """Set one `dotted.key=value` in the document; a mapping merges, as in `_merge`."""
    key, equals, value_text = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"override {text!r}: expected key=value, such as train.epochs=3")
    try:
        value = yaml.load(value_text, _Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"override {text!r}: bad YAML value: {_yaml_problem(error)}") from None
    target: Any = document
    names = [_item(part, text) for part in key.strip().split(".")]
    for name in names[:-1]:
        if isinstance(target, dict) and target.get(name) is None:
            target[name] = {}
        target = _child(target, name, text)
    last = names[-1]
    if isinstance(target, list):
        _child(target, last, text)
        target[last] = value
    elif isinstance(target, dict):
        target.update(_merge(target, {last: value}))
    lines[tuple(names)] = f"-o {text}"


def _item(part: str, text: str) -> str | int:
    if not part:
        raise ConfigError(f"override {text!r}: expected key=value, such as train.epochs=3")
    return int(part) if part.isdecimal() else part


def _child(target: Any, name: str | int, text: str) -> Any:
    if isinstance(target, list) and not (isinstance(name, int) and name < len(target)):
        raise ConfigError(
            f"override {text!r}: {name!r} is not one of the items 0 to {len(target) - 1}"
        )
    child = target[name]
    return child


def _validate(document: dict[str, Any], where: str, lines: Mapping[KeyPath, str]) -> Config:
    try:
        return Config.model_validate(document)
    except pydantic.ValidationError as error:
        problems = [_problem(e, document, lines) for e in error.errors()]
        head = f"{where} is not a valid config:" if len(problems) > 1 else f"{where}:"
        raise ConfigError("\n".join([head, *(f"  {p}" for p in problems)])) from None


def _problem(error: Any, document: Any, lines: Mapping[KeyPath, str]) -> str:
    """One line: place, dotted key, expected, received, and the nearest known key."""
    path = _document_path(error["loc"], document)
    kind, context = error["type"], error.get("ctx", {})
    if kind == "unknown_key":
        path = (*path, context["key"])
        near = difflib.get_close_matches(str(context["key"]), context["known"], n=1)
        text = (
            f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(context['known'])}"
        )
        text = f"unknown key; {text}"
    elif kind == "missing":
        text = "required, but not given"
    elif kind == "union_tag_not_found":
        text = "expected a `kind:` key that says which one"
    elif kind == "union_tag_invalid":
        text = f"expected kind to be one of {context['expected_tags']}, received {context['tag']!r}"
    elif kind == "value_error":
        text = str(context["error"])
    else:
        text = f"{_lower(error['msg'])}, received {_brief(error['input'])}"
    place = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)
    return ": ".join(part for part in (place, _dotted(path), text) if part)


def _document_path(loc: Sequence[str | int], document: Any) -> KeyPath:
    """Drop the union tags pydantic puts into a location: they are not keys of the file."""
    path: list[str | int] = []
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if isinstance(document, Mapping) and document.get("kind") == part and not last:
            continue
        path.append(part)
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            document = None
    return tuple(path)


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _lower(text: str) -> str:
    text = text.replace("Input should be", "expected")
    return text[:1].lower() + text[1:]


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}: {_brief(value)}"
