"""A checkpoint as other programs read it: ONNX, torch.export, safetensors with a model card."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.filesize import decimal
from safetensors.torch import load_file, save
from torch._dynamo.exc import UserError

from alexnet_repro.analysis.predictions import trained_network
from alexnet_repro.base.build import built_as
from alexnet_repro.base.checkpoints import WEIGHTS
from alexnet_repro.base.console import counting
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.extras import require
from alexnet_repro.base.files import all_of, checksum, write_bytes, write_json, write_text
from alexnet_repro.base.record import provenance
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.interop.card import model_card, published
from alexnet_repro.interop.classifier import Classifier, settings
from alexnet_repro.results.evaluation import Tally, fitting_labels
from alexnet_repro.training.checkpoint import NETWORK, Trained

log = logging.getLogger(__name__)

LARGEST_ONNX = 2**31 - 1
"""Bytes of a protocol buffer, which an ONNX file is."""
TOLERANCE = 1e-4
"""How far logits may be apart, by the largest of them where that is above 1."""

BATCH = {"image": {0: torch.export.Dim("batch")}}
"""The first dimension of what is read may have any size."""


def network(
    checkpoint: Path,
    model: Mapping[str, Any],
    trust: str | None,
    to: str = "torch_export",
    words: Path | None = None,
) -> Trained:
    """The network to export; a foreign one as :func:`load_trained` takes it.

    Raises:
        UsageError: if it cannot be read, or the extra for the format is not installed.
    """
    if to != "torch_export":
        require("export", to)
    return trained_network(checkpoint, "cpu", words, model, trust)


@contextmanager
def written(output: Path) -> Iterator[Path]:
    """The name of a file to write, which takes the place of ``output`` once it is whole."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with all_of(output) as unfinished:
        yield unfinished
    log.info("written to %s", output)


def sample(made: Classifier, count: int) -> torch.Tensor:
    """Images of noise, (count, 3, crop, crop), RGB 0–255, coarse enough to excite every layer."""
    generator = torch.Generator().manual_seed(0)
    coarse = 255 * torch.rand(count, 3, 8, 8, generator=generator)
    size = (made.crop_size, made.crop_size)
    return torch.nn.functional.interpolate(coarse, size, mode="bilinear")


def program(made: Classifier) -> torch.export.ExportedProgram:
    """The network as a graph for any number of images at once.

    Raises:
        UsageError: if something in the network takes the number of images for a constant.
    """
    try:
        return torch.export.export(made, (sample(made, 2),), dynamic_shapes=BATCH)
    except UserError as error:
        reason = " ".join(str(error).split()[:30])
        name = type(made.network).__name__
        raise UsageError(
            f"{name} cannot be exported with a variable batch size ({reason} …)"
        ) from error


def check_logits(name: str, run: Callable[[torch.Tensor], torch.Tensor], made: Classifier) -> None:
    """Compare what was written with the network, on one image and on three, and say so.

    Raises:
        RuntimeError: if they are further apart than :data:`TOLERANCE`.
    """
    worst = 0.0
    for count in (1, 3):
        image = sample(made, count)
        with torch.no_grad():
            wanted = made(image)
        apart = (run(image) - wanted).abs().max().item()
        worst = max(worst, apart / max(1.0, wanted.abs().max().item()))
    if worst > TOLERANCE:
        raise RuntimeError(f"{name}: its logits are {worst:.1e} away from the network's")
    log.info("logits are within %.1e of the network's, on one image and on three", worst)


def write_torch_export(trained: Trained, output: Path) -> None:
    """One file for ``torch.export.load``, with ``classifier.json`` inside."""
    made = Classifier.of(trained)
    with written(output) as unfinished:
        inside, content = {"classifier.json": json.dumps(settings(trained))}, io.BytesIO()
        torch.export.save(program(made), content, extra_files=inside)
        unfinished.write_bytes(content.getbuffer())
        with unfinished.open("rb") as file:
            check_logits(str(output), torch.export.load(file).module(), made)


