"""What the Schema Registry endpoint answers, apart from HTTP.

Invariant: subjects are `<topic>-value` and `<topic>.dlq-value` for every topic; ids and versions
are those of the schema files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from contracts import topics
from contracts.schema_catalog import SchemaVersion, schema_id, versions_by_id, versions_of

_READ_ONLY = 42205  # "operation not permitted": what a registry in mode READONLY says
_SUBJECT_NOT_FOUND = 40401
_VERSION_NOT_FOUND = 40402
_SCHEMA_NOT_FOUND = 40403
_INVALID_SCHEMA = 42201
_INVALID_VERSION = 42202

# The compatibility that the contract tests hold; closest name in the registry's own words.
COMPATIBILITY = "FULL"
MODE = "READONLY"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and the JSON body."""

    status: int
    body: Any


class _RefusedError(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer.body))
        self.answer = answer


class RegistryAnswers:
    """Answers by method and path parts. Never raises."""

    def __init__(self) -> None:
        self._subjects: dict[str, tuple[SchemaVersion, ...]] = {}
        for topic in topics.TOPICS:
            for name in (topic.name, topic.dlq_name):
                self._subjects[f"{name}-value"] = versions_of(topic.event_type)

    def answer(self, method: str, path: Sequence[str], body: bytes) -> Answer:
        """The answer to one request; `path` is split at `/` and unquoted."""
        try:
            if method == "POST" and len(path) == 2 and path[0] == "subjects":
                return Answer(200, self._look_up(path[1], body))
            if method != "GET":
                raise _refused(422, _READ_ONLY, "this registry is read-only: ids follow from files")
            return Answer(200, self._get(path))
        except _RefusedError as refusal:
            return refusal.answer

    def _get(self, path: Sequence[str]) -> Any:
        match list(path):
            case []:
                return {}
            case ["livez"]:
                return {"live": True}
            case ["readyz"]:
                return {"ready": True, "reason": f"{len(self._subjects)} subjects"}
            case ["mode", *_]:
                return {"mode": MODE}
            case ["config", *_]:
                return {"compatibilityLevel": COMPATIBILITY}
            case ["subjects", *rest]:
                return self._get_subject(rest)
            case ["schemas", *rest]:
                return self._get_schema(rest)
        raise _refused(404, 404, "no such path")

    def _get_subject(self, path: Sequence[str]) -> Any:
        match list(path):
            case []:
                return sorted(self._subjects)
            case [subject, "versions"]:
                return [version.version for version in self._versions(subject)]
            case [subject, "versions", number]:
                return _described(subject, self._version(subject, number))
            case [subject, "versions", number, "schema"]:
                return orjson.loads(self._version(subject, number).text)
        raise _refused(404, 404, "no such path")

    def _get_schema(self, path: Sequence[str]) -> Any:
        match list(path):
            case ["types"]:
                return ["AVRO"]
            case ["ids", number]:
                return {"schema": self._by_id(number).text, "schemaType": "AVRO"}
            case ["ids", number, "schema"]:
                return orjson.loads(self._by_id(number).text)
            case ["ids", number, "subjects"]:
                return [place["subject"] for place in self._places(number)]
            case ["ids", number, "versions"]:
                return self._places(number)
        raise _refused(404, 404, "no such path")

    def _look_up(self, subject: str, body: bytes) -> Any:
        """Which version of a subject a given schema is (POST /subjects/{subject})."""
        versions = self._versions(subject)
        try:
            asked = schema_id(orjson.loads(orjson.loads(body)["schema"]))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise _refused(422, _INVALID_SCHEMA, "invalid Avro schema") from None
        for version in versions:
            if version.schema_id == asked:
                return _described(subject, version)
        raise _refused(404, _SCHEMA_NOT_FOUND, "schema not found")

    def _versions(self, subject: str) -> tuple[SchemaVersion, ...]:
        if subject not in self._subjects:
            raise _refused(404, _SUBJECT_NOT_FOUND, f"subject {subject!r} not found")
        return self._subjects[subject]

    def _version(self, subject: str, number: str) -> SchemaVersion:
        versions = self._versions(subject)
        if number in ("latest", "-1"):
            return versions[-1]
        wanted = _number(number, _refused(422, _INVALID_VERSION, f"{number!r} is no version"))
        for version in versions:
            if version.version == wanted:
                return version
        raise _refused(404, _VERSION_NOT_FOUND, f"version {number} not found")

    def _by_id(self, number: str) -> SchemaVersion:
        unknown = _refused(404, _SCHEMA_NOT_FOUND, f"schema {number} not found")
        found = versions_by_id().get(_number(number, unknown))
        if found is None:
            raise unknown
        return found

    def _places(self, number: str) -> list[dict[str, Any]]:
        wanted = self._by_id(number)
        return [
            {"subject": subject, "version": wanted.version}
            for subject, versions in sorted(self._subjects.items())
            if wanted in versions
        ]


def _described(subject: str, version: SchemaVersion) -> dict[str, Any]:
    return {
        "subject": subject,
        "version": version.version,
        "id": version.schema_id,
        "schemaType": "AVRO",
        "schema": version.text,
    }


def _number(text: str, otherwise: _RefusedError) -> int:
    if not text.isascii() or not text.isdigit():
        raise otherwise
    return int(text)


def _refused(status: int, code: int, message: str) -> _RefusedError:
    return _RefusedError(Answer(status, {"error_code": code, "message": message}))
