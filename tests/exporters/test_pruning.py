"""Magnitude pruning: zeros, accuracy, and constraints of the layers themselves."""

import keras
import numpy as np
import pytest

from cifarnet import config, data, exporters
from cifarnet.errors import GateError
from cifarnet.exporters import pruning
from cifarnet.training.step import Trainer


@pytest.fixture(scope="module")
def dataset(run) -> data.Dataset:
    settings = config.load(run.config_file)
    return data.load(settings.data, settings.seed)


def test_a_pruned_network_has_its_zeros_and_its_accuracy(run, with_options):
    other = with_options("export.max_accuracy_loss=0.2")
    assert [t.name for t in exporters.targets(["keras"], ["none"], pruned=True)] == ["keras-pruned"]
    (record,) = exporters.export(other, ["keras"], ["none"], prune=0.5, callbacks=[])
    assert (record.prune.sparsity, record.prune.epochs) == (0.5, 2)
    model = keras.models.load_model(other.exports_folder / "keras-pruned" / "model.keras")
    kernels = [w.numpy() for w in model.weights if len(w.shape) > 1]
    for kernel in kernels:
        assert np.count_nonzero(kernel) == kernel.size - kernel.size // 2
    zeros = sum(kernel.size // 2 for kernel in kernels) / sum(kernel.size for kernel in kernels)
    assert record.prune.sparsity_reached == pytest.approx(zeros)
    # Parity is measured with the pruned network on the same images.
    assert record.prune.accuracy == record.parity.reference_accuracy
    (whole,) = exporters.export(run, ["keras"], ["none"], callbacks=[])
    assert record.prune.accuracy_before == whole.parity.accuracy
    assert record.compressed_bytes < 0.75 * whole.compressed_bytes
    assert whole.prune is None


def test_the_smallest_weights_go_and_the_others_are_trained(run, dataset):
    settings = config.load(run.config_file)
    trained = keras.models.load_model(run.model_file)
    prune = config.PruneConfig(sparsity=0.25, epochs=0.1)
    pruned = pruning.prune(trained, settings, prune, dataset)
    for before, after in zip(trained.weights, pruned.weights, strict=True):
        before, after = before.numpy(), after.numpy()
        if before.ndim > 1:
            kept = after != 0
            assert np.abs(before[~kept]).max() <= np.abs(before[kept]).min()
            assert not np.array_equal(before[kept], after[kept])
            np.testing.assert_allclose(before[kept], after[kept], atol=0.05)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_layers_own_constraint_holds_too(precision, run, dataset):
    settings = config.load(
        run.config_file,
        [
            "model.layers=[{Conv2D: {filters: 4, kernel_size: 3, kernel_constraint: non_neg}}, "
            "Flatten, {Dense: {units: 10}}]",
            f"train.precision={precision}",
        ],
    )
    trainer = Trainer(settings, dataset)
    trained = trainer.float32_model(trainer.model.get_weights())
    prune = config.PruneConfig(sparsity=0.5, epochs=0.2)
    pruned = pruning.prune(trained, settings, prune, dataset)
    convolution, dense = (w.numpy() for w in pruned.weights if len(w.shape) > 1)
    assert convolution.min() == 0.0 < convolution.max()
    assert np.count_nonzero(convolution) <= convolution.size // 2
    assert np.count_nonzero(dense) == dense.size - dense.size // 2


def test_a_network_pruned_to_nothing_fails_and_nothing_is_written(with_options):
    other = with_options("export.prune={sparsity: 0.999, epochs: 0.1}")
    with pytest.raises(GateError, match=r"the pruned network loses .* \(export\.prune\.epochs\)"):
        exporters.export(other, ["onnx"], ["none"], callbacks=[])
    assert not list(other.exports_folder.glob("*pruned*"))
