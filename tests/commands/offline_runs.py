"""The records of an offline W&B run, read from its file.

The file is a LevelDB log: blocks of 32,768 bytes hold chunks (checksum, length, type), and a record
is one whole chunk or a first, middle and last ones. The first block begins with a header of W&B.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER, FILE_HEADER = 32768, 7, 7
FULL, LAST = 1, 4


def read_run(directory: Path) -> dict[str, list[Any]]:
    """The records of the only run under ``directory`` by their kind: run, history, artifact, …"""
    (path,) = directory.rglob("run-*.wandb")
    kinds: dict[str, list[Any]] = {}
    for record in _records(path.read_bytes()):
        kind = record.WhichOneof("record_type")
        kinds.setdefault(kind, []).append(getattr(record, kind))
    return kinds


def items(updates: Any) -> dict[str, Any]:
    """The values of a record that holds them as JSON by key."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in updates}


def _records(content: bytes) -> Iterator[Record]:
    assert content[:4] == b":W&B"
    place, parts = FILE_HEADER, b""
    while place + HEADER <= len(content):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + HEADER])
        parts += content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (FULL, LAST):
            yield Record.FromString(parts)
            parts = b""
