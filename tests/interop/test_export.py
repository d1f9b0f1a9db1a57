"""What other programs read computes what the checkpoint computes."""

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor
from typer.exceptions import TyperException

from alexnet_repro.base.checkpoints import find_checkpoint
from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.preprocess import shorter_side_and_centre
from alexnet_repro.interop import export as exporting
from alexnet_repro.interop.classifier import Classifier
from alexnet_repro.interop.export import program
from alexnet_repro.training.checkpoint import Trained, load_trained
from alexnet_repro.training.resuming import started
from tests.recorded import configuration

Run = Callable[..., None]


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Five stored images (5, 256, 256, 3) uint8."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    return torch.from_numpy(coarse.repeat(16, axis=1).repeat(16, axis=2))


@pytest.fixture(scope="module")
def wanted(strong: Path, images: Tensor) -> Tensor:
    """The logits of the checkpoint for the centres of the images, as evaluate makes them."""
    trained = load_trained(strong)
    with torch.no_grad():
        (view,) = trained.views.test_views(images, "centre")
        logits: Tensor = trained.network(view)
    assert logits.std() > 0.1
    return logits


@pytest.fixture(scope="module")
def centres(images: Tensor) -> Tensor:
    """What is given to other programs: RGB 0–255, the middle 227 pixels."""
    return images[:, 14:241, 14:241].permute(0, 3, 1, 2).float().contiguous()


def test_onnx_runtime_computes_the_same_for_any_number_of_images(
    export: Run, strong: Path, centres: Tensor, wanted: Tensor, tmp_path: Path
) -> None:
    ort, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    export("onnx", "net.onnx", f"--checkpoint={strong}", "--opset=19")
    session = ort.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape, logits.name) == ("image", ["batch", 3, 227, 227], "logits")
    for count in (1, 2, 5):
        (found,) = session.run(None, {"image": centres[:count].numpy()})
        np.testing.assert_allclose(found, wanted[:count], rtol=1e-4, atol=1e-4)
    model = onnx.load("net.onnx")
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 19)]
    facts = {one.key: one.value for one in model.metadata_props}
    assert json.loads(facts["classifier"])["classes"] == ["apple", "banana", "cherry"]
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_quantized_onnx_is_small_and_its_error_is_measured(
    export: Run, strong: Path, tiny_images: Path, tmp_path: Path
) -> None:
    ort = pytest.importorskip("onnxruntime")
    data = ["data=folder", f"data.source.root={tiny_images}", "data.batch_size=8"]
    export("quantized", "small.onnx", f"--checkpoint={strong}", *data)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.onnx", "small.onnx.json"]
    record = json.loads((tmp_path / "small.onnx.json").read_text())
    session = ort.InferenceSession("small.onnx", providers=["CPUExecutionProvider"])
    trained = load_trained(strong)
    # A weight of fc6, fc7 and fc8 takes a byte instead of four.
    weights = sum(p.numel() for name, p in trained.network.named_parameters() if "fc" in name)
    assert record["bytes"]["8 bit"] == (tmp_path / "small.onnx").stat().st_size
    assert record["bytes"]["32 bit"] - record["bytes"]["8 bit"] > 2.8 * weights
    wrong = {"32 bit": 0, "8 bit": 0}
    paths = sorted((tiny_images / "test").glob("*/*.png"))
    for path in paths:
        with Image.open(path) as photograph:
            pixels = torch.from_numpy(np.array(shorter_side_and_centre(photograph, 256))[None])
        (view,) = trained.views.test_views(pixels, "centre")
        crop = pixels[:, 14:241, 14:241].permute(0, 3, 1, 2).float().numpy()
        with torch.no_grad():
            logits = {"32 bit": trained.network(view).numpy()}
        (logits["8 bit"],) = session.run(None, {"image": crop})
        for name, of_image in logits.items():
            wrong[name] += trained.classes[int(of_image.argmax())] != path.parent.name
    for name, count in wrong.items():
        assert record["errors"][name]["top1"] == pytest.approx(100 * count / len(paths))


