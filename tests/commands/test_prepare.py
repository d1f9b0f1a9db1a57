"""``python -m alexnet_repro.prepare``, and training on what it made."""

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def prepare(command: Command) -> Command:
    return functools.partial(command, "prepare")


def test_a_prepared_store_is_trained_on_without_its_source(
    prepare: Command, train: Command, tiny_images: Path, tmp_path: Path
) -> None:
    done = prepare("data=folder", f"source={tiny_images}", "output=store", "data.image_size=64")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "store: 24 train, 9 val, 9 test images of 3 classes" in done.stdout
    assert "data=prepared data.directory='store'" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == [".store.lock", "store"]
    shape = ["data.image_size=64", "data.crop_size=56"]
    network = ["model=alexnet_small", "model.width=0.1", "data.batch_size=8", "schedule.epochs=1"]
    done = train("data=prepared", "data.directory=store", *shape, *network)
    assert done.returncode == 0, done.stderr
    assert "24 training images" in done.stdout
    done = train("data=prepared", "data.directory=store", *network)
    assert done.returncode == 2
    assert "data.image_size=256, but store holds images of 64 pixels" in done.stderr


def test_a_second_preparation_finds_the_first_and_other_images_are_refused(
    prepare: Command, tiny_images: Path, tmp_path: Path
) -> None:
    arguments = ("data=folder", f"source={tiny_images}", "output=store", "data.image_size=16")
    assert prepare(*arguments).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}
    assert prepare(*arguments).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()} == before
    done = prepare(*arguments[:3], "data.image_size=24")
    assert done.returncode == 2
    assert "store: made from other images, at another size or in another encoding" in done.stderr
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").touch()
    done = prepare(*arguments[:2], "output=photos")
    assert done.returncode == 2
    assert "photos: the folder holds something else" in done.stderr


@pytest.mark.parametrize("spelling", ["source", "data.source.root"])
def test_without_output_the_store_is_where_training_looks_for_it(
    prepare: Command, tiny_images: Path, tmp_path: Path, spelling: str
) -> None:
    from alexnet_repro.data.datamodule import ImageDataModule
    from alexnet_repro.data.sources import folder

    done = prepare(f"{spelling}={tiny_images}", "data.image_size=16", "data.cache_dir=kept")
    assert done.returncode == 0, done.stderr
    assert "train finds it there with the same data=… data.KEY=…" in done.stdout
    (store,) = (path for path in (tmp_path / "kept").iterdir() if path.is_dir())
    assert f"{store.relative_to(tmp_path)}: 24 train, 9 val, 9 test images" in done.stdout
    data = ImageDataModule(
        "folder", lambda: folder(str(tiny_images)), cache_dir=str(tmp_path / "kept"),
        image_size=16, crop_size=14,
    )  # fmt: skip
    assert data.store.directory == store
    done = prepare(f"{spelling}={tiny_images}", "encoding=jpeg")
    assert done.stderr.startswith("error: encoding=jpeg: add output=FOLDER")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=folder", "output=store"], "data.source.root has no default: add data.source.root="),
        (
            ["data=folder", "source=nowhere", "output=store"],
            "there is no folder nowhere; expected ROOT/train",
        ),
        (["data=prepared", "source=.", "output=store"], "data=prepared is prepared already"),
        (["data=huggingface", "source=.", "output=store"], "expected data/train-*.parquet and"),
        (["source=.", "output=store", "part=3/2"], "part=3/2: expected a node and the number"),
        (["source=.", "output=store", "part=half"], "part=half: expected a node and the number"),
        (["source=.", "output=store", "quality=0"], "quality=0: input should be greater than"),
        (["source=.", "output=store", "encoding=png"], "encoding=png: input should be 'raw' or"),
        (["output=store", "prepare.verify=true"], "output=store: there is no such store"),
        (
            ["data=imagenet_2012", "source=.", "output=store"],
            "there is no ILSVRC2012_devkit_t12.tar.gz",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    prepare: Command, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = prepare(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_several_nodes_prepare_one_store_which_is_then_verified(
    prepare: Command, tiny_images: Path, tmp_path: Path
) -> None:
    arguments = ["data=folder", f"source={tiny_images}", "data.image_size=16", "encoding=jpeg"]
    for node in (2, 1):
        done = prepare(*arguments, "output=store", f"part={node}/2")
        assert done.returncode == 0, done.stderr
        assert f"part={node}/2: " in done.stdout
        assert not (tmp_path / "store").exists()
    assert prepare(*arguments, "output=store").returncode == 0
    assert prepare(*arguments, "output=alone").returncode == 0
    for path in (tmp_path / "alone").iterdir():
        assert (tmp_path / "store" / path.name).read_bytes() == path.read_bytes(), path.name
    done = prepare("output=store", "prepare.verify=true")
    assert done.returncode == 0, done.stderr
    assert "store: all 7 files are as they were written" in done.stdout
    (tmp_path / "store" / "val-00000.arrow").write_bytes(b"")
    done = prepare("output=store", "prepare.verify=true")
    assert done.returncode == 2
    assert done.stderr.startswith("error: store: damaged (")
