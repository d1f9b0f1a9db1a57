"""A network that Caffe trained computes here what it computes there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from alexnet_repro.base.errors import UsageError
from alexnet_repro.interop.caffe import read_caffe
from alexnet_repro.interop.caffe_files import read_mean
from alexnet_repro.network.alexnet import AlexNet

from .caffe_writer import Layer, alexnet, binaryproto, caffemodel, prototxt

Floats = npt.NDArray[np.float32]

OPTIONS: dict[str, Any] = {"columns": 2, "response_norm": {}}


def read(path: Path) -> AlexNet:
    _, options, weights = read_caffe(path, OPTIONS)
    network = AlexNet(**options)
    network.load_state_dict(weights)
    return network.eval()


def ours(network: AlexNet, bgr: Floats) -> Floats:
    with torch.no_grad():
        logits: Floats = network(torch.from_numpy(bgr[:, ::-1].copy())).numpy()
    return logits


@pytest.fixture
def photograph() -> Floats:
    """An image as Caffe's networks get it: (1, 3, 227, 227), blue, green, red, minus a mean."""
    rng = np.random.default_rng(1)
    coarse = rng.normal(0, 60, (1, 3, 12, 12)).repeat(19, axis=2).repeat(19, axis=3)
    noisy = coarse[:, :, :227, :227] + rng.normal(0, 20, (1, 3, 227, 227))
    return noisy.astype(np.float32)


@pytest.fixture
def opencv(tmp_path: Path) -> Callable[[list[Layer], Floats], Floats]:
    """What OpenCV computes from the same files, read by its own reader."""
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 reads no Caffe networks any more")

    def run(layers: list[Layer], bgr: Floats) -> Floats:
        (tmp_path / "deploy.prototxt").write_text(prototxt(layers, bgr.shape[-1]))
        net = cv2.dnn.readNetFromCaffe(
            str(tmp_path / "deploy.prototxt"), str(tmp_path / "net.caffemodel")
        )
        net.setInput(bgr)
        logits: Floats = net.forward()
        return logits

    return run


@pytest.mark.parametrize("pool_first", [False, True], ids=["bvlc_alexnet", "CaffeNet"])
@pytest.mark.parametrize("v1", [False, True], ids=["today", "before 2015"])
def test_logits_are_those_of_opencv(
    pool_first: bool, v1: bool, photograph: Floats, opencv: Any, tmp_path: Path
) -> None:
    layers = alexnet(np.random.default_rng(0), pool_first)
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(layers, v1))
    theirs = opencv(layers, photograph)
    network = read(tmp_path / "net.caffemodel")
    assert np.abs(theirs).max() > 1
    np.testing.assert_allclose(ours(network, photograph), theirs, rtol=1e-4, atol=1e-4)
    # The other order of pooling and normalization is another function: the comparison would tell.
    layers = alexnet(np.random.default_rng(0), not pool_first)
    assert np.abs(opencv(layers, photograph) - theirs).max() > 0.01


def test_constants_of_the_file_are_taken(photograph: Floats, opencv: Any, tmp_path: Path) -> None:
    norm = {"local_size": 3, "alpha": 3e-3, "beta": 0.6}
    layers = alexnet(np.random.default_rng(0), pool_first=False, norm=norm)
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(layers))
    network = read(tmp_path / "net.caffemodel")
    np.testing.assert_allclose(
        ours(network, photograph), opencv(layers, photograph), rtol=1e-4, atol=1e-4
    )


def test_224_pixels_read_as_227_with_zeros_at_the_right_and_at_the_bottom(
    photograph: Floats, opencv: Any, tmp_path: Path
) -> None:
    layers = alexnet(np.random.default_rng(0), pool_first=False)
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(layers))
    network = read(tmp_path / "net.caffemodel")
    zeros = photograph.copy()
    zeros[..., 224:, :], zeros[..., 224:] = 0, 0
    np.testing.assert_allclose(
        ours(network, photograph[..., :224, :224]), opencv(layers, zeros), rtol=1e-4, atol=1e-4
    )


def test_the_mean_image_is_turned_to_rgb(tmp_path: Path) -> None:
    image = np.random.default_rng(0).uniform(0, 255, (3, 5, 4)).astype(np.float32)
    (tmp_path / "mean.binaryproto").write_bytes(binaryproto(image))
    found = read_mean(tmp_path / "mean.binaryproto")
    assert found.shape == (5, 4, 3)
    for channel in range(3):
        np.testing.assert_array_equal(found[..., channel], image[2 - channel])


def without(name: str) -> Callable[[list[Layer]], None]:
    def change(layers: list[Layer]) -> None:
        layers[:] = [layer for layer in layers if layer.name != name]

    return change


def setting(name: str, **settings: Any) -> Callable[[list[Layer]], None]:
    def change(layers: list[Layer]) -> None:
        next(layer for layer in layers if layer.name == name).settings.update(settings)

    return change


def cut(name: str) -> Callable[[list[Layer]], None]:
    def change(layers: list[Layer]) -> None:
        layer = next(layer for layer in layers if layer.name == name)
        layer.blobs[0] = layer.blobs[0][:, 1:]

    return change


def folded(layers: list[Layer]) -> None:
    layer = next(layer for layer in layers if layer.name == "fc7")
    layer.blobs[0] = layer.blobs[0].reshape(2, -1, layer.blobs[0].shape[-1])


def untrained(layers: list[Layer]) -> None:
    layers[0].blobs.clear()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("fc8"), "has no layer fc8"),
        (without("norm2"), "has no layer norm2"),
        (setting("conv2", group=1), "conv2 has group 1, not 2"),
        (setting("conv1", stride=2), "conv1 has stride 2, not 4"),
        (setting("pool5", pool=1), "pool5 has pool 1, not 0"),
        (setting("norm1", norm_region=1), "norm1 and norm2 differ, or normalize within maps"),
        (setting("drop6", dropout_ratio=0.2), "has different dropout ratios"),
        (cut("fc6"), "fc6.weight has the shape"),
        (folded, "cannot reshape array of size"),
        (untrained, "conv1 has no weights and biases"),
    ],
)
def test_another_network_is_refused_with_what_differs(
    change: Callable[[list[Layer]], None], told: str, tmp_path: Path
) -> None:
    layers = alexnet(np.random.default_rng(0), pool_first=False, width=0.125)
    change(layers)
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(layers))
    with pytest.raises(UsageError, match=told):
        read(tmp_path / "net.caffemodel")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x89HDF\r\n", "is an HDF5 file"),
        (b'name: "AlexNet"\nlayer {', "not a .caffemodel, or a damaged one"),
        (b"", "has no layers"),
        (b"\x12\x04\x0a\x02\x0a\x00", "was written by a Caffe from before 2014"),
    ],
)
def test_another_file_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "net.caffemodel").write_bytes(content)
    with pytest.raises(UsageError, match=told):
        read(tmp_path / "net.caffemodel")


def test_a_file_that_breaks_off_is_refused(tmp_path: Path) -> None:
    whole = caffemodel(alexnet(np.random.default_rng(0), pool_first=False, width=0.125))
    (tmp_path / "net.caffemodel").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="damaged"):
        read(tmp_path / "net.caffemodel")