def test_torch_export_loads_without_the_package(
    export: Run, strong: Path, centres: Tensor, wanted: Tensor
) -> None:
    export("torch-export", "net.pt2", f"--checkpoint={strong}")
    inside = {"classifier.json": ""}
    program = torch.export.load("net.pt2", extra_files=inside)
    for count in (1, 5):
        found = program.module()(centres[:count])
        torch.testing.assert_close(found, wanted[:count], rtol=1e-4, atol=1e-4)
    assert json.loads(inside["classifier.json"])["crop_size"] == 227


def test_a_folder_for_the_hub_loads_and_saves(
    export: Run, strong: Path, centres: Tensor, wanted: Tensor, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub")
    from alexnet_repro import HubClassifier

    export("safetensors", "hub", f"--checkpoint={strong}")
    first = HubClassifier.from_pretrained(tmp_path / "hub").eval()
    first.save_pretrained(tmp_path / "saved")
    second = HubClassifier.from_pretrained(tmp_path / "saved").eval()
    assert second.words == ("a fruit", "banana", "cherry")
    for loaded in (first, second):
        with torch.no_grad():
            torch.testing.assert_close(loaded(centres), wanted, rtol=1e-4, atol=1e-4)


def test_an_exported_folder_is_a_checkpoint_too(
    export: Run, tiny_run: Path, images: Tensor, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub")
    (tmp_path / "words.txt").write_text("apple a fruit\nbanana another\ncherry a third\n")
    export("safetensors", "hub", f"--checkpoint={tiny_run}", "--words=words.txt")
    export("safetensors", "half", f"--checkpoint={tiny_run}", "--half")
    export("safetensors", "again", "--checkpoint=half", "--half")
    original = load_trained(find_checkpoint(str(tiny_run)))

    def logits(trained: Trained) -> Tensor:
        with torch.no_grad():
            views = trained.views.test_views(images, "ten")
            return torch.stack([trained.network(view) for view in views])

    wanted = logits(original)
    whole, half = (load_trained(find_checkpoint(name)) for name in ("hub", "half"))
    torch.testing.assert_close(logits(whole), wanted, rtol=0, atol=0)
    torch.testing.assert_close(logits(half), wanted, rtol=0.01, atol=0.01)
    assert not torch.equal(logits(half), wanted)
    assert whole.words == ("a fruit", "another", "a third")
    assert (whole.classes, whole.epoch) == (original.classes, original.epoch)
    weights = tmp_path / "half" / "model.safetensors"
    assert weights.read_bytes() == (tmp_path / "again" / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="it holds weights but no training state"):
        started(configuration(f"resume={weights}"), tmp_path / "run")
    # Folders of who trained it do not go along.
    assert set(whole.config["data"]) == {"name", "batch_size", "exif_orientation"}


@pytest.mark.parametrize("part", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 90], ids=["empty", "braces", "noise"])
def test_a_damaged_export_is_told_in_a_line(
    export: Run, strong: Path, tmp_path: Path, part: str, content: bytes
) -> None:
    pytest.importorskip("huggingface_hub")
    export("safetensors", "hub", f"--checkpoint={strong}")
    (tmp_path / "hub" / part).write_bytes(content)
    with pytest.raises(UsageError, match="not what alexnet export safetensors writes") as told:
        load_trained(tmp_path / "hub" / "model.safetensors")
    assert "\n" not in str(told.value)


def test_a_photograph_is_prepared_as_for_training(strong: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    photograph = Image.fromarray(pixels)
    stored = np.array(shorter_side_and_centre(photograph, 256))
    found = Classifier.of(load_trained(strong)).preprocess(photograph)
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), stored[14:241, 14:241])


def front_matter(folder: Path) -> tuple[dict[str, Any], str]:
    _, matter, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(matter), text


def test_the_card_of_a_run_holds_data_recipe_result_and_licence(
    export: Run, tiny_run: Path, tmp_path: Path
) -> None:
    export("safetensors", "hub", f"--checkpoint={tiny_run}")
    matter, text = front_matter(tmp_path / "hub")
    record = json.loads((tiny_run / "result.json").read_text())
    assert matter["license"] == "bsd-3-clause"
    (result,) = matter["model-index"][0]["results"]
    accuracy = 100 - record["errors"]["centre"]["top1"]
    assert result["metrics"][0]["value"] == pytest.approx(accuracy, abs=0.01)
    assert "Trained on `folder`, 3 classes" in text
    assert "| epochs | `1` |" in text
    assert f"{record['errors']['ten']['top1']:.2f} (" in text
    assert record["command"] in text
    assert "BSD 3-Clause" in text


