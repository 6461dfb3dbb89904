"""Models in and out: sequences of modules, files, embeddings."""

import numpy as np
import pytest

import blindsmith


class Linear:
    """Stands in for torch.nn.Linear where PyTorch is not installed: weight of outputs x inputs, and bias."""

    def __init__(self, inputs, outputs):
        random = np.random.default_rng(inputs)
        self.weight = random.normal(size=(outputs, inputs)).astype(np.float32) / inputs
        self.bias = np.arange(outputs, dtype=np.float32) / 10


class Tanh:
    pass


class Softmax:
    pass


def forward(layers, rows):
    for i, (weight, bias) in enumerate(layers):
        rows = (np.tanh(rows) if i else rows) @ weight.T + bias
    return rows


def test_a_project_begins_with_a_model_and_gives_it_back(service, iris, tmp_path):
    rows, labels = iris
    first, second = Linear(4, 7), Linear(7, 3)
    project = service.init(rows, labels, model=[first, Tanh(), second], manual=True)
    assert project.layers == [4, 7, 3]
    model = project.pull()
    assert model.activations == ["tanh"]
    for (weight, bias), given in zip(model.layers, (first, second)):
        assert np.array_equal(weight, given.weight) and np.array_equal(bias, given.bias)
    path = model.save(tmp_path / "m.safetensors")
    other = service.init(rows, labels, model=path, activation="tanh", manual=True)
    assert np.array_equal(other.pull().layers[1][0], second.weight)
    assert "version" in model.card and model.features is None
    project.push(rows, labels)
    project.refine()
    refined = project.pull()
    logits = forward(refined.layers, refined.standardise(rows).astype(np.float32))
    assert (logits.argmax(axis=1).astype(str) == project.predict(rows).values).mean() > 0.98


@pytest.mark.parametrize(
    "model, words",
    [
        ([], "no Linear layer"),
        ([Linear(4, 7), Linear(7, 3)], "between any two"),
        ([Linear(4, 7), Softmax(), Linear(7, 3)], "has Softmax"),
        ([Linear(4, 7), Tanh(), Linear(6, 3)], "layer|inputs|outputs"),
    ],
)
def test_a_model_of_another_form_is_refused(service, iris, model, words):
    with pytest.raises(ValueError, match=words):
        service.init(*iris, model=model)


def test_the_onnx_file_predicts_what_the_warden_does(service, iris, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    rows, labels = iris
    project = service.init(rows, labels, hidden=[8])
    project.push(rows, labels)
    project.wait()
    path = project.pull().save(tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    label, probabilities = session.run(None, {"features": rows})
    predicted = project.predict(rows)
    assert (label == predicted.values).mean() > 0.98
    assert np.abs(probabilities - predicted.probabilities).max() < 0.02


def test_the_model_in_pytorch_predicts_what_the_warden_does(service, iris):
    torch = pytest.importorskip("torch")
    rows, labels = iris
    start = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    project = service.init(rows, labels, model=start)
    project.push(rows, labels)
    project.wait()
    with torch.no_grad():
        logits = project.pull().to_torch()(torch.tensor(rows)).numpy()
    assert (logits.argmax(axis=1).astype(str) == project.predict(rows).values).mean() > 0.98


def test_features_of_a_public_model_are_pushed(service, tmp_path):
    """The backbone is one that a project refined and saved as ONNX: it runs here, and its outputs are features."""
    pytest.importorskip("onnxruntime")
    texts = ["good and fine", "fine", "very good", "bad", "so bad and sad", "sad"] * 20
    labels = [1, 1, 1, 0, 0, 0] * 20

    def count(batch):
        words = ("good", "fine", "bad", "sad")
        return np.array([[text.count(word) for word in words] for text in batch])

    embed = blindsmith.embedding(count, batch=7)
    assert embed(texts).shape == (120, 4) and embed(texts).dtype == np.float32
    project = service.init(embed(texts), labels, hidden=[])
    project.push(texts, labels, embed=count)
    project.wait()
    assert (project.predict(texts, embed=count).values == np.array(labels).astype(str)).mean() > 0.95
    head = project.pull().save(tmp_path / "head.onnx")
    assert head.exists()
    with pytest.raises(ValueError, match="no inputs"):
        embed([])
