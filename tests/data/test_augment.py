"""Crops, reflections, colour noise and test views are those of §5.1."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from alexnet_repro.data.augment import Augmentation, AugmentOptions, Draws, draw
from alexnet_repro.data.statistics import Statistics

Floats = npt.NDArray[np.float64]
MARGIN = 256 - 224


def draws(count: int, seed: int = 0, epoch: int = 0, **choices: Any) -> Draws:
    ids = np.arange(count)
    return draw(seed, epoch, ids, ids, MARGIN, AugmentOptions(**choices))


def same(one: Draws, other: Draws, part: slice | npt.NDArray[np.int64] = slice(None)) -> bool:
    """Whether ``other`` is ``one``'s ``part``."""
    return (
        np.array_equal(one.offset[part], other.offset)
        and np.array_equal(one.reflect[part], other.reflect)
        and np.array_equal(one.colour[part], other.colour)
    )


# What is random


def test_draws_do_not_depend_on_order_batch_or_position() -> None:
    whole = draws(100, seed=3, epoch=5)
    random = np.random.default_rng(0)
    for size in (1, 7, 100):
        indices = random.permutation(100)[:size]
        positions = random.integers(1000, size=size)
        assert same(whole, draw(3, 5, indices, positions, MARGIN), indices)


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"epoch": 1}, {"seed": 2**32 - 1}, {"epoch": 10_000}]
)
def test_another_seed_or_epoch_draws_independently(other: dict[str, int]) -> None:
    one, two = draws(20_000), draws(20_000, **other)
    for axis in (0, 1):
        equal = np.mean(one.offset[:, axis] == two.offset[:, axis])
        assert equal == pytest.approx(1 / 33, abs=0.006)
    assert np.mean(one.reflect == two.reflect) == pytest.approx(0.5, abs=0.02)
    assert abs(np.corrcoef(one.colour[:, 0], two.colour[:, 0])[0, 1]) < 0.03


def test_seed_and_epoch_are_not_interchangeable() -> None:
    assert not same(draws(20, seed=1, epoch=2), draws(20, seed=2, epoch=1))


def test_neighbouring_images_draw_independently() -> None:
    d = draws(20_000)
    values = np.column_stack([d.offset, d.reflect, d.colour]).astype(float)
    correlation = np.corrcoef(values[:-1].T, values[1:].T)[:6, 6:]
    assert np.abs(correlation).max() < 0.03


def chi_square(counts: npt.NDArray[np.int64]) -> float:
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum())


def test_offsets_are_uniform_over_0_to_32() -> None:
    offset = draws(66_000).offset
    assert (offset.min(), offset.max()) == (0, 32)
    for axis in (0, 1):
        # With 32 degrees of freedom a uniform sample exceeds 62.5 once in a thousand times.
        assert chi_square(np.bincount(offset[:, axis], minlength=33)) < 62.5
    # All 33·33 places: 1088 degrees of freedom, mean 1088, standard deviation 46.6.
    places = np.bincount(33 * offset[:, 0] + offset[:, 1], minlength=33 * 33)
    assert abs(chi_square(places) - 1088) < 4 * 46.6


def test_half_are_reflected() -> None:
    reflect = draws(40_000).reflect
    assert reflect.dtype == bool
    assert reflect.mean() == pytest.approx(0.5, abs=4 * 0.5 / 200)


def test_colour_factors_are_standard_normal_and_independent() -> None:
    colour = draws(40_000).colour.astype(float)
    assert np.abs(colour.mean(axis=0)).max() < 4 / 200
    assert np.abs(colour.std(axis=0) - 1).max() < 4 / 200 / 2**0.5
    # Quantiles of the normal distribution.
    for value, share in ((-2, 0.02275), (-1, 0.15866), (0, 0.5), (1, 0.84134), (2, 0.97725)):
        assert np.abs((colour < value).mean(axis=0) - share).max() < 4 * 0.5 / 200


def test_offset_reflection_and_colour_are_independent() -> None:
    d = draws(40_000)
    values = np.column_stack([d.offset, d.reflect, d.colour, d.colour**2]).astype(float)
    correlation = np.corrcoef(values.T) - np.eye(9)
    assert np.abs(correlation).max() < 5 / 200


def test_without_random_crop_every_crop_is_the_centre() -> None:
    d = draws(50, random_crop=False)
    assert np.array_equal(d.offset, np.full((50, 2), 16))
    assert np.array_equal(d.reflect, draws(50).reflect)


def test_without_reflection_none_is_reflected() -> None:
    d = draws(50, reflection=False)
    assert not d.reflect.any()
    assert np.array_equal(d.offset, draws(50).offset)


