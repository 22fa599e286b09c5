"""Artefacts that are kept: exporting a model takes longer than running it, and one file serves every board."""

import json
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from edgebudget.measure.interface import Artefact, Failure, Subject
from edgebudget.measure.preparation import PREPARE_SECONDS, Prepared, Preparer


class KeptArtefacts:
    """A folder of artefacts: what it lacks is made and stays there, failures too. Versions are the caller's affair."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._preparer = Preparer(PREPARE_SECONDS)

    def __enter__(self) -> "KeptArtefacts":
        self._preparer.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._preparer.__exit__(kind, error, at)

    def prepared(self, subject: Subject) -> Prepared | Failure:
        """Return the artefact of `subject`, from the folder when it is there."""
        folder = self._folder / subject.model.rpartition(":")[2]
        note = folder / f"{subject.backend}-{subject.dtype}.json"
        if note.exists():
            return _parse(subject, json.loads(note.read_text(encoding="utf-8")))
        folder.mkdir(parents=True, exist_ok=True)
        made = self._preparer.prepare(subject, folder)
        document: dict[str, object] = (
            {"reason": made.reason}
            if isinstance(made, Failure)
            else {"artefact": asdict(made.artefact), "parameter_numel": made.parameter_numel}
        )
        note.write_text(json.dumps(document, default=str), encoding="utf-8")
        return made


def _parse(subject: Subject, document: dict) -> Prepared | Failure:  # type: ignore[type-arg]
    if "reason" in document:
        return Failure(subject, document["reason"])
    fields = document["artefact"]
    planned = fields["planned_bytes"]
    changed = {"path": Path(fields["path"]), "planned_bytes": None if planned is None else tuple(planned)}
    return Prepared(subject, Artefact(**{**fields, **changed}), document["parameter_numel"])
