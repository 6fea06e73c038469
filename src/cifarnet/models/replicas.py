"""Training one batch on several devices: which rows a device has, and sums over the devices.

A replica is a copy of the network on one device, of this process or another. All functions are for
the training step that `tf.distribute.Strategy.run` traces once per replica of this process. Outside
of it, and without several replicas, there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cifarnet.backend import keras, tf
from cifarnet.errors import ModelError

_NOISE = (
    keras.layers.Dropout,  # also the base class of the spatial ones
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
)
# Hold a seed, and draw through layers of `_NOISE` inside or not at all.
_HOLDERS = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention, keras.layers.RNN)


def count() -> int:
    """Return the number of replicas that share the batch of the training step."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else int(context.num_replicas_in_sync)


def index() -> int:
    """Return the number of this replica, from 0."""
    context = tf.distribute.get_replica_context()
    return 0 if context is None else int(tf.get_static_value(context.replica_id_in_sync_group))


def rows(batch: int) -> slice:
    """Return the rows of this replica in a batch of `batch` images."""
    at = index()
    return slice(at * batch // count(), (at + 1) * batch // count())


def total(tensors: Sequence[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """Sum tensors over the replicas, in one all-reduce.

    Args:
        tensors: float32 of any shapes, the same on each replica; None stays None.
    """
    if count() == 1:
        return list(tensors)
    given = [tf.convert_to_tensor(one) for one in tensors if one is not None]
    flat = tf.concat([tf.reshape(one, [-1]) for one in given], axis=0)
    summed = _all_reduce(flat)
    parts = iter(tf.split(summed, [one.shape.num_elements() for one in given]))
    shapes = iter(one.shape for one in given)
    return [None if one is None else tf.reshape(next(parts), next(shapes)) for one in tensors]


def gather(values: tf.Tensor) -> tf.Tensor:
    """Stack the values of all replicas: [...] to [replicas, ...], equal to the bit on each."""
    at = index()
    # A sum of one number and zeros is exact, in whatever order it is taken.
    return _all_reduce(tf.stack([values if i == at else values * 0.0 for i in range(count())]))


def _all_reduce(values: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(values))


def divide_batch(model: keras.Model, batch: int) -> None:
    """Let the layers of each replica compute its rows of a whole batch.

    Replicas have equal seeds. If each drew random masks for its own rows, these would be equal: it
    draws those of the whole batch, and uses its rows of them.

    Args:
        model: built inside a strategy's scope; changed in place.
        batch: images per training step, over all replicas.

    Raises:
        ModelError: a layer draws random numbers in a way that is not known here, or has batch
            renormalization.
    """
    for layer in model._flatten_layers(include_self=False):
        if getattr(layer, "renorm", False):
            raise ModelError(
                f"layer {layer.name} ({type(layer).__name__}): several workers cannot share the "
                "statistics of renorm: true; train with one process, or leave renorm out"
            )
        if isinstance(layer, _NOISE):
            layer.call = _for_whole_batch(layer.call, batch)
        elif hasattr(layer, "_create_dropout_mask"):  # the cell of a recurrent layer
            layer._create_dropout_mask = _for_whole_batch(layer._create_dropout_mask, batch)
        elif getattr(layer, "seed_generator", None) is not None and not isinstance(layer, _HOLDERS):
            raise ModelError(
                f"layer {layer.name} ({type(layer).__name__}) draws random numbers that several "
                "workers cannot share; train with one process, or use Dropout"
            )


def _for_whole_batch(call: Callable[..., Any], batch: int) -> Callable[..., Any]:
    def shared(inputs: tf.Tensor, *args: Any, **kwargs: Any) -> Any:
        if count() == 1:
            return call(inputs, *args, **kwargs)
        own = rows(batch)
        around = [(own.start, batch - own.stop), *[(0, 0)] * (len(inputs.shape) - 1)]
        return tf.nest.map_structure(
            lambda whole: whole[own], call(tf.pad(inputs, around), *args, **kwargs)
        )

    return shared