def test_in_the_2012_program_32_consecutive_images_share_crop_and_reflection() -> None:
    indices = np.random.default_rng(0).permutation(5000)[:256]
    d = draw(0, 0, indices, np.arange(256), MARGIN, AugmentOptions(crop_chunk=32))
    chunks = d.offset.reshape(8, 32, 2)
    assert np.array_equal(chunks, np.broadcast_to(chunks[:, :1], chunks.shape))
    assert len({tuple(offset) for offset in chunks[:, 0]}) == 8
    reflect = d.reflect.reshape(8, 32)
    assert np.array_equal(reflect, np.broadcast_to(reflect[:, :1], reflect.shape))
    assert len(np.unique(d.colour[:, 0])) == 256


def test_chunks_are_of_the_epochs_order_not_of_the_batch() -> None:
    ids = np.arange(256)
    whole = draw(0, 0, ids, ids, MARGIN, AugmentOptions(crop_chunk=32))
    for batch in np.split(ids, 16):
        assert same(whole, draw(0, 0, batch, batch, MARGIN, AugmentOptions(crop_chunk=32)), batch)


def test_colour_does_not_depend_on_chunks() -> None:
    assert np.array_equal(draws(64).colour, draws(64, crop_chunk=32).colour)


# What is arithmetic

STORED, CROP, BATCH = 20, 14, 6


@pytest.fixture
def statistics() -> Statistics:
    random = np.random.default_rng(1)
    vectors, _ = np.linalg.qr(random.normal(size=(3, 3)))
    return Statistics(
        255 * random.random((STORED, STORED, 3)), np.array([0.2, 0.02, 0.003]), vectors
    )


@pytest.fixture
def stored() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(2).integers(256, size=(BATCH, STORED, STORED, 3), dtype=np.uint8)


@pytest.fixture
def drawn() -> Draws:
    d = draw(4, 0, np.arange(BATCH), np.arange(BATCH), STORED - CROP)
    assert 0 < d.reflect.sum() < BATCH
    return d


def augmentation(statistics: Statistics, input_size: int = CROP, **changes: Any) -> Augmentation:
    return Augmentation(statistics, CROP, input_size, AugmentOptions(**changes))


def view(a: Augmentation, stored: npt.NDArray[np.uint8], d: Draws) -> torch.Tensor:
    crops = np.stack(
        [
            image[top : top + CROP, left : left + CROP]
            for image, (top, left) in zip(stored, d.offset, strict=True)
        ]
    )
    return a.training_view(*map(torch.from_numpy, (crops, d.offset, d.reflect, d.colour)))


