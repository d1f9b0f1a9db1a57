"""A key that takes a path or a name takes whatever a system allows in one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from alexnet_repro.base.config import composed, with_list
from tests.forks import Forks

NASTY = [
    *("/home/józef/zdjęcia", "日本語", "Ba\u0308r", "/tmp/a,b", "x/epoch=1-step=8.ckpt"),
    *("/tmp/My Pictures (2023)/x", "it's", 'say "x"', "both ' and \"", "C:\\x\\", "a\\'b", "a\\\\"),
    *(
        "[x]",
        "{a: 1}",
        "(x)",
        "a:b",
        "~x",
        "*?",
        "a#b",
        "$HOME",
        "@%&;|",
        "tab\tx",
        "a ",
        "5",
        "true",
    ),
]
KEYS = {
    "train": [
        *("source", "resume", "init_from", "run_name", "data.name", "data.cache_dir"),
        *("data.directory", "data.source.val", "data.source.words", "+data.source.classes"),
    ],
    "prepare": ["source", "data.source.root", "output", "data.cache_dir", "data.source.test"],
    "evaluate": ["source", "output", "data.source.root", "data.directory"],
}


@pytest.mark.parametrize("command", KEYS)
@pytest.mark.parametrize("text", NASTY)
def test_every_key_of_a_path_takes_any_text(command: str, text: str) -> None:
    for key in KEYS[command]:
        config = composed(command, "data=folder", f"{key}={text}")
        place = "data.source.root" if key == "source" else key.lstrip("+")
        assert OmegaConf.select(config, place) == text, key


@pytest.mark.parametrize("text", ["runs/a b,c=[d]", "runs/józef's"])
@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir"])
def test_folders_of_runs_take_any_text(key: str, text: str) -> None:
    config = composed("train", f"{key}={text}", return_hydra_config=True)
    assert OmegaConf.select(config, key) == text


def test_text_that_is_quoted_refers_to_others_or_is_null_is_taken_as_hydra_takes_it() -> None:
    config = composed("train", "resume='a b'", 'init_from="c d"', "data.name=${run_name}")
    assert (config.resume, config.init_from) == ("a b", "c d")
    assert OmegaConf.to_container(config.data)["name"] == "${run_name}"  # type: ignore[call-overload, index]
    assert composed("train", "resume=null").resume is None


def test_several_checkpoints_are_separated_by_commas_unless_one_has_them_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a,b é.ckpt").touch()
    given = {
        "checkpoint=x=1.ckpt, y (2).ckpt": ["x=1.ckpt", "y (2).ckpt"],
        "checkpoint=a,b é.ckpt": ["a,b é.ckpt"],
        "checkpoint=['a,b','c']": ["a,b", "c"],
    }
    for typed, expected in given.items():
        config = composed("evaluate", with_list(typed, ("checkpoint",)))
        assert list(config.checkpoint) == expected


def test_paths_of_a_sweep_are_separated_by_commas(forks: Forks, tmp_path: Path) -> None:
    command = ["-m", "alexnet_repro.train", "-m", "source=zdjęcia,b c", "data=folder"]
    done = forks.run(*command, cwd=tmp_path)
    assert done.returncode != 0
    for name in ("zdjęcia", "b c"):
        assert f"data.source.root={name}: there is no folder {name}" in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["train", "predict"])
def test_a_terminal_without_unicode_ends_no_command(command: str, tmp_path: Path) -> None:
    typed = {"train": ["data=folder", "source=zdjęcia"], "predict": ["zdjęcia", "--checkpoint=ż"]}
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", f"alexnet_repro.{command}", *typed[command]],
        cwd=tmp_path, capture_output=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: ")
    assert b"\\u" in done.stderr or b"\\x" in done.stderr
    assert b"UnicodeEncodeError" not in done.stderr


def test_a_user_without_a_home_is_told_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alexnet_repro.base.errors import UsageError
    from alexnet_repro.base.files import user_path

    def none(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", none)
    with pytest.raises(
        UsageError, match=r"~/\.cache: this user has no home .* ALEXNET_REPRO_CACHE"
    ):
        user_path("~/.cache")
