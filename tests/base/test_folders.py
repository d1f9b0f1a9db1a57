"""Every run has a folder of its own."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from alexnet_repro.base.folders import claimed


def test_runs_of_the_same_second_share_no_folder(tmp_path: Path) -> None:
    wanted = tmp_path / "runs" / "demo" / "2026-11-27_19-38-35"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(claimed, [wanted] * 40))
    assert len(set(found)) == 40
    assert {path.name for path in found} == {wanted.name} | {
        f"{wanted.name}_{number}" for number in range(2, 41)
    }
    assert all(path.is_dir() for path in found)
