"""Define the sections of a config: every key with its type, range and default.

The JSON Schema for editors is generated from these models.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr
from pydantic_core import PydanticCustomError

from cifarnet.choices import ExportFormat, Quantization, Tta
from cifarnet.config.layer_list import Layer, normalize_layers
from cifarnet.config.text import KeyProblem, brief, is_text
from cifarnet.config.tracking_uri import check_tracking_uri

_NEVER_IN_PATHS = {"Cc", "Zl", "Zp"}  # Unicode's control characters, line and paragraph separators
_COUNT_LIMIT = 2**31  # exclusive

# Strict: `epochs: "3"` and `epochs: true` are errors. Integers are accepted as floats.
Fraction = Annotated[StrictFloat, Field(ge=0.0, le=1.0)]
Positive = Annotated[StrictFloat, Field(gt=0.0)]


class Section(pydantic.BaseModel):
    """Base of all sections: frozen, without unknown keys."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, value: Any) -> Any:
        # `extra="forbid"` alone does not give the known keys, which the message lists.
        if isinstance(value, Mapping):
            known = [*cls.model_fields]
            unknown = [key for key in value if key not in known]
            if unknown:
                raise PydanticCustomError("unknown_keys", "", {"keys": unknown, "known": known})
        return value


class Flip(Section):
    """Mirror left-right, each image with probability 1/2 in every epoch."""

    kind: Literal["flip"]


class AlternatingFlip(Section):
    """Mirror a random half of the images in even epochs and the other half in odd ones.

    Jordan 2024, arXiv 2404.00498, section 3.6: two epochs show every image both ways.
    """

    kind: Literal["alternating_flip"]


class Crop(Section):
    """Shift by up to `pixels` in each direction, the border filled by reflection."""

    kind: Literal["crop"]
    pixels: StrictInt = Field(4, ge=1, le=16, description="largest shift, pixels")


class Rotate(Section):
    """Rotate about the center by up to `degrees` either way."""

    kind: Literal["rotate"]
    degrees: StrictFloat = Field(10.0, gt=0.0, le=180.0, description="largest angle, degrees")


class Scale(Section):
    """Zoom about the center by a factor between 1 - fraction and 1 + fraction."""

    kind: Literal["scale"]
    fraction: StrictFloat = Field(
        0.1, gt=0.0, lt=1.0, description="largest change of the zoom factor from 1"
    )


class Cutout(Section):
    """Replace a square wholly inside the image by the training set's mean color.

    DeVries and Taylor 2017, arXiv 1708.04552.
    """

    kind: Literal["cutout"]
    size: StrictInt = Field(8, ge=1, le=32, description="side of the square, pixels")


class Brightness(Section):
    """Add up to +-`fraction` of the full range of 255."""

    kind: Literal["brightness"]
    fraction: StrictFloat = Field(
        0.2, gt=0.0, le=1.0, description="largest change, as a share of the full range"
    )


class Contrast(Section):
    """Scale each image's distance from its own mean by 1 +- `fraction`."""

    kind: Literal["contrast"]
    fraction: StrictFloat = Field(
        0.2, gt=0.0, le=1.0, description="largest change of the contrast factor from 1"
    )


Augmentation = Annotated[
    Flip | AlternatingFlip | Crop | Rotate | Scale | Cutout | Brightness | Contrast,
    Field(discriminator="kind"),
]


# --- schedules ------------------------------------------------------------------------


class _Schedule(Section):
    warmup_epochs: StrictFloat = Field(
        0.0, ge=0.0, description="epochs over which the rate first rises linearly from 0"
    )


class ConstantSchedule(_Schedule):
    """Keep the rate constant."""

    kind: Literal["constant"]


class StepSchedule(_Schedule):
    """Multiply by `factor` at each of the epochs `at`."""

    kind: Literal["step"]
    at: tuple[Positive, ...] = Field(min_length=1, description="epochs of the changes")
    factor: StrictFloat = Field(
        0.1, gt=0.0, le=1.0, description="multiplies the rate at each of these epochs"
    )