def test_the_card_of_a_converted_network_says_where_it_is_from(
    export: Run, strong: Path, tmp_path: Path
) -> None:
    export("safetensors", "hub", f"--checkpoint={strong}")
    matter, text = front_matter(tmp_path / "hub")
    assert matter["license"] == "other"
    assert "model-index" not in matter
    assert "converted from `net.caffemodel`" in text
    assert "Not measured." in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tensorflow"], "No such command 'tensorflow'"),
        (["torch-export", "net"], r"net: torch.export.load needs a name ending in .pt2"),
        (["quantized", "net"], "data"),
        (["onnx", "net", "--checkpoint=no.ckpt"], "no.ckpt: there is no such checkpoint"),
        (["onnx", "net", "--opset=9"], "greater than or equal to 18"),
        (["safetensors", "net", "--record=no.json"], "'no.json' does not exist"),
        (["safetensors", "net", "--record=torn.json"], "torn.json: no record of train or eval"),
    ],
)
def test_a_mistake_is_told(
    export: Run, strong: Path, arguments: list[str], told: str, tmp_path: Path
) -> None:
    (tmp_path / "torn.json").write_text("{")
    with pytest.raises((UsageError, TyperException), match=told):
        export(arguments[0], f"--checkpoint={strong}", *arguments[1:])
    assert [path.name for path in tmp_path.iterdir()] == ["torn.json"]


def test_a_network_that_takes_the_number_of_images_for_a_constant_is_refused(
    strong: Path, centres: Tensor
) -> None:
    class Constant(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(len(x), -1)

    made = Classifier.of(load_trained(strong))
    made.network = Constant()
    with pytest.raises(
        UsageError, match="Constant cannot be exported with a variable batch size"
    ) as told:
        program(made)
    assert "\n" not in str(told.value)


def test_a_missing_extra_is_told_with_what_installs_it(
    export: Run, strong: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    told = r"onnx: export is not installed; pip install 'alexnet-repro\[export\]'"
    with pytest.raises(UsageError, match=told):
        export("onnx", "net.onnx", f"--checkpoint={strong}")


def test_torch_hub_finds_the_network_and_a_checkpoint(
    strong: Path, centres: Tensor, wanted: Tensor
) -> None:
    root = str(Path(__file__).parents[2])
    network = torch.hub.load(root, "alexnet", source="local", width=0.1, num_classes=4)
    assert network.fc8.out_features == 4
    made = torch.hub.load(root, "classifier", source="local", checkpoint=str(strong))
    with torch.no_grad():
        torch.testing.assert_close(made(centres), wanted, rtol=1e-4, atol=1e-4)


def test_a_network_that_no_onnx_file_holds_is_told_before_it_is_exported(
    export: Run, strong: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setattr(exporting, "LARGEST_ONNX", 1000)
    monkeypatch.setattr(exporting, "program", None)
    with pytest.raises(UsageError, match=r"net\.onnx: an ONNX file holds 1\.0 kB at most"):
        export("onnx", "net.onnx", f"--checkpoint={strong}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["onnx", "torch-export"])
def test_a_folder_where_a_file_is_to_be_written_is_named(
    export: Run, strong: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "net.pt2").mkdir()
    with pytest.raises(TyperException, match=r"'net\.pt2' is a directory"):
        export(command, "net.pt2", f"--checkpoint={strong}")


@pytest.mark.parametrize(
    ("command", "output", "written"),
    [("torch-export", "net.pt2", "net.pt2"), ("safetensors", "hub", "hub/model.safetensors")],
)
def test_a_full_disk_is_told_with_the_name_that_was_typed(
    export: Run,
    strong: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    output: str,
    written: str,
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device") as told:
        export(command, output, f"--checkpoint={strong}")
    assert told.value.filename == written
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