@pytest.fixture(params=["_image_by_image", "_batch_at_once"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs on a CPU, and what runs on a GPU, here on a CPU too."""
    monkeypatch.setattr(Augmentation, "_image_by_image", getattr(Augmentation, request.param))


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("mean_crop", ["same_place", "centre"])
@pytest.mark.parametrize("magnitude", ["eigenvalue", "standard_deviation"])
@pytest.mark.parametrize(("colour_pca", "divisor"), [(0.1, 1.0), (0.1, 1.1), (0.3, 1.1)])
def test_training_view_is_the_one_made_by_hand(
    statistics: Statistics,
    stored: npt.NDArray[np.uint8],
    drawn: Draws,
    mean_crop: str,
    magnitude: str,
    colour_pca: float,
    divisor: float,
) -> None:
    found = view(
        augmentation(
            statistics,
            mean_crop=mean_crop,
            colour_pca=colour_pca,
            colour_magnitude=magnitude,
            colour_divisor=divisor,
        ),
        stored,
        drawn,
    )
    for i, image in enumerate(stored):
        top, left = drawn.offset[i]
        pixels = image[top : top + CROP, left : left + CROP].astype(float)
        if mean_crop == "same_place":
            pixels -= statistics.mean_image[top : top + CROP, left : left + CROP]
        if drawn.reflect[i]:
            pixels = pixels[:, ::-1]
        if mean_crop == "centre":
            pixels = pixels - statistics.mean_image[3 : 3 + CROP, 3 : 3 + CROP]
        for j in range(3):  # [p1, p2, p3][α1 λ1, α2 λ2, α3 λ3]ᵀ
            scale = statistics.eigenvalues[j]
            if magnitude == "standard_deviation":
                scale = np.sqrt(scale)
            alpha = colour_pca * drawn.colour[i, j]
            pixels = pixels + 255 * alpha * scale * statistics.eigenvectors[:, j]
        expected = pixels.transpose(2, 0, 1) / divisor
        np.testing.assert_allclose(found[i].numpy(), expected, atol=1e-4)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("how", ["colour_pca=0", "switched off"])
def test_without_noise_only_the_mean_is_subtracted(
    statistics: Statistics, stored: npt.NDArray[np.uint8], drawn: Draws, how: str
) -> None:
    if how == "switched off":
        a = augmentation(statistics, colour_divisor=1.1)
        a.colour_noise = False
    else:
        a = augmentation(statistics, colour_divisor=1.1, colour_pca=0.0)
    found = view(a, stored, drawn)
    for i, image in enumerate(stored):
        top, left = drawn.offset[i]
        pixels = (image - statistics.mean_image)[top : top + CROP, left : left + CROP]
        pixels = pixels[:, ::-1] if drawn.reflect[i] else pixels
        np.testing.assert_allclose(found[i].numpy(), pixels.transpose(2, 0, 1), atol=1e-4)


def test_noise_adds_one_colour_to_all_pixels_of_an_image(
    statistics: Statistics, stored: npt.NDArray[np.uint8], drawn: Draws
) -> None:
    with_noise = view(augmentation(statistics), stored, drawn)
    without = view(augmentation(statistics, colour_pca=0.0), stored, drawn)
    difference = (with_noise - without).flatten(2)
    torch.testing.assert_close(
        difference, difference[:, :, :1].expand_as(difference), atol=1e-4, rtol=0
    )
    assert len(difference[:, 0, 0].unique()) == BATCH


def test_stored_pixels_are_left_as_they_are(
    statistics: Statistics, stored: npt.NDArray[np.uint8], drawn: Draws
) -> None:
    before = stored.copy()
    view(augmentation(statistics), stored, drawn)
    list(augmentation(statistics).test_views(torch.from_numpy(stored), "ten"))
    assert np.array_equal(stored, before)


@pytest.mark.parametrize("mean_crop", ["same_place", "centre"])
def test_ten_views_are_corners_centre_and_their_reflections(
    statistics: Statistics, stored: npt.NDArray[np.uint8], mean_crop: str
) -> None:
    a = augmentation(statistics, mean_crop=mean_crop, colour_divisor=1.1)
    found = list(a.test_views(torch.from_numpy(stored), "ten"))
    assert len(found) == 10
    centre, last = (STORED - CROP) // 2, STORED - CROP
    places = [(centre, centre), (0, 0), (0, last), (last, 0), (last, last)]
    for number, (top, left) in enumerate(2 * places):
        place = np.s_[top : top + CROP, left : left + CROP]
        middle = np.s_[centre : centre + CROP, centre : centre + CROP]
        for i, image in enumerate(stored.astype(float)):
            pixels = image[place]
            if mean_crop == "same_place":
                pixels = pixels - statistics.mean_image[place]
            if number >= 5:
                pixels = pixels[:, ::-1]
            if mean_crop == "centre":
                pixels = pixels - statistics.mean_image[middle]
            expected = pixels.transpose(2, 0, 1)
            np.testing.assert_allclose(found[number][i].numpy(), expected, atol=1e-4)


def test_centre_view_is_the_first_of_ten(
    statistics: Statistics, stored: npt.NDArray[np.uint8]
) -> None:
    a, images = augmentation(statistics), torch.from_numpy(stored)
    (centre,) = a.test_views(images, "centre")
    assert torch.equal(centre, next(iter(a.test_views(images, "ten"))))


@pytest.mark.parametrize("mean_crop", ["same_place", "centre"])
@pytest.mark.parametrize("input_size", [CROP, 8 * CROP])
def test_views_are_float_in_channels_last(
    statistics: Statistics,
    stored: npt.NDArray[np.uint8],
    drawn: Draws,
    mean_crop: str,
    input_size: int,
) -> None:
    a = augmentation(statistics, mean_crop=mean_crop, input_size=input_size)
    tests = a.test_views(torch.from_numpy(stored), "ten")
    for images in (view(a, stored, drawn), *tests):
        assert images.shape == (BATCH, 3, input_size, input_size)
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_small_crops_are_enlarged_bilinearly(
    statistics: Statistics, stored: npt.NDArray[np.uint8], drawn: Draws
) -> None:
    small, large = (augmentation(statistics, input_size=size) for size in (CROP, 8 * CROP))
    images = torch.from_numpy(stored)
    pairs = [
        (view(small, stored, drawn), view(large, stored, drawn)),
        *zip(small.test_views(images, "ten"), large.test_views(images, "ten"), strict=True),
    ]
    for plain, enlarged in pairs:
        for map_, expected_of in zip(plain[0], enlarged[0], strict=True):
            by_pil = Image.fromarray(map_.numpy()).resize(
                (8 * CROP, 8 * CROP), Image.Resampling.BILINEAR
            )
            np.testing.assert_allclose(expected_of.numpy(), np.asarray(by_pil), atol=1e-3)
