"""The statements that compose whole instances, series, studies and conflicts from their halves.

Invariant: a composition reads everything that was inserted before it, and its `knowledge` grows
with every row it has seen; so of two compositions of one key the larger has seen all that the
smaller has, and both halves' writers composing after their inserts always ends with the whole.
It must not be used without inserting the halves first, and it must not decide by time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from contracts.identity import ContentKey
from infra.seams import Database

# One field of a request holds 128 KiB at most (ClickHouse's http_max_field_value_size): the
# digits of a hash take 9 bytes of it, a UID 68.
CONTENTS_PER_STATEMENT_MAX = 12_000
UIDS_PER_STATEMENT_MAX = 1_500
# 32 bits of a SHA-256 name a content among those of its study; one that they name by chance is
# composed once more, which changes nothing.
_HASH_DIGITS = 8

_KEY = "study_instance_uid, series_instance_uid, sop_instance_uid, content_sha256"
# The study prunes by the primary key, the hash names the content. All hashes are one text: an array
# of 5,000 takes 8 ms to write and to read as a parameter, their text 3 ms.
_TOUCHED = (
    "study_instance_uid IN {studies:Array(String)}"
    f" AND substring(content_sha256, 1, {_HASH_DIGITS}) IN splitByChar(',', {{contents:String}})"
)

_DESCRIBED = (
    "sop_class_uid, transfer_syntax_uid, patient_id, issuer_of_patient_id, patient_name,"
    " patient_birth_date, patient_sex, accession_number, study_date, study_time,"
    " study_description, series_number, series_description, instance_number, modality,"
    " body_part_examined, station_name, manufacturer, size_bytes, header_complete,"
    " header_reason, header, tags"
)

# The newest scan describes the content, of equal ones the earliest delivery's: the same bytes
# may have come under two transfer syntaxes, and a row is never mixed from both. Which row that is
# follows from narrow columns; the wide ones are read once and neither sorted nor grouped. A row
# that stands twice in `received` comes twice and is merged into one.
_INSTANCES = f"""
INSERT INTO instance_rows ({_KEY}, {_DESCRIBED}, site, calling_ae_title, called_ae_title,
    received_at, deliveries, archived_at, bucket, object_key, offset_bytes, length_bytes, knowledge)
SELECT {_KEY}, {_DESCRIBED}, first.4, first.5, first.6,
    first.1, deliveries, location.5, location.4, location.1, location.2, location.3,
    received_rows + archived_rows
FROM
(
    SELECT {_KEY}, delivery_id, scanner_version, {_DESCRIBED} FROM received WHERE {_TOUCHED}
) AS d
INNER JOIN
(
    SELECT {_KEY}, -newest.1 AS scanner_version, newest.3 AS delivery_id,
        first, deliveries, received_rows, location, archived_rows
    FROM
    (
        SELECT {_KEY},
            min((received_at, delivery_id, gateway_id, site, calling_ae_title, called_ae_title))
                AS first,
            min((-toInt64(scanner_version), received_at, delivery_id)) AS newest,
            uniqExact(delivery_id) AS deliveries,
            uniqExact(delivery_id, scanner_version) AS received_rows
        FROM received WHERE {_TOUCHED} GROUP BY {_KEY}
    ) AS f
    INNER JOIN
    (
        SELECT {_KEY},
            min((object_key, offset_bytes, length_bytes, bucket, archived_at)) AS location,
            uniqExact(delivery_id, object_key) AS archived_rows
        FROM archived WHERE {_TOUCHED} GROUP BY {_KEY}
    ) AS a USING ({_KEY})
) AS w USING ({_KEY}, delivery_id, scanner_version)
"""

_PATIENT = "patient_id, issuer_of_patient_id, patient_name, patient_birth_date, patient_sex"
_SPEAKER = (
    f"sop_instance_uid, content_sha256, {_PATIENT}, accession_number, study_date, study_time,"
    " study_description, series_number, series_description, modality, body_part_examined,"
    " station_name, manufacturer"
)

# Instances without a Study Instance UID belong to no study and would meet strangers in one row.
# Grouping by patient first keeps two patients under one series apart, instead of mixing them.
_SERIES = f"""
INSERT INTO series_rows (study_instance_uid, series_instance_uid, first_instance, instances,
    sop_instances, size_bytes, modalities, sites, calling_ae_titles, accession_numbers, patients,
    first_received_at, last_received_at, last_archived_at, knowledge)
