"""A store whose manifest was changed is read as it is or refused in one line, whatever it says.

``HYPOTHESIS_EXAMPLES=100000 pytest tests/data/test_hostile_manifests.py`` searches for longer. What
it finds goes to ``corpus/manifests``, which is read every time.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.prepare import prepare
from alexnet_repro.data.sources import folder
from alexnet_repro.data.store import Manifest, StoredAs, open_store, verify

CORPUS = sorted((Path(__file__).parent / "corpus" / "manifests").glob("*.json"))
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", 300))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("manifests")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (top / "images" / split / name).mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(256, size=(12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(top / "images" / split / name / f"{i}.png")
    prepare(folder(str(top / "images")), StoredAs(8), top / "store")
    shutil.copy(top / "store" / "manifest.json", top / "manifest.json")
    return top / "store"


def use(directory: Path) -> None:
    """Open a store and read what a training would."""
    opened = open_store(directory)
    assert Manifest.read(directory).checksums
    for split in opened.splits.values():
        for index in range(len(split)):
            image = split.image(index)
            assert image.shape == (opened.stored_as.image_size,) * 2 + (3,)
            split.name(index)
        assert len(split.labels) == len(split)
        # What a network takes for an index of its outputs.
        assert 0 <= split.labels.min() <= split.labels.max() < len(opened.classes)
    assert all(isinstance(name, str) for name in opened.classes)
    verify(directory)


def attempt(directory: Path, manifest: Any) -> str | None:
    """What a store with this manifest was refused for, if it was."""
    (directory / "manifest.json").write_text(json.dumps(manifest))
    try:
        use(directory)
    except UsageError as error:
        return str(error)
    return None


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything within a manifest."""
    inside: Any = ()
    if isinstance(value, dict | list):
        inside = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in inside:
        found += [(*path, key), *places(item, (*path, key))]
    return found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["/etc/passwd", "../images", "", ".", "manifest.json", "train-labels.npy"])
    | st.sampled_from([0, -1, 1, 2, 5, 7, 8, 2**31, 2**63, 2**64, 1e308]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES < 1000, database=None)
@given(data=st.data())
def test_whatever_a_manifest_says_the_store_is_read_or_refused(
    store: Path, data: st.DataObject
) -> None:
    manifest = json.loads((store.parent / "manifest.json").read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(manifest) or [()]))
        if not path:
            break
        *above, key = path
        level = manifest
        for name in above:
            level = level[name]
        if data.draw(st.booleans()):
            level[key] = data.draw(JSON)
        else:
            del level[key]
    told = attempt(store, manifest)
    assert told is None or ("\n" not in told and told.startswith(str(store)))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_manifest_is_refused(store: Path, content: bytes) -> None:
    (store / "manifest.json").write_bytes(content)
    with pytest.raises(UsageError, match="damaged"):
        use(store)


@pytest.mark.parametrize("path", CORPUS, ids=[path.stem for path in CORPUS])
def test_what_was_found_before(store: Path, path: Path) -> None:
    """Changes to a manifest: the path to a value, and the value."""
    manifest = json.loads((store.parent / "manifest.json").read_text())
    for (*above, key), value in json.loads(path.read_text()):
        level = manifest
        for name in above:
            level = level[name]
        level[key] = value
    told = attempt(store, manifest)
    assert told is not None
    assert "\n" not in told
