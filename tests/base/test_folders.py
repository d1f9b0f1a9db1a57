"""Every run has a folder of its own."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from alexnet_repro.base.folders import BEGUN, claimed


def test_runs_of_the_same_second_share_no_folder(tmp_path: Path) -> None:
    wanted = tmp_path / "runs" / "demo" / "2026-11-27_19-38-35"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(claimed, [wanted] * 40))
    assert len(set(found)) == 40
    assert {path.name for path in found} == {wanted.name} | {
        f"{wanted.name}_{number}" for number in range(2, 41)
    }
    assert all(path.is_dir() for path in found)


@pytest.mark.parametrize(("kind", "begun"), [("run", "run.json"), ("sweep", "3_alexnet/run.json")])
def test_what_goes_on_does_so_in_the_folder_where_it_began(
    tmp_path: Path, kind: str, begun: str
) -> None:
    day = tmp_path / "2026-11-27"
    day.mkdir()  # of a run that was killed before it began
    second = tmp_path / "2026-11-27_2"
    assert claimed(day, BEGUN[kind]) == second
    (second / begun).parent.mkdir(exist_ok=True)
    (second / begun).touch()
    assert claimed(day, BEGUN[kind]) == second
    assert claimed(day) == tmp_path / "2026-11-27_3"
