"""The progress of a training in a notebook, in a real Jupyter kernel."""

import nbclient
import nbformat

TRAIN = """
import cifarnet

config = cifarnet.load_config("smoke", ["data.limit=300", "train.epochs=2"])
run = cifarnet.train(config)
print(run.read_record().status)
"""


def test_a_notebook_shows_a_training_as_a_terminal_does(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path / "home"))  # so that precision is measured
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(TRAIN)])
    folder = {"metadata": {"path": tmp_path}}
    nbclient.NotebookClient(notebook, timeout=300, resources=folder).execute()
    outputs = notebook.cells[0].outputs
    shown = [output["data"] for output in outputs if output.output_type == "display_data"]
    widget = "application/vnd.jupyter.widget-view+json"
    lines = "\n".join(data["text/plain"] for data in shown if widget not in data)
    lines = lines.strip().splitlines()
    assert lines[0] == "Training   smoke, seed 0"
    assert "network    79,530 parameters, 1,241,920 MACs per image" in lines
    assert [line.split()[0] for line in lines if line.endswith(("time", "s", "best"))][-3:] == [
        "epoch",
        "1",
        "2",
    ]
    # The live line is a widget of rich's: one per stage before the first step, the last goes on.
    assert sum(widget in data for data in shown) == 4
    assert outputs[-1].text == "finished\n"
    (run,) = (tmp_path / "runs").glob("*-smoke")
    assert lines[5].split() == ["run", f"runs/{run.name}"]