SELECT study_instance_uid, series_instance_uid,
    argMin(p.speaker, (p.speaker.1, p.speaker.2)),
    sum(p.instances), length(groupUniqArrayArray(p.sops)), sum(p.size_bytes),
    arraySort(groupUniqArrayArray(p.modalities)), arraySort(groupUniqArrayArray(p.sites)),
    arraySort(groupUniqArrayArray(p.calling_ae_titles)),
    arraySort(groupUniqArrayArray(p.accession_numbers)),
    arraySort(groupArray((p.speaker.3, p.speaker.4, p.speaker.5, p.speaker.6, p.speaker.7,
        p.instances, p.size_bytes, p.first_received_at, p.last_received_at))),
    min(p.first_received_at), max(p.last_received_at), max(p.last_archived_at), sum(p.knowledge)
FROM
(
    SELECT study_instance_uid, series_instance_uid, i.patient_id AS id,
        i.issuer_of_patient_id AS issuer,
        argMin(({_SPEAKER}), (sop_instance_uid, content_sha256)) AS speaker,
        count() AS instances, groupUniqArray(sop_instance_uid) AS sops,
        sum(i.size_bytes) AS size_bytes, groupUniqArray(i.modality) AS modalities,
        groupUniqArray(i.site) AS sites, groupUniqArray(i.calling_ae_title) AS calling_ae_titles,
        groupUniqArray(i.accession_number) AS accession_numbers,
        min(i.received_at) AS first_received_at, max(i.received_at) AS last_received_at,
        max(i.archived_at) AS last_archived_at, sum(i.knowledge) AS knowledge
    FROM instance_rows AS i FINAL
    WHERE study_instance_uid != '' AND study_instance_uid IN {{studies:Array(String)}}
        AND series_instance_uid IN {{series:Array(String)}}
    GROUP BY study_instance_uid, series_instance_uid, id, issuer
) AS p
GROUP BY study_instance_uid, series_instance_uid
SETTINGS use_skip_indexes_if_final = 1
"""

# A study is what its series are, the smallest Series Instance UID speaks for it. Read after the
# series were written, so that of two writers the later one has seen the series of both.
# The view says what a study is, so that a migration and this can never mean two things by it; its
# filter prunes `series_rows` by primary key as if it stood inside.
_STUDIES = """
INSERT INTO study_rows SELECT * FROM study_rows_of_series
WHERE study_instance_uid IN {studies:Array(String)}
"""

# Pair by pair: other transfer syntaxes, other_encoding; else equal headers or pixel data of
# different length, other_pixels; else other_header. Over all pairs the gravest is shown, so that
# a router's re-encoding never hides changed pixels.
_CONFLICTS = """
INSERT INTO conflict_rows (sop_instance_uid, kind, contents, study_instance_uids, content_sha256s,
    transfer_syntax_uids, sites, first_received_at, last_received_at, knowledge)
SELECT sop_instance_uid,
    multiIf(max(same_header OR other_length), 'other_pixels', max(several), 'other_header',
        'other_encoding'),
    length(groupUniqArrayArray(keys)), arraySort(groupUniqArrayArray(studies)),
    arraySort(groupUniqArrayArray(hashes)), arraySort(groupUniqArray(transfer_syntax_uid)),
    arraySort(groupUniqArrayArray(t.sites)), min(first_at), max(last_at), sum(rows_seen)
