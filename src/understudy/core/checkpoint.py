"""Checkpoints: safetensors and JSON under `checkpoints/step-N/`, atomic, hashed, never pickle.

A checkpoint is a dict of named tensor trees (`{"policy": state_dict, "policy_optimizer": ...}`)
and a JSON state (counters, cursors). Each tree becomes `NAME.safetensors`; `structure.json` says
how the tensors fit back, so optimiser states with their int keys and numbers survive. Everything is
written to a temporary folder, synced, listed in `manifest.json` with sha256, and only then renamed:
a folder called `step-N` is whole, or a disk broke it, which the manifest shows.

    save_checkpoint(run_dir, 3, {"policy": model.state_dict()}, {"iteration": 3}, keep=2)
    path = latest_checkpoint(run_dir)  # verified; falls back over broken ones and says so
    trees, state = load_checkpoint(path)
"""

import hashlib
import json
import logging
import os
import shutil
import signal
import uuid
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

FORMAT = 1
CRASH_VARIABLE = "UNDERSTUDY_CRASH_AT"

log = logging.getLogger(__name__)
_visits: dict[str, int] = {}


class CheckpointError(ValueError):
    """A checkpoint that is not whole: the message names the file and what is wrong with it."""


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
    run_dir: Path, step: int, tensors: dict[str, Any], state: dict[str, Any], *, keep: int = 2
) -> Path:
    """Write `checkpoints/step-N` atomically and drop all but the newest `keep` of them."""
    folder = run_dir / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    crash_point("checkpoint/begin")
    temporary = folder / f"step-{step}.tmp-{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir()
        _write_all(temporary, step, tensors, state)
        final = _publish(temporary, folder / f"step-{step}")
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OSError(
            f"the checkpoint of step {step} cannot be written to {folder}: "
            f"{error.strerror or error}; earlier ones are as they were. Make room, then go on with "
            "--resume"
        ) from error
    _retire(folder, keep, final)
    crash_point("checkpoint/end")
    return final


def load_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensor trees and the state; CheckpointError unless every file matches its hash."""
    files = _read_verified(path)
    structure = json.loads(files["structure.json"])
    trees = {}
    for name, layout in structure.items():
        leaves = load_tensors(files[f"{name}.safetensors"])
        trees[name] = _unflatten(layout, leaves)
    return trees, json.loads(files["state.json"])


def latest_checkpoint(run_dir: Path) -> Path | None:
    """The newest whole checkpoint; broken ones are set aside as `step-N.corrupt-*` and named."""
    for path in reversed(list_checkpoints(run_dir)):
        try:
            _read_verified(path)
            return path
        except CheckpointError as error:
            aside = path.with_name(f"{path.name}.corrupt-{uuid.uuid4().hex[:8]}")
            os.rename(path, aside)
            log.warning("%s; set aside as %s, falling back to the one before", error, aside.name)
    return None


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


def _write_all(folder: Path, step: int, tensors: dict[str, Any], state: dict[str, Any]) -> None:
    structure, manifest = {}, {}
    for name, tree in tensors.items():
        leaves: dict[str, Tensor] = {}
        structure[name] = _flatten(tree, "", leaves, {})
        data = dump_tensors(leaves)
        manifest[f"{name}.safetensors"] = _write_synced(folder / f"{name}.safetensors", data)
        crash_point("checkpoint/file")
    for name, value in (("structure.json", structure), ("state.json", state)):
        data = json.dumps(value, allow_nan=False).encode()
        manifest[name] = _write_synced(folder / name, data)
    crash_point("checkpoint/manifest")
    listing = {"format": FORMAT, "step": step, "files": manifest}
    _write_synced(folder / "manifest.json", _manifest_bytes(listing))


def _manifest_bytes(listing: dict[str, Any]) -> bytes:
    """The one way in which a manifest is written, so that any change to it can be seen."""
    return json.dumps(listing, indent=1).encode()


def _publish(temporary: Path, final: Path) -> Path:
    sync_folder(temporary)
    crash_point("checkpoint/rename")
    if final.exists():
        # Saving one step twice (after a fallback): the old folder leaves first, by rename.
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
    return _facts(data)


def _facts(data: bytes) -> dict[str, Any]:
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
            # A deletion cut short must not look like a checkpoint.
            doomed = path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex[:8]}")
            os.rename(path, doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def _read_verified(path: Path) -> dict[str, bytes]:
    """Every file's bytes, their hashes checked: what is verified is what loads."""
    try:
        raw = (path / "manifest.json").read_bytes()
        listing = json.loads(raw)
        expected = dict(listing["files"])
        version, step = listing["format"], listing.get("step", checkpoint_step(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"checkpoint {path} has no readable manifest.json ({error})"
        ) from None
    if version != FORMAT:
        raise CheckpointError(
            f"checkpoint {path} has format {version}; this version reads format {FORMAT}"
        )
    if raw != _manifest_bytes(listing) or step != checkpoint_step(path):
        raise CheckpointError(f"checkpoint {path}: manifest.json is not the one that was written")
    files = {}
    for name, facts in expected.items():
        try:
            data = (path / name).read_bytes()
        except OSError as error:
            raise CheckpointError(f"checkpoint {path}: {name} cannot be read ({error})") from None
        if facts != _facts(data):
            raise CheckpointError(f"checkpoint {path}: {name} does not match its sha256")
        files[name] = data
    return files


def _flatten(tree: Any, path: str, leaves: dict[str, Tensor], seen: dict[tuple, str]) -> Any:
    """`tree` as JSON with `{"tensor": name}` for each tensor; tied tensors share one name."""
    if isinstance(tree, Tensor):
        identity = (tree.data_ptr(), tree.shape, tree.stride(), tree.dtype)
        name = seen.get(identity) if tree.numel() else None
        if name is None:
            name = seen[identity] = path or "value"
            # A copy: safetensors refuses tensors that share storage, such as views.
            leaves[name] = tree.detach().cpu().contiguous().clone()
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


def _unflatten(layout: Any, leaves: dict[str, Tensor]) -> Any:
    kind, value = next(iter(layout.items()))
    if kind == "tensor":
        return leaves[value]
    if kind == "dict":
        return {k: _unflatten(v, leaves) for k, v in value}
    if kind == "list":
        return [_unflatten(v, leaves) for v in value]
    if kind == "tuple":
        return tuple(_unflatten(v, leaves) for v in value)
    return value


def tree_hash(tree: Any) -> str:
    """sha256 over every tensor and number of a tree, to compare two states bit for bit."""
    digest = hashlib.sha256()
    leaves: dict[str, Tensor] = {}
    digest.update(json.dumps(_flatten(tree, "", leaves, {})).encode())
    for name in sorted(leaves):
        digest.update(name.encode())
        digest.update(leaves[name].flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
