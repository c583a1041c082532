"""The reference pages that follow from the code: settings, events, metrics, DICOM conformance.

    python -m operations.reference        # writes all of them into docs/

Invariant: nothing in those pages is written by hand; a test compares them with the code.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path

import orjson
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from contracts.schema_catalog import versions_of
from contracts.topics import DLQ_RETENTION_MS, FOREVER, TOPICS, Topic
from infra.metric_list import METRICS
from infra.settings import Settings
from operations.conformance import conformance_page
from operations.context import CHECKOUT

DAY_MS = 24 * 3_600_000


def pages() -> dict[Path, str]:
    """Every generated page by its path."""
    return {
        CHECKOUT / "docs" / "settings.md": settings_page(),
        CHECKOUT / "docs" / "events.md": events_page(),
        CHECKOUT / "docs" / "metrics.md": metrics_page(),
        CHECKOUT / "docs" / "dicom-conformance.md": conformance_page(),
    }


def settings_page() -> str:
    """All settings: one table a section, with type, default and limits."""
    lines = [
        "# Settings",
        "",
        "One TOML file, named with `--settings`; each key can be given by the environment instead,",
        "as `HILUM__SECTION__KEY` (`HILUM__KAFKA__BOOTSTRAP_SERVERS`). Secrets can be named by",
        "file: `HILUM__PRIMARY__OBJECT_STORE__SECRET_KEY_FILE`. Everything is validated at the",
        "start; an unknown key is an error that names the nearest match. No default weakens a",
        "guarantee: an empty `admit` list admits nobody, and a gateway binds to loopback.",
        "",
        "`gateways.NAME` and `consumers.NAME` are tables by name; `admit` is a list of tables.",
        "A consumer refuses what no consumer reads: another name, `memory_bytes_max` (packs in",
        "memory; 0 puts each on the scratch disk) and `transfers_at_once` anywhere but at",
        "object-archive and dr-replica, and more than `http_port` for one member (`NAME-2`).",
        "",
    ]
    for path, model in _sections("", Settings):
        lines += [f"## {path or 'top level'}", "", _first_line(model), ""]
        lines += ["| key | type | default | limits |", "|---|---|---|---|"]
        lines += [_setting_row(name, field) for name, field in model.model_fields.items()]
        lines.append("")
    return "\n".join(lines)


def events_page() -> str:
    """All topics with their schemas, for those who read them."""
    lines = [
        "# Topics and events",
        "",
        "Avro in Confluent wire format. The read-only registry on port 8081 serves the schemas, so",
        "`AvroDeserializer`, ClickHouse's `AvroConfluent` and common tools read every topic. Kafka",
        "headers carry CloudEvents (binary mode) and `traceparent`; the trace id of a delivery's",
        "events is its delivery id. Times are microseconds UTC, sha256 is lowercase hex, `header`",
        "is the DICOM JSON Model (PS3.18 Annex F) without bulk data. Versions may be mixed: a",
        "newer writer tells its schemas on `imaging.schema.v1`, where older readers find them",
        "([ADR 18](adr/0018-newer-schemas.md)).",
        "",
        "| topic | event | key | partitions | kept |",
        "|---|---|---|---|---|",
        *(_topic_row(topic) for topic in TOPICS),
        f"| `<topic>.dlq` | the original record | the original key | 1 | "
        f"{DLQ_RETENTION_MS // DAY_MS} days |",
        "",
    ]
    for topic in TOPICS:
        newest = versions_of(topic.event_type)[-1]
        schema = orjson.loads(newest.text)
        lines += [f"## {topic.name}", "", str(schema["doc"]), ""]
        lines += [f"Schema id {newest.schema_id}, version {newest.version}.", ""]
        lines += ["| field | type |", "|---|---|"]
        lines += [f"| {f['name']} | {_avro_type(f['type'])} |" for f in schema["fields"]]
        lines.append("")
    return "\n".join(lines)


def metrics_page() -> str:
    """Every metric, as a scrape of /metrics names it."""
    lines = [
        "# Metrics",
        "",
        "Every process answers `/metrics` in Prometheus' text format on its HTTP port, beside",
        "`/livez` and `/readyz`. No label carries a UID or anything of a patient.",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
        *(
            f"| `{metric.name}` | {metric.kind} | {', '.join(metric.labels) or '–'} | "
            f"{metric.meaning} |"
            for metric in METRICS
        ),
        "",
    ]
    return "\n".join(lines)


def _sections(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        for inner in _models(field.annotation):
            is_table = typing.get_origin(field.annotation) is dict
            below = f"{path}.{name}".lstrip(".") + (".NAME" if is_table else "")
            yield from _sections(below, inner)


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models(inner)


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _setting_row(name: str, field: FieldInfo) -> str:
    limits = ", ".join(str(limit) for limit in field.metadata) or ""
    if field.is_required():
        default = "**required**"
    elif list(_models(field.annotation)):
        default = "see below"
    else:
        default = f"`{field.default}`"
    return f"| {name} | {_type_text(field.annotation)} | {default} | {limits} |".replace(
        "\\", "\\\\"
    )


def _type_text(annotation: object) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(annotation))
    arguments = [a for a in typing.get_args(annotation) if a is not type(None)]
    if typing.get_origin(annotation) in (dict, tuple):
        return "tables" if list(_models(annotation)) else "list"
    if arguments:
        return " or ".join(_type_text(a) for a in arguments)
    return getattr(annotation, "__name__", str(annotation))


def _topic_row(topic: Topic) -> str:
    kept = "for good" if topic.retention_ms == FOREVER else f"{topic.retention_ms / DAY_MS:g} days"
    if topic.is_compacted:
        kept = "latest of each key"
    return (
        f"| `{topic.name}` | {topic.event_type.__name__} | {topic.key} | {topic.partitions} | "
        f"{kept} |"
    )


def _avro_type(kind: object) -> str:
    if isinstance(kind, list):
        return " or ".join(_avro_type(part) for part in kind)
    if isinstance(kind, dict):
        if kind["type"] == "array":
            return f"list of {_avro_type(kind['items'])}"
        if kind["type"] == "record":
            inner = ", ".join(f"{f['name']}: {_avro_type(f['type'])}" for f in kind["fields"])
            return f"{kind['name']} ({inner})"
        return str(kind.get("logicalType", kind["type"]))
    return str(kind)


if __name__ == "__main__":
    for page_path, text in pages().items():
        page_path.write_text(text, encoding="utf-8")
