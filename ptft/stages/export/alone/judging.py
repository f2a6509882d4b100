"""What a model says of rows, beside what the original said: nats, divergence, first choices, logits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from common import Rows, log_softmax  # type: ignore[import-not-found]

AT_ONCE = 32  # places whose logits are compared at once, in float64


def windows(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Nats of every token, into `nats`; and of the first windows the divergence from `reference`, or their logits into it."""
    ids_of = np.load(given["windows"])
    reference, compared = Path(given["reference"]), given["compared"]
    writes = not reference.exists()
    known = np.load(reference, mmap_mode="r") if not writes else None
    nats, kept, divergence, same = [], [], [], []
    for number, ids in enumerate(ids_of):
        logits = log_softmax(model.logits(ids)[:-1])
        nats.append(-logits[np.arange(len(logits)), ids[1:]])
        if number < compared and writes:
            kept.append(logits)
        elif number < compared and known is not None:
            divergence.append((np.exp(known[number]) * (known[number] - logits)).sum(-1))
            same.append(known[number].argmax(-1) == logits.argmax(-1))
    np.save(given["nats"], np.stack(nats))
    if writes:
        np.save(reference, np.stack(kept))
        return {}
    return {"divergence": float(np.mean(divergence)), "same": float(np.mean(same))}


def rows(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Of every place with a target its nats, into `found` (an .npz); of as many as fit, what is compared with the original.

    writes: this is the original, whose logits go into `reference`, float32 (places, vocabulary), at most `reference_bytes`.
    Else divergence (KL from the original, nats), same (1 where the first choice is equal) and the logits' errors there.
    """
    kept = None if given["writes"] else np.load(given["reference"], mmap_mode="r")
    nats: list[np.ndarray] = []
    compared = _Compared()
    seen = 0
    every = Rows.read(given["rows"])
    places = int((every.targets >= 0).sum())
    for ids, targets, types in every:
        chosen = np.flatnonzero(targets >= 0)
        if not len(chosen):
            continue
        logits = _finite(model.logits(ids, types))[chosen]
        nats.append(_nats(logits, targets[chosen]))
        if kept is None:
            kept = _new(given["reference"], places, logits.shape[1], given["reference_bytes"])
        here = kept[seen : seen + len(logits)]
        if given["writes"]:
            here[:] = logits[: len(here)]
        else:
            compared.add(here, logits[: len(here)])
        seen += len(chosen)
    if given["writes"] and kept is not None:
        kept.flush()
    np.savez(given["found"], nats=np.concatenate(nats), **compared.arrays())
    return {}


class _Compared:
    """Places beside the original's, in parts."""

    def __init__(self) -> None:
        self.divergence: list[np.ndarray] = []
        self.same: list[np.ndarray] = []
        self.largest, self.total, self.count = 0.0, 0.0, 0

    def add(self, known: np.ndarray, logits: np.ndarray) -> None:
        """Both (places, vocabulary); columns that one of the two lacks are left out."""
        width = min(known.shape[1], logits.shape[1])
        for at in range(0, len(known), AT_ONCE):
            old, new = (part[at : at + AT_ONCE, :width].astype(np.float64) for part in (known, logits))
            self.same.append(old.argmax(-1) == new.argmax(-1))
            error = np.abs(old - new)
            self.largest = max(self.largest, float(error.max()))
            self.total, self.count = self.total + float(error.sum()), self.count + error.size
            p, q = log_softmax(old), log_softmax(new)
            self.divergence.append((np.exp(p) * (p - q)).sum(-1))

    def arrays(self) -> dict[str, Any]:
        if not self.count:
            return {}
        errors = np.array([self.largest, self.total / self.count])
        return {"divergence": np.concatenate(self.divergence), "same": np.concatenate(self.same), "errors": errors}


def _nats(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """-log p of each target. logits: (places, vocabulary); targets: (places,)."""
    parts = [
        -log_softmax(logits[at : at + AT_ONCE].astype(np.float64))[
            np.arange(len(targets[at : at + AT_ONCE])), targets[at : at + AT_ONCE]
        ]
        for at in range(0, len(targets), AT_ONCE)
    ]
    return np.concatenate(parts)


def _new(path: str, places: int, width: int, most: int) -> np.ndarray:
    """A file in memory's place for as many places as `most` bytes hold. Its room is taken now: a full disk is an error, no crash."""
    count = max(1, min(places, most // (4 * width)))
    found = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, width))
    if hasattr(os, "posix_fallocate"):
        with Path(path).open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, Path(path).stat().st_size)
    return found


def outputs(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What a head says of every row, alone and unpadded, end to end in one array, float32, into `found` (an .npz)."""
    said = [_finite(model.logits(ids, types)) for ids, _, types in Rows.read(given["rows"])]
    np.savez(given["found"], logits=np.concatenate([found.reshape(-1) for found in said]))
    return {}


def claims(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Of each named row of ids: the first choice at every place, and the largest five logits of the last place, [id, logit].

    A classifier has one place, whose choices are its classes; a model that finds answers has two, first and last, whose
    choices are the row's tokens.
    """
    found = {}
    for name, row in given["claims"].items():
        types = None if row.get("types") is None else np.array(row["types"])
        logits = _finite(model.logits(np.array(row["ids"]), types))
        largest = np.argsort(-logits[-1], kind="stable")[:5]
        found[name] = {
            "first_choices": logits.argmax(-1).tolist(),
            "logits": [[int(at), float(f"{logits[-1, at]:.6g}")] for at in largest],
        }
    return {"claims": found}


def _finite(logits: np.ndarray) -> np.ndarray:
    if not np.isfinite(logits).all():
        raise ArithmeticError("its outputs are not finite (NaN or infinity)")
    return logits
