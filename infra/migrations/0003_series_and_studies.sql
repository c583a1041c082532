-- One small row per series, composed like instances from the series' own whole rows: absolute
-- numbers, so that a replay changes nothing. Studies and patients are read from them.

CREATE TABLE IF NOT EXISTS {database}.series_rows
(
    study_instance_uid String CODEC(ZSTD(1)),
    series_instance_uid String CODEC(ZSTD(1)),
    first_instance Tuple(
        sop_instance_uid String,
        content_sha256 String,
        patient_id String,
        issuer_of_patient_id String,
        patient_name String,
        patient_birth_date Nullable(Date32),
        patient_sex String,
        accession_number String,
        study_date Nullable(Date32),
        study_time String,
        study_description String,
        series_number Nullable(Int64),
        series_description String,
        modality String,
        body_part_examined String,
        station_name String,
        manufacturer String) COMMENT 'the smallest SOP Instance UID speaks for the series' CODEC(ZSTD(1)),
    instances UInt64 COMMENT 'contents',
    sop_instances UInt64 COMMENT 'distinct SOP Instance UIDs',
    size_bytes UInt64,
    modalities Array(String) CODEC(ZSTD(1)),
    sites Array(String) CODEC(ZSTD(1)),
    calling_ae_titles Array(String) CODEC(ZSTD(1)),
    accession_numbers Array(String) CODEC(ZSTD(1)),
    patients Array(Tuple(
        patient_id String,
        issuer_of_patient_id String,
        patient_name String,
        patient_birth_date Nullable(Date32),
        patient_sex String,
        instances UInt64,
        size_bytes UInt64,
        first_received_at DateTime64(6, 'UTC'),
        last_received_at DateTime64(6, 'UTC'))) COMMENT 'more than one is a fault of the sender' CODEC(ZSTD(1)),
    first_received_at DateTime64(6, 'UTC'),
    last_received_at DateTime64(6, 'UTC'),
    last_archived_at DateTime64(6, 'UTC'),
    knowledge UInt64 COMMENT 'sum over the instances; the largest wins'
)
ENGINE = ReplacingMergeTree(knowledge)
ORDER BY (study_instance_uid, series_instance_uid)
COMMENT 'Counts per series, one row per series once merged; read the views series, studies, patients';

CREATE OR REPLACE VIEW {database}.series AS
SELECT
    study_instance_uid,
    series_instance_uid,
    first_instance.series_number AS series_number,
    first_instance.series_description AS series_description,
    first_instance.modality AS modality,
    first_instance.body_part_examined AS body_part_examined,
    first_instance.station_name AS station_name,
    first_instance.manufacturer AS manufacturer,
    first_instance.patient_id AS patient_id,
    first_instance.issuer_of_patient_id AS issuer_of_patient_id,
    first_instance.patient_name AS patient_name,
    first_instance.patient_birth_date AS patient_birth_date,
    first_instance.patient_sex AS patient_sex,
    first_instance.accession_number AS accession_number,
    first_instance.study_date AS study_date,
    first_instance.study_time AS study_time,
    first_instance.study_description AS study_description,
    instances,
    sop_instances,
    size_bytes,
    modalities,
    sites,
    calling_ae_titles,
    accession_numbers,
    arraySort(patients.patient_id) AS patient_ids,
    first_received_at,
    last_received_at,
    last_archived_at
FROM {database}.series_rows FINAL
COMMENT 'One row per series that has a Study Instance UID, with counts of whole instances';

CREATE OR REPLACE VIEW {database}.studies AS
SELECT
    study_instance_uid,
    speaker.patient_id AS patient_id,
    speaker.issuer_of_patient_id AS issuer_of_patient_id,
    speaker.patient_name AS patient_name,
    speaker.patient_birth_date AS patient_birth_date,
    speaker.patient_sex AS patient_sex,
    speaker.accession_number AS accession_number,
    speaker.study_date AS study_date,
    speaker.study_time AS study_time,
    speaker.study_description AS study_description,
    series,
    instances,
    sop_instances,
    size_bytes,
    modalities,
    sites,
    calling_ae_titles,
    accession_numbers,
    patient_ids,
    first_received_at,
    last_received_at,
    last_archived_at
FROM
(
    SELECT
        study_instance_uid,
        argMin(first_instance, series_instance_uid) AS speaker,
        count() AS series,
        sum(s.instances) AS instances,
        sum(s.sop_instances) AS sop_instances,
        sum(s.size_bytes) AS size_bytes,
        arraySort(groupUniqArrayArray(s.modalities)) AS modalities,
        arraySort(groupUniqArrayArray(s.sites)) AS sites,
        arraySort(groupUniqArrayArray(s.calling_ae_titles)) AS calling_ae_titles,
        arraySort(groupUniqArrayArray(s.accession_numbers)) AS accession_numbers,
        arraySort(groupUniqArrayArray(s.patients.patient_id)) AS patient_ids,
        min(s.first_received_at) AS first_received_at,
        max(s.last_received_at) AS last_received_at,
        max(s.last_archived_at) AS last_archived_at
    FROM {database}.series_rows AS s FINAL
    GROUP BY study_instance_uid
)
COMMENT 'One row per Study Instance UID, with counts of whole instances';

CREATE OR REPLACE VIEW {database}.patients AS
SELECT
    patient_id,
    issuer_of_patient_id,
    speaker.1 AS patient_name,
    speaker.2 AS patient_birth_date,
    speaker.3 AS patient_sex,
    studies,
    series,
    instances,
    size_bytes,
    first_received_at,
    last_received_at
FROM
(
    SELECT
        patient.patient_id AS patient_id,
        patient.issuer_of_patient_id AS issuer_of_patient_id,
        argMin((patient.patient_name, patient.patient_birth_date, patient.patient_sex),
            (study_instance_uid, series_instance_uid)) AS speaker,
        uniqExact(study_instance_uid) AS studies,
        count() AS series,
        sum(patient.instances) AS instances,
        sum(patient.size_bytes) AS size_bytes,
        min(patient.first_received_at) AS first_received_at,
        max(patient.last_received_at) AS last_received_at
    FROM (SELECT study_instance_uid, series_instance_uid, patients FROM {database}.series_rows FINAL)
    ARRAY JOIN patients AS patient
    GROUP BY patient_id, issuer_of_patient_id
)
COMMENT 'One row per Patient ID and issuer, over instances with a Study Instance UID';