class CosineSchedule(_Schedule):
    """Follow half a cosine from the peak to `end` times the peak.

    Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts.
    """

    kind: Literal["cosine"]
    end: Fraction = Field(0.0, description="last rate, as a share of the peak")


class TriangleSchedule(_Schedule):
    """Change linearly from `start` to the peak at the share `peak_at`, then to `end`.

    The one-cycle policy of Smith 2018, arXiv 1803.09820, with straight sides.
    """

    kind: Literal["triangle"]
    start: Fraction = Field(0.2, description="first rate, as a share of the peak")
    peak_at: StrictFloat = Field(
        0.2, gt=0.0, lt=1.0, description="where the peak is, share of all steps"
    )
    end: Fraction = Field(0.0, description="last rate, as a share of the peak")


Schedule = Annotated[
    ConstantSchedule | StepSchedule | CosineSchedule | TriangleSchedule,
    Field(discriminator="kind"),
]


# --- sections -------------------------------------------------------------------------


class DataConfig(Section):
    """Source, split and augmentation of the images."""

    source: Literal["cifar10", "synthetic", "directory"] = Field(
        "cifar10",
        description="cifar10; synthetic: generated shapes and textures, not CIFAR-10; "
        "directory: image files of your own",
    )
    path: Path | None = Field(
        None,
        description="cifar10: an archive or folder to read instead of fetching; "
        "directory (required): a folder with a folder per class, or with train/, val/ and test/ of "
        "class folders. "
        "In a config file it is relative to that file, in an override to the current "
        "directory; a leading ~ is your home. The resolved config holds it absolute",
    )
    validation_fraction: StrictFloat = Field(
        0.1,
        ge=0.0,
        lt=1.0,
        description="share of the training images held out, class by class; not used "
        "where a directory has a folder val/",
    )
    test_fraction: StrictFloat = Field(
        0.2,
        gt=0.0,
        lt=1.0,
        description="directory without a folder test/: share held out as the test set, by a hash "
        "of class and file name",
    )
    limit: StrictInt | None = Field(
        None,
        ge=1,
        lt=_COUNT_LIMIT,
        description="use this many training images in all, class-balanced; of a directory, the "
        "other ones are not read",
    )
    image_size: StrictInt = Field(
        32, ge=8, le=512, description="side of the input, pixels; directory images are resized"
    )
    max_unreadable: Fraction = Field(
        0.01,
        description="directory: share of the image files read that may be unreadable",
    )
    memory_share: Fraction = Field(
        0.25,
        description="the images are held in memory if their pixels take at most this share of "
        "it; otherwise batches are read from disk, with the same result. 0: always from disk",
    )
    augment: tuple[Augmentation, ...] = Field(
        (), description="applied to training images, in this order"
    )
    mix: Literal["mixup", "cutmix"] | None = Field(
        None,
        description="mix each augmented image with another, and their targets alike. mixup: the "
        "mean of the pixels, weighted; cutmix: a box of the other image",
    )
    mix_alpha: StrictFloat = Field(
        1.0,
        ge=0.01,
        le=100.0,
        description="`mix`: the share of the image is of the distribution beta(alpha, alpha)",
    )

    @pydantic.field_validator("path", mode="before")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        if isinstance(value, str) and not value.strip():
            raise ValueError("expected the path of a file or folder, received an empty text")
        return value

    @pydantic.field_validator("path")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        try:
            path = value.expanduser().absolute()
        except (RuntimeError, OSError) as error:  # an unknown home, no current directory
            raise ValueError(f"{value} cannot be made an absolute path: {error}") from error
        if "\0" in str(path) or not is_text(str(path)):
            raise ValueError(f"expected a path in UTF-8, received {brief(str(path))}")
        if any(unicodedata.category(c) in _NEVER_IN_PATHS for c in str(path)):
            raise ValueError(
                f"expected a path, received control characters in {brief(str(path))}. In double "
                "quotes a backslash is an escape: use single quotes or /"
            )
        return path

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        if self.source == "directory" and self.path is None:
            problem = "directory needs data.path, a folder with a folder per class"
            raise KeyProblem(("source",), problem)
        if self.source != "directory" and self.image_size != 32:
            raise KeyProblem(
                ("image_size",),
                f"{self.source} images are 32 pixels wide; others are only for source: directory",
            )
        for i, one in enumerate(self.augment):
            if isinstance(one, Crop) and one.pixels >= self.image_size:
                raise KeyProblem(
                    ("augment", i, "pixels"),
                    f"expected less than the {self.image_size} pixels of the images, received "
                    f"{one.pixels}",
                )
        return self


