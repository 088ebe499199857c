"""Checkpoints: safetensors and JSON under `checkpoints/step-N/`, atomic, hashed, never pickle.

A checkpoint is a dict of named tensor trees (`{"policy": state_dict, "policy_optimizer": ...}`) and
a JSON state (counters, cursors). Each tree becomes `NAME.safetensors`; `structure.json` records how
to rebuild the trees, so optimiser states with their int keys and numbers survive. Everything is
written to a temporary folder, synced, listed in `manifest.json` with sha256, and only then renamed:
a folder called `step-N` is complete unless the disk corrupted it, which the manifest reveals. The
manifest also names the checkpoint's run and the length of that run's logs.

Several ranks write format 2: each rank's shards of all trees in its own files
(`training/shards.py`), with one manifest.

Tensors are written, hashed and read one at a time (`training/tensors.py`), so saving needs no
memory beyond the state itself, except for one tensor where the state is on another device.

    save_checkpoint(run_dir, 3, {"policy": model.state_dict()}, {"iteration": 3}, keep=2)
    path = latest_checkpoint(run_dir)  # verified; skips broken ones with a warning
    trees, state = load_checkpoint(path)
"""

import hashlib
import json
import logging
import os
import shutil
import signal
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor

from understudy.training.ranks import ALONE, Ranks
from understudy.training.shards import read_shards, write_shards
from understudy.training.tensors import bytes_of, read_tensors, write_tensors

FORMATS = (1, 2)
"""The formats that one process and several write; any number of ranks reads both."""
CRASH_VARIABLE = "UNDERSTUDY_CRASH_AT"

log = logging.getLogger(__name__)
_visits: dict[str, int] = {}


class CheckpointError(ValueError):
    """A broken checkpoint: the message names the file and the fault."""


def crash_point(name: str) -> None:
    """Die by SIGKILL here if `UNDERSTUDY_CRASH_AT` is `name` or `name@n` (the n-th visit)."""
    wanted = os.environ.get(CRASH_VARIABLE)
    if not wanted:
        return
    _visits[name] = _visits.get(name, 0) + 1
    point, _, visit = wanted.partition("@")
    if point == name and _visits[name] == int(visit or 1):
        os.kill(os.getpid(), signal.SIGKILL)


def save_checkpoint(
    run_dir: Path,
    step: int,
    tensors: dict[str, Any],
    state: dict[str, Any],
    *,
    keep: int = 2,
    run: str | None = None,
    logs: dict[str, Any] | None = None,
    ranks: Ranks = ALONE,
) -> Path:
    """Write `checkpoints/step-N` atomically and delete all but the newest `keep`.

    `run` is the identity of the run, `logs` describes its log files at this step (rank 0's value is
    used).
    """
    folder = run_dir / "checkpoints"
    final = folder / f"step-{step}"
    temporary = folder / ranks.from_rank(0, f"{final.name}.tmp-{uuid.uuid4().hex[:8]}")
    facts = {
        "format": FORMATS[ranks.world > 1],
        "step": step,
        "run": run,
        "logs": None if logs is None else dict(logs),
    }

    def begin() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        crash_point("checkpoint/begin")
        temporary.mkdir()

    def end() -> None:
        _write_manifest(temporary, facts, structure, state, files)
        _publish(temporary, final)

    try:
        ranks.on_first(begin)
        structure, files = _write_tensors(temporary, tensors, ranks)
        ranks.on_first(end)
    except OSError as error:
        if ranks.is_first:
            shutil.rmtree(temporary, ignore_errors=True)
        kept = "; earlier ones are intact" if list_checkpoints(run_dir) else ""
        raise OSError(
            f"the checkpoint of step {step} cannot be written to {folder}: "
            f"{error.strerror or error}{kept}. Free some space, then continue with --resume"
        ) from error
    ranks.on_first(lambda: _retire(folder, keep, final))
    crash_point("checkpoint/end")
    return final


