"""The page on other programs says of quantization what its record says."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_error_of_the_quantized_network_is_shown_as_recorded() -> None:
    record = json.loads((ROOT / "results" / "export" / "quantization.json").read_text())
    page = (ROOT / "docs" / "exchange.md").read_text()
    assert record["command"].startswith("python -m alexnet_repro.export to=onnx ")
    assert len(record["commit"]) == 40
    for bits, figures in record["errors"].items():
        row = f"| {bits} | {record['bytes'][bits] / 1e6:.1f} MB | {figures['top1']:.2f} | "
        assert row + f"{figures['top5']:.2f} |" in page
    low, high = record["errors"]["32 bit"]["top1_interval"]
    assert f"{low:.1f}–{high:.1f}" in page