class ModelConfig(Section):
    """The network: raw pixels 0-255 in, logits out."""

    normalize: Literal["unit", "standard", "none"] = Field(
        "standard",
        description="first step inside the model. unit: pixels / 255; standard: subtract the "
        "training images' channel means and divide by their standard deviations",
    )
    layers: tuple[Layer, ...] = Field(
        min_length=1,
        description="Keras layer class names with their keyword arguments, in order; "
        "the last gives one logit per class",
    )

    @pydantic.field_validator("layers", mode="before")
    @classmethod
    def _layers(cls, value: object) -> object:
        return normalize_layers(value)


class EarlyStopping(Section):
    """Stop when the validation loss has not improved for `patience` epochs."""

    patience: StrictInt = Field(5, ge=1, lt=_COUNT_LIMIT, description="epochs without improvement")
    min_delta: StrictFloat = Field(
        0.0, ge=0.0, description="smallest decrease of the loss that counts"
    )


class Stop(Section):
    """Stop as soon as a level is reached."""

    validation_accuracy: Fraction = Field(description="level that ends the training, 0 to 1")


class LookaheadConfig(Section):
    """Interpolate the weights with a slow-moving copy of them every few steps."""

    every: StrictInt = Field(
        5, ge=1, lt=_COUNT_LIMIT, description="steps between two interpolations"
    )
    decay: StrictFloat = Field(
        0.774,
        ge=0.0,
        lt=1.0,
        description="share of the slow copy at the end of training",
    )
    ramp: StrictFloat = Field(
        3.0,
        ge=0.0,
        description="exponent: earlier the share is decay x (completed share of the steps)^ramp",
    )


class MuonConfig(Section):
    """Train the kernels of convolutions by orthogonalized momentum, and all else by SGD.

    Jordan 2024, https://kellerjordan.github.io/posts/muon; the defaults are those of his
    airbench94_muon.
    """

    learning_rate: Positive = Field(
        0.24, description="of the kernels, at the peak of `train.schedule`"
    )
    momentum: StrictFloat = Field(
        0.6, ge=0.0, lt=1.0, description="Nesterov momentum of their gradients"
    )
    steps: StrictInt = Field(3, ge=1, le=10, description="Newton-Schulz iterations per step")


class ResolutionStage(Section):
    """A part of the training with smaller images, from the end of the part before."""

    until: StrictFloat = Field(gt=0.0, lt=1.0, description="where it ends, share of all steps")
    size: StrictInt = Field(ge=8, le=512, description="side of the images, pixels")


class DistillConfig(Section):
    """Learn from the answers of a trained network as well: Hinton 2015, arXiv 1503.02531.

    The default temperature and weight are those of Tian 2020, arXiv 1910.10699.
    """

    teacher: StrictStr = Field(
        min_length=1,
        description="path or name of a run, `latest`, or a model file of any format; relative to "
        "the current directory. The resolved config holds it absolute",
    )
    temperature: StrictFloat = Field(
        4.0,
        gt=0.0,
        le=100.0,
        description="the teacher's and the student's logits are divided by it",
    )
    weight: StrictFloat = Field(
        0.9,
        gt=0.0,
        le=1.0,
        description="of the loss for the teacher's answers; labels get the rest",
    )


class CheckpointConfig(Section):
    """Checkpoints in addition to the one after every epoch."""

    every_steps: StrictInt | None = Field(
        None, ge=1, lt=_COUNT_LIMIT, description="training steps between two checkpoints"
    )
    every_minutes: Positive | None = Field(
        None, description="minutes of training between two checkpoints"
    )