def load_checkpoint(
    path: Path, live: Mapping[str, Any] | None = None, ranks: Ranks = ALONE
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensor trees and the state; CheckpointError unless every file matches its hash.

    `live` are the run's current trees: a checkpoint of several ranks is read into their tensors,
    each rank's shard into its own. Its shards are not hashed again here; `latest_checkpoint` has
    just done so.
    """
    manifest = read_manifest(path)
    expected = _files_of(manifest, path)
    structure = json.loads(_verified_bytes(path, "structure.json", expected))
    state = json.loads(_verified_bytes(path, "state.json", expected))
    leaves: dict[str, Tensor] = {}
    if manifest["format"] == 1:
        for name in structure:
            file = f"{name}.safetensors"
            try:
                found = read_tensors(path / file, expected[file])
            except (OSError, ValueError) as error:
                raise CheckpointError(f"checkpoint {path}: {file} {error}") from None
            leaves |= {f"{name}/{leaf}": tensor for leaf, tensor in found.items()}
    else:
        here: dict[str, Tensor] = {}
        for name, tree in (live or {}).items():
            _flatten(tree, name, here, None)
        names = [f"{name}/{leaf}" for name in structure for leaf in _names_in(structure[name])]
        leaves = read_shards(path, {name: here.get(name) for name in names}, ranks)
    return {
        name: _unflatten(layout, leaves, f"{name}/") for name, layout in structure.items()
    }, state


def latest_checkpoint(run_dir: Path, run: str | None = None, ranks: Ranks = ALONE) -> Path | None:
    """The newest intact checkpoint; broken ones are renamed to `step-N.corrupt-*` with a warning.

    Each rank verifies its share of the files, and all get the same result. ValueError if it belongs
    to a run other than `run`.
    """
    names = [path.name for path in reversed(list_checkpoints(run_dir))]
    for name in ranks.from_rank(0, names):
        path = run_dir / "checkpoints" / name
        fault, owner = None, None
        try:
            manifest = read_manifest(path)
            owner = manifest.get("run")
            for number, (file, facts) in enumerate(sorted(_files_of(manifest, path).items())):
                if number % ranks.world == ranks.rank:
                    _verify(path, file, facts)
        except CheckpointError as error:
            fault = str(error)
        faults = [found for found in ranks.from_all(fault) if found is not None]
        if faults:
            ranks.on_first(partial(_set_aside, path, faults[0]))
            continue
        if run is not None and owner is not None and owner != run:
            raise ValueError(
                f"{path} is the checkpoint of another run (other settings or inputs); remove it, "
                "or pass --overwrite to start again"
            )
        return path
    return None


def _set_aside(path: Path, fault: str) -> None:
    aside = path.with_name(f"{path.name}.corrupt-{uuid.uuid4().hex[:8]}")
    os.rename(path, aside)
    log.warning("%s; renamed to %s, falling back to the previous one", fault, aside.name)


def remove_checkpoints(run_dir: Path) -> None:
    """Remove a run's checkpoints; an interrupted removal leaves nothing that looks like one."""
    for path in list_checkpoints(run_dir):
        _discard(path)
    shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)


def list_checkpoints(run_dir: Path) -> list[Path]:
    """The `step-N` folders, oldest first (not verified)."""
    folder = run_dir / "checkpoints"
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if p.name.startswith("step-") and p.name[5:].isdigit()]
    return sorted(found, key=checkpoint_step)


def checkpoint_step(path: Path) -> int:
    """The N of `step-N`."""
    return int(path.name[5:])