FROM
(
    SELECT sop_instance_uid, transfer_syntax_uid,
        groupUniqArray((study_instance_uid, series_instance_uid, content_sha256)) AS keys,
        groupUniqArray(study_instance_uid) AS studies, groupUniqArray(content_sha256) AS hashes,
        groupUniqArrayArray(c.sites) AS sites, min(first_at) AS first_at, max(last_at) AS last_at,
        count() > 1 AS several, uniqExact(scan.2) < count() AS same_header,
        uniqExact(scan.3) > 1 AS other_length, sum(rows_seen) AS rows_seen
    FROM
    (
        SELECT sop_instance_uid, transfer_syntax_uid, study_instance_uid, series_instance_uid,
            content_sha256, max((scanner_version, header_hash, pixel_data_bytes)) AS scan,
            groupUniqArray(s.site) AS sites,
            min(received_at) AS first_at, max(received_at) AS last_at,
            uniqExact(delivery_id, scanner_version) AS rows_seen
        FROM sop_contents AS s
        WHERE sop_instance_uid IN {sops:Array(String)}
        GROUP BY sop_instance_uid, transfer_syntax_uid, study_instance_uid, series_instance_uid,
            content_sha256
    ) AS c
    GROUP BY sop_instance_uid, transfer_syntax_uid
) AS t
GROUP BY sop_instance_uid
HAVING length(groupUniqArrayArray(keys)) > 1
"""

# Narrow, because nearly no SOP Instance has more than one content.
_SEVERAL = f"""
SELECT sop_instance_uid FROM sop_contents
WHERE sop_instance_uid IN (SELECT sop_instance_uid FROM received WHERE {_TOUCHED})
GROUP BY sop_instance_uid
HAVING uniqExact(study_instance_uid, series_instance_uid, content_sha256) > 1
ORDER BY sop_instance_uid
"""

_ARCHIVED = f"SELECT DISTINCT content_sha256 FROM archived WHERE {_TOUCHED}"


def archived_among(database: Database, contents: Sequence[ContentKey]) -> list[ContentKey]:
    """Those of `contents` that a pack holds; asked after inserting the other half of each.

    What is not among them is composed by whoever inserts its second half, because that writer
    finds the first one. Raises RetryableError, FatalError.
    """
    found = {
        row["content_sha256"]
        for parameters in _statements(contents)
        for row in database.query(_ARCHIVED, parameters)
    }
    return [content for content in contents if content.content_sha256 in found]


def compose_instances(database: Database, contents: Sequence[ContentKey]) -> None:
    """Writes every whole instance among `contents`, and the series and studies that hold one.

    On return the views `instances`, `series`, `studies` and `patients` tell what both halves
    hold. Idempotent. Raises RetryableError, FatalError.
    """
    for parameters in _statements(contents):
        database.command(_INSTANCES, parameters)
        database.command(_SERIES, parameters)
        database.command(_STUDIES, parameters)


def compose_conflicts(database: Database, contents: Sequence[ContentKey]) -> None:
    """Writes a conflict for each SOP Instance of `contents` that has more than one content.

    Idempotent. Raises RetryableError, FatalError.
    """
    for parameters in _statements(contents):
        several = [row["sop_instance_uid"] for row in database.query(_SEVERAL, parameters)]
        for start in range(0, len(several), UIDS_PER_STATEMENT_MAX):
            part = several[start : start + UIDS_PER_STATEMENT_MAX]
            database.command(_CONFLICTS, {"sops": part})


def _statements(contents: Sequence[ContentKey]) -> Iterator[Mapping[str, object]]:
    """The parameters of each statement; those of one study meet in one statement if they can."""
    studies: set[str] = set()
    series: set[str] = set()
    hashes: set[str] = set()
    # As plain tuples: to sort 5,000 contents themselves takes 10 ms, these 2 ms.
    named = [
        (one.study_instance_uid, one.series_instance_uid, one.content_sha256[:_HASH_DIGITS])
        for one in contents
    ]
    for study, of_series, digits in sorted(named):
        is_full = len(hashes) >= CONTENTS_PER_STATEMENT_MAX
        if is_full or max(len(studies), len(series)) >= UIDS_PER_STATEMENT_MAX:
            yield _parameters(studies, series, hashes)
            studies, series, hashes = set(), set(), set()
        studies.add(study)
        series.add(of_series)
        hashes.add(digits)
    if hashes:
        yield _parameters(studies, series, hashes)


def _parameters(studies: set[str], series: set[str], hashes: set[str]) -> Mapping[str, object]:
    return {
        "studies": sorted(studies),
        "series": sorted(series),
        "contents": ",".join(sorted(hashes)),
    }