class TrainConfig(Section):
    """The optimizer, SGD, and the course of the training."""

    epochs: StrictFloat = Field(
        gt=0.0, description="passes over the training images; may be a fraction"
    )
    batch_size: StrictInt = Field(
        128, ge=1, lt=_COUNT_LIMIT, description="images per training step"
    )
    learning_rate: StrictFloat = Field(gt=0.0, description="the peak of the schedule")
    schedule: Schedule = Field(
        ConstantSchedule(kind="constant"),
        description="how the learning rate changes over the training",
    )
    momentum: StrictFloat = Field(0.0, ge=0.0, lt=1.0, description="momentum of SGD")
    nesterov: StrictBool = Field(False, description="Nesterov's form of momentum")
    muon: MuonConfig | None = Field(
        None,
        description="train the kernels of convolutions by orthogonalized momentum (Muon), and all "
        "other weights by SGD with the keys above",
    )
    weight_decay: StrictFloat = Field(
        0.0,
        ge=0.0,
        description="each step also multiplies every trainable weight by "
        "1 - learning rate x weight_decay, but kernels that `muon` trains",
    )
    norm_bias_factor: Positive = Field(
        1.0,
        description="learning rate of the biases of batch normalization, as a multiple; "
        "64 in Jordan 2024, arXiv 2404.00498, section 3.4",
    )
    label_smoothing: StrictFloat = Field(
        0.0, ge=0.0, lt=1.0, description="share of the target that is spread over all classes"
    )
    clip_norm: Positive | None = Field(
        None, description="scale gradients down to this norm over all weights together"
    )
    ema: StrictFloat | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="decay per step of an exponential moving average of the weights, "
        "which is then what is validated and saved",
    )
    lookahead: LookaheadConfig | None = Field(
        None,
        description="interpolate the weights with a slow copy of them; Zhang 2019, "
        "arXiv 1907.08610; the defaults are those of Jordan 2024, arXiv 2404.00498",
    )
    freeze: dict[StrictStr, Annotated[StrictInt, Field(ge=1, lt=_COUNT_LIMIT)]] = Field(
        {},
        description="layers, by the `name` in the layer list, that are trained for this many "
        "epochs only, such as {whiten: 3}",
    )
    distill: DistillConfig | None = Field(
        None, description="also learn from what a trained network answers on the augmented images"
    )
    resolution: tuple[ResolutionStage, ...] = Field(
        (),
        description="smaller images in the first parts of the training, such as "
        "[{until: 0.4, size: 24}]; the rest has images of the full size",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="precision of the arithmetic; auto measures which is fastest; weights are "
        "always float32",
    )
    checkpoint: CheckpointConfig = Field(
        CheckpointConfig(),
        description="checkpoints in addition to the one after every epoch",
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="stop when the validation loss no longer falls"
    )
    stop: Stop | None = Field(
        None, description="stop when a level of validation accuracy is reached"
    )
    select: Literal["best", "last"] = Field(
        "last",
        description="which epoch's weights are saved: the one of the highest validation accuracy, "
        "or the last",
    )
    calibrate: StrictBool = Field(
        False,
        description="divide the logits of the saved network by a temperature that is fitted on the "
        "validation images at the end; decisions and trained weights stay; Guo 2017, "
        "arXiv 1706.04599",
    )
    tensorboard: StrictBool = Field(
        False, description="also write TensorBoard logs (extra: tensorboard)"
    )
    mlflow: StrictStr | None = Field(
        None,
        description="URI of an MLflow tracking server or store that also receives the run, such as "
        "http://127.0.0.1:5000 or sqlite:///mlflow.db (extra: mlflow)",
    )

    @pydantic.field_validator("mlflow")
    @classmethod
    def _without_password(cls, value: str | None) -> str | None:
        if value is not None:
            check_tracking_uri(value)
        return value

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.nesterov and self.momentum == 0.0:
            raise KeyProblem(("nesterov",), "true needs a momentum above 0, such as 0.9")
        if self.schedule.warmup_epochs >= self.epochs:
            raise KeyProblem(
                ("schedule", "warmup_epochs"),
                f"expected less than the {self.epochs:g} of epochs, received "
                f"{self.schedule.warmup_epochs:g}",
            )
        ends = [stage.until for stage in self.resolution]
        if any(later <= end for end, later in itertools.pairwise(ends)):
            raise KeyProblem(
                ("resolution",), f"expected parts whose `until` rises, received {ends}"
            )
        return self


