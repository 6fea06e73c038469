"""What a user has set for other programs and libraries neither changes results nor is changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
name: gap
data: {source: synthetic, limit: 200}
model:
  layers:
    - Conv2D: {filters: 8, kernel_size: 3, activation: relu}
    - LayerNormalization
    - GlobalMaxPooling2D
    - Dense: {units: 10}
train: {epochs: 1, batch_size: 50, learning_rate: 0.02, precision: float32}
"""
WORK = """
import hashlib, json, numpy as np
import cifarnet

run = cifarnet.train("gap.yaml", callbacks=[])
accuracy = cifarnet.evaluate(run, split="validation", callbacks=[]).accuracy
(export,) = cifarnet.export(run, ["keras"], ["none"], callbacks=[])
predict = cifarnet.load_predictor(export.path)
pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
print(json.dumps({
    "parameters": run.read_record().model.parameters,
    "history": run.history_file.read_text().splitlines()[1].split(",")[:5],
    "accuracy": accuracy,
    "difference": export.parity.max_difference,
    "probabilities": predict(pixels).tolist(),
}))
"""
# Of a notebook, before and after the work.
SESSION = """
import random, warnings
import keras, matplotlib, numpy as np
keras.config.set_image_data_format("channels_first")
keras.config.set_floatx("float64")
keras.config.set_epsilon(0.1)
keras.config.set_dtype_policy("mixed_float16")
np.seterr(all="raise")
warnings.simplefilter("error")
matplotlib.rcParams.update({"text.usetex": True, "savefig.dpi": 10, "figure.figsize": (1, 1)})
random.seed(7)
np.random.seed(7)
"""
CHECK = """
assert keras.config.image_data_format() == "channels_first"
assert keras.config.floatx() == "float64" and keras.config.epsilon() == 0.1
assert keras.config.dtype_policy().name == "mixed_float16"
assert set(np.geterr().values()) == {"raise"} and warnings.filters[0][0] == "error"
assert matplotlib.rcParams["text.usetex"] and matplotlib.rcParams["savefig.dpi"] == 10
expected = random.Random(7).random(), np.random.RandomState(7).rand()
assert (random.random(), np.random.rand()) == expected
"""
EVIL = {
    "MPLBACKEND": "module://no_such.backend",
    "PYTHONWARNINGS": "error",
    "KERAS_HOME": "home",
    "MPLCONFIGDIR": "home",
}


def work(folder: Path, code: str, **environment: str) -> dict:
    (folder / "gap.yaml").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Glyph" not in done.stderr and "Warning" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict:
    """The results without any settings of the user."""
    found = work(tmp_path_factory.mktemp("plain"), WORK)
    assert found["parameters"] == 3 * 3 * 3 * 8 + 8 + 2 * 8 + 8 * 10 + 10
    return found


def test_settings_in_files_and_variables_change_nothing(expected, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    settings = {"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first"}
    (home / "keras.json").write_text(json.dumps({**settings, "backend": "jax"}))
    (home / "matplotlibrc").write_text("text.usetex: True\nbackend: tkagg\nfont.family: Nowhere\n")
    assert work(tmp_path, WORK, **EVIL) == expected


def test_settings_of_a_session_change_nothing_and_stay(expected, tmp_path):
    # TensorFlow comes before cifarnet here; by tests/conftest.py it has the same kernels.
    assert work(tmp_path, SESSION + WORK + CHECK) == expected


def test_a_notebooks_matplotlib_backend_stays_its_own(tmp_path):
    code = (
        "import pathlib, numpy as np; from cifarnet.reporting import plots\n"
        "pixels = np.zeros((1, 4, 4, 3), np.uint8)\n"
        "plots.sheet(pixels, ['a'], 1, pathlib.Path('a.png'), 'a')\n"
        "import matplotlib, json; print(json.dumps(matplotlib.rcParams['backend']))"
    )
    assert work(tmp_path, code, MPLBACKEND="svg") == "svg"


# What TensorFlow decides by itself on some processors.
EARLY = """
import os
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
import cifarnet, tensorflow
"""
FORGOTTEN = EARLY + "del os.environ['TF_ENABLE_ONEDNN_OPTS']"
TOO_LATE = EARLY + "os.environ['TF_ENABLE_ONEDNN_OPTS'] = '1'"
TOLD = (
    "this program imported TensorFlow with oneDNN off: steps take longer and give slightly other "
    "numbers. Set TF_ENABLE_ONEDNN_OPTS=1 before TensorFlow is imported"
)
WARNED = """
import json
import cifarnet

texts = []

class Warnings(cifarnet.Callback):
    def on_warning(self, text):
        texts.append(text)

run = cifarnet.train("gap.yaml", callbacks=[Warnings()])
assert [text in run.log_file.read_text() for text in texts] == [True] * len(texts)
print(json.dumps([run.read_record().machine.onednn, texts]))
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="TensorFlow has no oneDNN here")
@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param("", [True, []], id="the program's own import"),
        pytest.param(EARLY, [False, []], id="as the user wants it"),
        pytest.param(FORGOTTEN, [False, [TOLD]], id="not set"),
        pytest.param(TOO_LATE, [False, [TOLD]], id="set too late"),
    ],
)
def test_whether_onednn_is_on_is_recorded_and_a_loss_is_told(before, expected, tmp_path):
    assert work(tmp_path, f"{before}\n{WARNED}") == expected