def write_safetensors(trained: Trained, output: Path, record: Path | None, half: bool) -> None:
    """A folder as the Hugging Face hub holds it, which every command takes for a checkpoint too.

    Args:
        record: of ``evaluate``, for the model card; None for that of the run.
        half: whether weights have 16 bits; the mean image always has 32.
    """
    made, config = Classifier.of(trained), published(trained)
    card = model_card(trained, config, record)
    output.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in made.state_dict().items()}
    if half:
        tensors |= {name: w.half() for name, w in tensors.items() if name.startswith(NETWORK)}
    tensors["mean_image"] = trained.views.mean.cpu()
    facts = settings(trained) | {"epochs": trained.epoch, "config": config}
    write_bytes(output / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    write_json(output / "config.json", facts)
    write_text(output / "README.md", card)
    written_again = load_file(output / WEIGHTS)
    del written_again["mean_image"]
    made.load_state_dict(written_again)
    log.info("written to %s", output)


def write_onnx(trained: Trained, output: Path, opset: int) -> None:
    """One ONNX file."""
    with written(output) as unfinished:
        _save_onnx(trained, output, unfinished, opset)


def write_quantized(
    trained: Trained, output: Path, opset: int, data: Mapping[str, Any], split: str | None
) -> None:
    """An ONNX file with the fully connected layers in 8 bits, and what that does to its errors.

    Args:
        data: the node of the images that errors are measured on.
        split: of them; None for test images, or validation images where there are none.
    """
    with written(output) as unfinished:
        whole = unfinished.with_suffix(".whole")
        try:
            _save_onnx(trained, output, whole, opset)
            _quantize(whole, unfinished)
            record = _measure(whole, unfinished, trained, data, split)
        finally:
            whole.unlink(missing_ok=True)
        write_json(output.with_name(output.name + ".json"), record)


def _save_onnx(trained: Trained, output: Path, path: Path, opset: int) -> None:
    import onnx

    made = Classifier.of(trained)
    weights = sum(tensor.nbytes for tensor in made.state_dict().values())
    if weights > LARGEST_ONNX:
        raise UsageError(
            f"{output}: an ONNX file holds {decimal(LARGEST_ONNX)} at most, and this network has "
            f"{decimal(weights)} of weights; export torch-export has no such limit"
        )
    for library in ("torch.onnx", "onnxscript", "onnx_ir"):
        # What they say is for their own developers.
        logging.getLogger(library).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(
            program(made),
            (sample(made, 2),),
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=BATCH,
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    model.graph.name = str(trained.config["run_name"])
    facts = {
        "classifier": json.dumps(settings(trained)),
        "checkpoint_sha256": checksum(trained.path),
    }
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    check_logits(str(output), onnx_runner(path), made)
    side = made.crop_size
    log.info("opset %d; image: (batch, 3, %d, %d), RGB 0-255", opset, side, side)


def onnx_runner(path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """What ONNX Runtime makes of images, as a function."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(image: torch.Tensor) -> torch.Tensor:
        (logits,) = session.run(["logits"], {"image": image.numpy()})
        return torch.from_numpy(np.asarray(logits))

    return run


def _quantize(whole: Path, output: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)
    try:
        quantize_dynamic(
            whole,
            output,
            op_types_to_quantize=["Gemm", "MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": 1},
        )
    finally:
        logging.getLogger().setLevel(logging.INFO)


def _measure(
    whole: Path, quantized: Path, trained: Trained, node: Mapping[str, Any], split: str | None
) -> dict[str, Any]:
    """The record of the errors on images of both files, centre crop."""
    data = built_as(ImageDataModule, node, "data")
    labels = fitting_labels([trained], data)
    split = split or data.test_split
    runners = {"32 bit": onnx_runner(whole), "8 bit": onnx_runner(quantized)}
    tallies = {name: Tally(len(trained.classes)) for name in runners}
    crop = trained.views.crop_size
    edge = (trained.image_size - crop) // 2
    with counting(f"{split} images", len(data.store.splits[split]), "images") as done:
        for batch in data.whole_images(split, on_cpu=True):
            pixels = batch["image"][:, edge : edge + crop, edge : edge + crop]
            image = pixels.permute(0, 3, 1, 2).float().contiguous()
            for name, run in runners.items():
                tallies[name].count(run(image).log_softmax(1), labels[batch["label"]])
            done(len(image))
    errors = {name: tally.figures() for name, tally in tallies.items()}
    sizes = {"32 bit": whole.stat().st_size, "8 bit": quantized.stat().st_size}
    for name, figures in errors.items():
        log.info(
            "%s: %.1f MB, top-1 error %.2f %%, top-5 %.2f %% (%s %s)",
            *(name, sizes[name] / 1e6, figures["top1"], figures["top5"]),
            *(data.dataset_name, split),
        )
    return {
        # No "format": it is not one of the records that the claims report compares.
        "export": "quantization",
        **provenance("alexnet_repro.export"),
        "dataset": data.description,
        "split": split,
        "checkpoint_sha256": checksum(trained.path),
        "bytes": sizes,
        "errors": errors,
    }