def _write_tensors(
    folder: Path, tensors: dict[str, Any], ranks: Ranks
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write all trees: (the structure to rebuild them, length and sha256 of each file)."""
    structure, files = {}, {}
    if ranks.world == 1:
        for name, tree in tensors.items():
            leaves: dict[str, Tensor] = {}
            structure[name] = _flatten(tree, "", leaves, {})
            files[f"{name}.safetensors"] = write_tensors(folder / f"{name}.safetensors", leaves)
            crash_point("checkpoint/file")
        return structure, files
    every: dict[str, Tensor] = {}
    for name, tree in tensors.items():
        mine: dict[str, Tensor] = {}
        structure[name] = _flatten(tree, "", mine, {})
        every |= {f"{name}/{leaf}": tensor for leaf, tensor in mine.items()}
    files = write_shards(folder, every, ranks)
    crash_point("checkpoint/file")
    return structure, files


def _write_manifest(
    folder: Path,
    facts: dict[str, Any],
    structure: dict[str, Any],
    state: dict[str, Any],
    files: dict[str, Any],
) -> None:
    for name, value in (("structure.json", structure), ("state.json", state)):
        data = json.dumps(value, allow_nan=False).encode()
        files[name] = _write_synced(folder / name, data)
    crash_point("checkpoint/manifest")
    _write_synced(folder / "manifest.json", _manifest_bytes(sealed({**facts, "files": files})))


def sealed(listing: dict[str, Any]) -> dict[str, Any]:
    """A manifest with a sha256 of its own content, which reveals any change."""
    rest = {key: value for key, value in listing.items() if key != "sha256"}
    return {**rest, "sha256": hashlib.sha256(_manifest_bytes(rest)).hexdigest()}


def _manifest_bytes(listing: dict[str, Any]) -> bytes:
    """A manifest's canonical bytes."""
    return json.dumps(listing, indent=1).encode()


def _publish(temporary: Path, final: Path) -> Path:
    sync_folder(temporary)
    crash_point("checkpoint/rename")
    if final.exists():
        # Saving a step again (after a fallback): first rename the old folder away.
        os.rename(final, final.with_name(f"{final.name}.tmp-{uuid.uuid4().hex[:8]}"))
    os.rename(temporary, final)
    crash_point("checkpoint/renamed")
    sync_folder(final.parent)
    _remove_leftovers(final.parent)
    return final


def _write_synced(path: Path, data: bytes) -> dict[str, Any]:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def sync_folder(folder: Path) -> None:
    """fsync a directory, so that the names in it survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob("step-*.tmp-*"):
        shutil.rmtree(path, ignore_errors=True)


def _retire(folder: Path, keep: int, newest: Path) -> None:
    for path in list_checkpoints(folder.parent)[: -max(keep, 1)]:
        if path != newest:
            _discard(path)


def _discard(path: Path) -> None:
    # What an interrupted deletion leaves must not look like a checkpoint.
    doomed = path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex[:8]}")
    os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def read_manifest(path: Path) -> dict[str, Any]:
    """A checkpoint's manifest; CheckpointError if it was changed since it was written."""
    try:
        raw = (path / "manifest.json").read_bytes()
        listing = dict(json.loads(raw))
        dict(listing["files"])
        version, step = listing["format"], listing.get("step", checkpoint_step(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"checkpoint {path} has no readable manifest.json ({error})"
        ) from None
    if version not in FORMATS:
        raise CheckpointError(
            f"checkpoint {path} has format {version}; this version reads formats "
            f"{' and '.join(map(str, FORMATS))}"
        )
    # Manifests of earlier versions have no run and no hash of their own.
    whole = listing if set(listing) <= {"format", "step", "files"} else sealed(listing)
    if raw != _manifest_bytes(whole) or step != checkpoint_step(path):
        raise CheckpointError(f"checkpoint {path}: manifest.json was changed after it was written")
    return listing


def _files_of(manifest: dict[str, Any], path: Path) -> dict[str, Any]:
    """The files of a checkpoint; CheckpointError if the manifest lacks one."""
    files = dict(manifest["files"])
    needed = {"structure.json", "state.json"}
    if needed <= set(files):
        structure = json.loads(_verified_bytes(path, "structure.json", files))
        if manifest["format"] == 1:
            needed |= {f"{name}.safetensors" for name in structure}
    if missing := sorted(needed - set(files)):
        raise CheckpointError(f"checkpoint {path}: manifest.json does not list {missing[0]}")
    return files


def _verified_bytes(path: Path, name: str, files: dict[str, Any]) -> bytes:
    """A small file's content, verified on the bytes returned."""
    try:
        data = (path / name).read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: {name} cannot be read ({error})") from None
    found = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if files[name] != found:
        raise CheckpointError(f"checkpoint {path}: {name} does not match its sha256")
    return data


def _verify(path: Path, name: str, facts: Any) -> None:
    try:
        with open(path / name, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            found = {"bytes": file.tell(), "sha256": digest}
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: {name} cannot be read ({error})") from None
    if facts != found:
        raise CheckpointError(f"checkpoint {path}: {name} does not match its sha256")


def _flatten(tree: Any, path: str, leaves: dict[str, Tensor], seen: dict[tuple, str] | None) -> Any:
    """`tree` as JSON with `{"tensor": name}` for each tensor; tied tensors share one name, unless
    `seen` is None."""
    if isinstance(tree, Tensor):
        identity = None if seen is None else _identity(tree)
        name = None if identity is None or seen is None else seen.get(identity)
        if name is None:
            name = path or "value"
            leaves[name] = tree.detach()
        if identity is not None and seen is not None:
            seen[identity] = name
        return {"tensor": name}
    if isinstance(tree, dict):
        items = [
            [k, _flatten(v, f"{path}/{k}" if path else str(k), leaves, seen)]
            for k, v in tree.items()
        ]
        return {"dict": items}
    if isinstance(tree, list | tuple):
        items = [_flatten(v, f"{path}/{i}", leaves, seen) for i, v in enumerate(tree)]
        return {"list" if isinstance(tree, list) else "tuple": items}
    assert tree is None or isinstance(tree, bool | int | float | str), f"cannot save {type(tree)}"
    return {"plain": tree}


def _identity(tensor: Tensor) -> tuple | None:
    """A key that is equal for tied tensors only, on every rank alike; None for an empty tensor."""
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    # A rank's shard may be empty, but its storage is padded to the others' size: use its address.
    start = local.untyped_storage().data_ptr()
    if not start or not tensor.numel():
        return None
    return (start, local.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)


def _names_in(layout: Any) -> list[str]:
    """The names of the tensors in a layout from `_flatten`."""
    kind, value = next(iter(layout.items()))
    if kind == "tensor":
        return [value]
    if kind == "plain":
        return []
    parts = [part for _, part in value] if kind == "dict" else value
    return list(dict.fromkeys(name for part in parts for name in _names_in(part)))


def _unflatten(layout: Any, leaves: dict[str, Tensor], prefix: str = "") -> Any:
    kind, value = next(iter(layout.items()))
    if kind == "tensor":
        return leaves[prefix + value]
    if kind == "dict":
        return {k: _unflatten(v, leaves, prefix) for k, v in value}
    if kind == "list":
        return [_unflatten(v, leaves, prefix) for v in value]
    if kind == "tuple":
        return tuple(_unflatten(v, leaves, prefix) for v in value)
    return value


def num_bytes(tree: Any) -> int:
    """Total size of a tree's tensors in bytes."""
    if isinstance(tree, Tensor):
        return tree.numel() * tree.element_size()
    parts = tree.values() if isinstance(tree, dict) else tree
    return sum(map(num_bytes, parts)) if isinstance(tree, dict | list | tuple) else 0


def tree_hash(tree: Any) -> str:
    """sha256 over every tensor and number of a tree, to compare states bit for bit."""
    digest = hashlib.sha256()
    leaves: dict[str, Tensor] = {}
    digest.update(json.dumps(_flatten(tree, "", leaves, {})).encode())
    for name in sorted(leaves):
        digest.update(name.encode())
        digest.update(bytes_of(leaves[name]))
    return digest.hexdigest()
