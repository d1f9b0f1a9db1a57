"""``predict``, ``figures`` and ``retrieve`` as a user types them, on a network of one epoch."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet_repro.analysis.comparison import average_precision

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def checkpoint(tiny_run: Path) -> str:
    return f"--checkpoint={tiny_run / 'checkpoints' / 'last.ckpt'}"


@pytest.fixture
def data(tiny_images: Path) -> list[str]:
    return ["data=folder", f"data.source.root={tiny_images}", "data.batch_size=8"]


def test_predictions_as_a_table_and_as_json(
    anew: Command, command: Command, checkpoint: str, tiny_images: Path, tmp_path: Path
) -> None:
    (tmp_path / "words.txt").write_text(
        "apple a red fruit, pome\nbanana a yellow one\ncherry stone\n"
    )
    shutil.copytree(tiny_images / "test" / "apple", tmp_path / "fruit")
    done = anew("predict", "fruit", checkpoint, "--words=words.txt", "--top=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" %") == 6
    assert "fruit/0.png" in done.stdout
    (tmp_path / "fruit" / "torn.png").write_bytes((tmp_path / "fruit/0.png").read_bytes()[:300])
    done = command("predict", "fruit", checkpoint, "--json", "--crops=ten")
    assert done.returncode == 1
    assert done.stderr.startswith("fruit/torn.png: skipped")
    assert "1 of 4 images skipped" in done.stderr
    told = json.loads(done.stdout)
    assert [image["image"] for image in told["images"]] == [f"fruit/{i}.png" for i in range(3)]
    assert [damaged["image"] for damaged in told["damaged"]] == ["fruit/torn.png"]
    for image in told["images"]:
        probabilities = [c["probability"] for c in image["classes"]]
        assert sum(probabilities) == pytest.approx(1)
        assert probabilities == sorted(probabilities, reverse=True)


def test_an_image_may_have_any_name_and_a_run_is_named_by_its_folder(
    command: Command, tiny_run: Path, tmp_path: Path
) -> None:
    names = ["a b.png", "checkpoint=1.png", "x=y,[ü]{$z}.png", "\x1b[31mX\x1b]0;pwn\x07.png"]
    for name in names:
        Image.new("RGB", (50, 40)).save(tmp_path / name)
    done = command("predict", *names, f"--checkpoint={tiny_run}", "--json")
    assert done.returncode == 0, done.stderr
    assert [image["image"] for image in json.loads(done.stdout)["images"]] == names
    done = command("predict", *names, f"--checkpoint={tiny_run}")
    assert r"\x1b[31mX\x1b]0;pwn\x07.png" in done.stdout
    assert "\x1b" not in done.stdout


def test_who_reads_only_the_beginning_is_told_nothing(tiny_run: Path, tmp_path: Path) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    typed = f"{sys.executable} -m alexnet_repro predict a.png --json --checkpoint '{tiny_run}'"
    done = subprocess.run(f"{typed} | true", shell=True, cwd=tmp_path, capture_output=True)
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "none"], "none: there is no such file"),
        (["predict", ".", "--words=none"], "'--words': path 'none' does not exist"),
        (["predict"], "Missing argument 'images'"),
        (["figures", "4"], "Missing argument 'data=NAME...'"),
        (["figures", "4", "data=mnist"], "data=mnist: there is no such choice"),
        (["figures", "4", "data.batch_size=4"], "no images: add data=NAME"),
        (["figures", "4", "model=alexnet"], "model=alexnet: KEY=VALUE is for train"),
        (["figures", "4", "data=folder", "source=none"], "data.source.root=none: there is no"),
        (["figures", "2", "--format=gif"], "gif"),
        (["retrieve", "query", "a.png"], "Missing option '--index'"),
        (["retrieve", "query", "a.png", "--index=here"], "--index here: there is no index"),
        (["retrieve", "evaluate", "data=folder", "--bits=12"], "--bits 12: a multiple of 8"),
    ],
)
def test_a_mistake_is_one_line(
    command: Command, checkpoint: str, tmp_path: Path, arguments: list[str], message: str
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    done = command(*arguments, checkpoint)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_figures_3_and_4_with_their_record(
    command: Command, checkpoint: str, data: list[str], tmp_path: Path
) -> None:
    done = command("figures", "3", checkpoint, "--permutations=99", "--output=figures", "--dpi=50")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "figures" / "kernels.json").read_text())
    weights = torch.load(checkpoint.partition("=")[2], weights_only=True)["state_dict"]
    kernels = weights["network.conv1.weight"].double().numpy()
    grey = (kernels.sum(axis=1) ** 2).sum(axis=(1, 2)) / 3
    saturation = 1 - grey / (kernels**2).sum(axis=(1, 2, 3))
    recorded = record["colour_saturation"]
    assert recorded["column_1"] + recorded["column_2"] == pytest.approx(saturation, abs=1e-5)
    assert len(record["network"]["checkpoint_sha256"]) == 64
    assert record["network"]["config"]["model"]["_target_"] == "alexnet_repro.AlexNet"
    done = command(
        "figures", "4", checkpoint, *data, "--output=figures", "--dpi=50", "--format=png"
    )
    assert done.returncode == 0, done.stderr
    names = {"figure_3", "specialization"}
    expected = {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    expected |= {"kernels.json", "figure_4_left.png", "figure_4_right.png"}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == expected


def test_an_index_finds_the_image_itself(
    command: Command, checkpoint: str, data: list[str], tiny_images: Path, tmp_path: Path
) -> None:
    done = command("retrieve", "build", checkpoint, *data, "--index=index")
    assert done.returncode == 0, done.stderr
    query = ("retrieve", "query", tiny_images / "train" / "banana", "--index=index")
    done = command(*query, "--json", "--neighbours=3")
    assert done.returncode == 0, done.stderr
    for number, asked in enumerate(json.loads(done.stdout)["queries"]):
        nearest = asked["nearest"]
        assert nearest[0]["image"] == f"train/banana/{number}.png"
        assert nearest[0]["class"] == "banana"
        assert [n["distance"] for n in nearest] == sorted(n["distance"] for n in nearest)
    other = tmp_path / "other.ckpt"
    changed = torch.load(checkpoint.partition("=")[2], weights_only=True)
    torch.save(changed | {"epoch": 7}, other)
    done = command(*query, f"--checkpoint={other}")
    assert done.returncode == 2
    assert "not the network that the index index was built with" in done.stderr


def test_an_evaluation_compares_pixels_features_and_codes(
    command: Command, checkpoint: str, data: list[str], tiny_images: Path, tmp_path: Path
) -> None:
    quick = ["k=1", "k=3", "bits=8", "seeds=0", "seeds=1", "epochs=1", "rounds=1", "dpi=50"]
    done = command("retrieve", "evaluate", checkpoint, *data, *(f"--{key}" for key in quick))
    assert done.returncode == 0, done.stderr
    assert "autoencoder" in done.stdout
    output = tmp_path / "runs" / "retrieval"
    record = json.loads((output / "retrieval.json").read_text())
    ways = {(way["name"], way["bits"], way["seed"]): way for way in record["ways"]}
    assert {name for name, _, _ in ways} == {"fc7", "fc6", "pixels", "autoencoder"}
    assert record["chance"] == pytest.approx(100 / 3)

    def stored(split: str) -> tuple[np.ndarray, np.ndarray]:
        files = sorted((tiny_images / split).glob("*/*.png"))
        images = [Image.open(f).crop((10, 0, 50, 40)).resize((256, 256), 3) for f in files]
        pixels = np.stack([np.asarray(i, dtype=np.float64).ravel() for i in images])
        return pixels, np.array([f.parent.name for f in files])

    (database, of_database), (queries, of_queries) = stored("train"), stored("test")
    distances = ((queries[:, None] - database[None]) ** 2).sum(axis=2)
    relevant = of_database[distances.argsort(axis=1)] == of_queries[:, None]
    pixels = next(way for way in record["ways"] if way["name"] == "pixels")
    assert pixels["mean_average_precision"] == pytest.approx(
        100 * average_precision(relevant).mean()
    )
    assert pixels["precision_at_3"] == pytest.approx(100 * relevant[:, :3].mean())
    for label, name in enumerate(record["dataset"]["classes"]):
        of_class = relevant[of_queries == name, :3]
        found = pixels["by_class"]["precision_at_3"][label]
        assert found == pytest.approx(100 * of_class.mean())
    assert {path.name for path in output.iterdir()} == {
        "retrieval.json",
        "retrieval.png",
        "retrieval.svg",
    }