class EvaluateConfig(Section):
    """The measurement of accuracy."""

    batch_size: StrictInt = Field(
        500, ge=1, lt=_COUNT_LIMIT, description="images per call of the network"
    )
    tta: Tta = Field(
        "none",
        description="test-time augmentation. mirror: mean of the image and its mirror image; "
        "mirror_translate: those two, and both shifted by one pixel up-left and down-right",
    )


class PruneConfig(Section):
    """Set the smallest weights to zero, then fine-tune the others."""

    sparsity: StrictFloat = Field(gt=0.0, lt=1.0, description="share of each kernel that is zero")
    epochs: Positive = Field(2.0, description="passes over the training images after pruning")
    learning_rate: Positive | None = Field(
        None, description="peak of a cosine to zero; by default a tenth of the run's"
    )


class ExportConfig(Section):
    """What `cifarnet export` writes, and the bounds of parity."""

    formats: tuple[ExportFormat, ...] = Field(
        (), description="what `cifarnet export RUN` writes without `--format`"
    )
    quantize: tuple[Quantization, ...] = Field(
        ("none",),
        min_length=1,
        description="quantizations that are written without `--quantize`; each format gets those "
        "that it can have",
    )
    calibration_images: StrictInt = Field(
        500,
        ge=10,
        lt=_COUNT_LIMIT,
        description="class-balanced training images that calibrate int8",
    )
    max_difference: StrictFloat = Field(
        1e-4,
        ge=0.0,
        le=1.0,
        description="largest difference of a probability of a float artifact from Keras'",
    )
    max_accuracy_loss: Fraction = Field(
        0.01,
        description="most that a quantized artifact or a pruned network may lose on validation "
        "images; 0.01 is one percentage point",
    )
    max_loss_increase: StrictFloat = Field(
        0.1,
        ge=0.0,
        le=100.0,
        description="most that the loss of a quantized artifact on validation images may exceed "
        "the Keras model's, nats",
    )
    max_calibration_increase: Fraction = Field(
        0.05,
        description="most that the expected calibration error of a quantized artifact on "
        "validation images may exceed the Keras model's",
    )
    prune: PruneConfig | None = Field(
        None, description="export a pruned and fine-tuned network, not the trained one"
    )


class Config(Section):
    """Everything that determines the result of a run."""

    name: StrictStr = Field(
        "run",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="part of the name of the run directory; by default that of the config file",
    )
    seed: StrictInt = Field(
        0,
        ge=0,
        lt=_COUNT_LIMIT,
        description="of the validation split, initial weights, data order and augmentation",
    )
    data: DataConfig = DataConfig()
    model: ModelConfig
    train: TrainConfig
    evaluate: EvaluateConfig = EvaluateConfig()
    export: ExportConfig = ExportConfig()

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Config:
        for i, stage in enumerate(self.train.resolution):
            if stage.size > self.data.image_size:
                raise KeyProblem(
                    ("train", "resolution", i, "size"),
                    f"expected at most the {self.data.image_size} pixels of the images, received "
                    f"{stage.size}",
                )
        # A folder may have its own validation split, which only loading it shows.
        if self.data.validation_fraction == 0.0 and self.data.source != "directory":
            self.require_validation()
        return self

    def require_validation(self) -> None:
        """Check that nothing needs validation images.

        Raises:
            KeyProblem: a key does.
        """
        train = self.train
        for name, used, value in (
            ("early_stopping", train.early_stopping is not None, ""),
            ("stop", train.stop is not None, ""),
            ("select", train.select == "best", "best "),
            ("calibrate", train.calibrate, "true "),
        ):
            if used:
                problem = f"{value}needs a validation set: data.validation_fraction above 0"
                raise KeyProblem(("train", name), problem)
