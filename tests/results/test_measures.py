"""Figures of records by name, and records that do not have them."""

from typing import Any

import pytest

from alexnet_repro.results.claims import read_claims
from alexnet_repro.results.measures import MEASURES, measured
from alexnet_repro.results.records import Record

VALUES: dict[str, Any] = {
    "errors": {
        "centre": {"top1": 39.0, "top5": 19.0},
        "ten": {"top1": 37.5, "top5": 17.0, "top1_interval": [37.1, 37.9]},
    },
    "training_errors": {"centre": {"top1": 12.0, "top5": 3.0}},
    "epochs": 4,
    "train_seconds": 100,
    "machine": {"gpu": "GTX 580"},
    "arrangement": {"columns_per_process": 1, "replicas": 1},
    "curve": [
        {"epoch": 1, "seconds": 20.0, "train/top1_error": 60.0, "val/top1_error": 50.0},
        {"epoch": 2, "seconds": 40.5, "train/top1_error": 25.0, "val/top1_error": 30.0},
        {"epoch": 3, "seconds": 60.0, "train/top1_error": None, "val/top1_error": 29.0},
        {"epoch": 4, "seconds": 80.5, "train/top1_error": 10.0, "val/top1_error": 31.0},
    ],
    "colour_saturation": {"p_value": 0.02},
    "ways": [
        {"name": "fc7", "bits": 131072, "mean_average_precision": 40.0},
        {"name": "pixels", "bits": 1, "mean_average_precision": 12.0},
        {"name": "autoencoder", "bits": 128, "mean_average_precision": 30.0},
        {"name": "autoencoder", "bits": 128, "mean_average_precision": 34.0},
        {"name": "autoencoder", "bits": 32, "mean_average_precision": 10.0},
    ],
}
EXPECTED = {
    "ten_crop_top1": 37.5,
    "ten_crop_top5": 17.0,
    "ten_crops_minus_centre_top1": -1.5,
    "ten_crops_minus_centre_top5": -2.0,
    "training_top1": 10.0,
    "top1_gap": 27.0,
    "epochs_to_25_percent": 2.0,
    "seconds_to_25_percent": 40.5,
    "epochs_to_lowest_validation_error": 3.0,
    "gpu_seconds_per_epoch": 25.0,
    "p_value_of_colour": 0.02,
    "precision_of_fc7_above_pixels": 28.0,
    "precision_of_128_bits_above_pixels": 20.0,
}


def of(values: dict[str, Any], measure: str) -> float | None:
    return measured(Record("run/result.json", "result", values), measure)


def test_a_record_of_retrieval_has_no_other_figures() -> None:
    values = {"chance": 10.0, "ways": VALUES["ways"]}
    found = {measure for measure in MEASURES if of(values, measure) is not None}
    assert found == {"precision_of_fc7_above_pixels", "precision_of_128_bits_above_pixels"}


def test_every_measure_is_that_of_a_claim() -> None:
    claims = read_claims()
    used = {figure.measure for claim in claims.values() for figure in claim.figures}
    assert used == set(MEASURES) == set(EXPECTED)


@pytest.mark.parametrize("measure", EXPECTED)
def test_a_measure_is_what_its_name_says_or_nothing(measure: str) -> None:
    assert of(VALUES, measure) == EXPECTED[measure]
    assert of({"errors": {"centre": {"top1": 39.0}}, "curve": [], "ways": []}, measure) is None


@pytest.mark.parametrize(
    ("change", "measure"),
    [
        ({"curve": VALUES["curve"][:1]}, "epochs_to_25_percent"),
        ({"curve": VALUES["curve"][:3]}, "training_top1"),
        ({"machine": {"gpu": None}}, "gpu_seconds_per_epoch"),
        ({"arrangement": {"columns_per_process": 2, "replicas": 1}}, "gpu_seconds_per_epoch"),
        ({"arrangement": {"columns_per_process": 1, "replicas": 4}}, "gpu_seconds_per_epoch"),
        ({"ways": VALUES["ways"][1:]}, "precision_of_fc7_above_pixels"),
        ({"chance": {"top1": 80.0, "top5": 0.0}}, "ten_crop_top5"),
    ],
)
def test_a_record_without_it_has_no_figure(change: dict[str, Any], measure: str) -> None:
    assert of(VALUES | change, measure) is None
