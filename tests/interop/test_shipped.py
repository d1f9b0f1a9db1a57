"""The network that comes with a checkout: small, as good as its card says, within reach."""

import hashlib
import json
import os
import re
import tarfile
from pathlib import Path

import pytest
import torch

from alexnet_repro.base.checkpoints import SHIPPED, find_checkpoint
from alexnet_repro.training.checkpoint import load_trained
from tests.forks import Forks

ROOT = Path(__file__).parents[2]
CARD = (SHIPPED.parent / "README.md").read_text()
RECORD = json.loads((SHIPPED.parent / "evaluation.json").read_text())


def test_its_card_says_what_was_measured_of_this_very_file() -> None:
    (measured,) = RECORD["checkpoints"]
    assert measured["sha256"] == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    for crops, errors in RECORD["errors"].items():
        assert f"| {crops} | {errors['top1']:.2f} (" in CARD
    assert RECORD["command"] in CARD
    for title in ("Data", "Recipe", "Result", "Licence"):
        assert f"\n## {title}\n" in CARD
    assert re.search(r"Trained by `python -m alexnet_repro.train .*`, commit `[0-9a-f]{40}`", CARD)


def test_it_is_small_and_knows_its_classes_by_words() -> None:
    assert SHIPPED.stat().st_size <= 10e6
    trained = load_trained(find_checkpoint("imagenette"))
    assert trained.classes == tuple(sorted(trained.classes))
    assert trained.words is not None
    assert len(trained.words) == 10
    assert "golf ball" in trained.words


def test_torch_hub_finds_it() -> None:
    network = torch.hub.load(str(ROOT), "imagenette", source="local")
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 224, 224)).shape == (2, 10)


def test_photographs_are_recognized_as_often_as_its_card_says(forks: Forks, tmp_path: Path) -> None:
    archive = Path(os.environ.get("ALEXNET_REPRO_TEST_DATA", ".")) / "imagenette-224.tar"
    if not archive.is_file():
        pytest.skip("needs photographs in ALEXNET_REPRO_TEST_DATA")
    with tarfile.open(archive) as photographs:
        held_out = [member for member in photographs if "/val/" in member.name and member.isfile()]
        photographs.extractall(tmp_path, held_out[::15], filter="data")
    asked = ("imagenette-224", "--checkpoint=imagenette", "--json", "--top=1")
    done = forks.run("-m", "alexnet_repro.predict", *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)["images"]
    wrong = sum(Path(one["image"]).parent.name != one["classes"][0]["class"] for one in seen)
    assert len(seen) == 100
    # Three standard deviations of so few.
    expected = RECORD["errors"]["centre"]["top1"]
    assert abs(wrong - expected) < 3 * (expected * (100 - expected) / 100) ** 0.5
