-- One row per study, composed from its series like they are from instances. The view `studies`
-- grouped all series for every question: a filter on a patient, a date or an accession number
-- could not reach the rows before they were grouped.

CREATE TABLE IF NOT EXISTS {database}.study_rows
(
    study_instance_uid String CODEC(ZSTD(1)),
    patient_id String CODEC(ZSTD(1)),
    issuer_of_patient_id String CODEC(ZSTD(1)),
    patient_name String CODEC(ZSTD(1)),
    patient_birth_date Nullable(Date32),
    patient_sex String,
    accession_number String CODEC(ZSTD(1)),
    study_date Nullable(Date32),
    study_time String CODEC(ZSTD(1)),
    study_description String CODEC(ZSTD(1)),
    series UInt64,
    instances UInt64 COMMENT 'contents',
    sop_instances UInt64 COMMENT 'distinct SOP Instance UIDs, summed over series',
    size_bytes UInt64,
    modalities Array(String) CODEC(ZSTD(1)),
    sites Array(String) CODEC(ZSTD(1)),
    calling_ae_titles Array(String) CODEC(ZSTD(1)),
    accession_numbers Array(String) CODEC(ZSTD(1)),
    patient_ids Array(String) COMMENT 'more than one is a fault of the sender' CODEC(ZSTD(1)),
    first_received_at DateTime64(6, 'UTC'),
    last_received_at DateTime64(6, 'UTC'),
    last_archived_at DateTime64(6, 'UTC'),
    knowledge UInt64 COMMENT 'sum over the series; the largest wins',
    INDEX by_patient_id patient_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_accession_number accession_number TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_study_date study_date TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(knowledge)
ORDER BY study_instance_uid
COMMENT 'Counts per study, one row per study once merged; read the view studies';

-- What index writers compose, study by study, and what this migration fills the table with.
CREATE OR REPLACE VIEW {database}.study_rows_of_series AS
SELECT
    study_instance_uid, speaker.patient_id, speaker.issuer_of_patient_id, speaker.patient_name,
    speaker.patient_birth_date, speaker.patient_sex, speaker.accession_number, speaker.study_date,
    speaker.study_time, speaker.study_description, series, instances, sop_instances, size_bytes,
    modalities, sites, calling_ae_titles, accession_numbers, patient_ids, first_received_at,
    last_received_at, last_archived_at, knowledge
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
        max(s.last_archived_at) AS last_archived_at,
        sum(s.knowledge) AS knowledge
    FROM {database}.series_rows AS s FINAL
    GROUP BY study_instance_uid
)
COMMENT 'What study_rows says, composed anew from its series; for index writers';

-- Writers of earlier versions must not run meanwhile (`hilum up` stops them): what they add to a
-- study's series is not seen again. In sixteen parts, each within the time that one statement has;
-- repeating them changes nothing.
INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 0;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 1;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 2;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 3;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 4;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 5;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 6;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 7;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 8;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 9;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 10;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 11;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 12;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 13;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 14;

INSERT INTO {database}.study_rows SELECT * FROM {database}.study_rows_of_series
WHERE cityHash64(study_instance_uid) % 16 = 15;

CREATE OR REPLACE VIEW {database}.studies AS
SELECT * EXCEPT (knowledge)
FROM {database}.study_rows FINAL
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1
COMMENT 'One row per Study Instance UID, with counts of whole instances';
