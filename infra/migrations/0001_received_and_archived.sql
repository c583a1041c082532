-- The two halves of an instance as they arrive, in any order and any number of times.
-- Both tables only ever grow by their key: a repeated row is the same row, so merging needs
-- neither offset nor clock. On a cluster: ReplicatedReplacingMergeTree, the rest unchanged, and
-- insert_quorum='auto' with select_sequential_consistency=1 for the index writers.

CREATE TABLE IF NOT EXISTS {database}.received
(
    study_instance_uid String COMMENT '(0020,000D), empty where the data set has no valid one' CODEC(ZSTD(1)),
    series_instance_uid String COMMENT '(0020,000E), empty where the data set has no valid one' CODEC(ZSTD(1)),
    sop_instance_uid String COMMENT 'Affected SOP Instance UID of the C-STORE' CODEC(ZSTD(1)),
    content_sha256 String COMMENT 'of the data set as received, lowercase hex' CODEC(ZSTD(1)),
    delivery_id String COMMENT 'one accepted C-STORE, UUIDv7' CODEC(ZSTD(1)),
    scanner_version UInt32 COMMENT 'of the header scan; the newest one describes the content',
    site LowCardinality(String),
    gateway_id LowCardinality(String),
    calling_ae_title LowCardinality(String),
    called_ae_title LowCardinality(String),
    received_at DateTime64(6, 'UTC') COMMENT 'when the gateway accepted it, by its clock',
    size_bytes UInt64 COMMENT 'of the data set',
    sop_class_uid LowCardinality(String),
    transfer_syntax_uid LowCardinality(String),
    patient_id String CODEC(ZSTD(1)),
    issuer_of_patient_id LowCardinality(String),
    patient_name String COMMENT 'alphabetic component group' CODEC(ZSTD(1)),
    patient_birth_date Nullable(Date32) COMMENT 'NULL where absent or not a date; raw in tags',
    patient_sex LowCardinality(String),
    accession_number String CODEC(ZSTD(1)),
    study_date Nullable(Date32) COMMENT 'NULL where absent or not a date; raw in tags',
    study_time String COMMENT 'DICOM TM as sent' CODEC(ZSTD(1)),
    study_description LowCardinality(String),
    series_number Nullable(Int64),
    series_description LowCardinality(String),
    instance_number Nullable(Int64),
    modality LowCardinality(String),
    body_part_examined LowCardinality(String),
    station_name LowCardinality(String),
    manufacturer LowCardinality(String),
    header_complete Bool,
    header_reason LowCardinality(String) COMMENT 'why header_complete is false',
    header String COMMENT 'DICOM JSON Model (PS3.18 Annex F) without bulk data' CODEC(ZSTD(3)),
    tags Map(LowCardinality(String), String) COMMENT 'text by path of keywords, RequestAttributesSequence.0.ScheduledProcedureStepID; private elements (gggg,creator,ee); at most 64 items of a sequence and 4096 texts, the header has all' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (study_instance_uid, series_instance_uid, sop_instance_uid, content_sha256, delivery_id, scanner_version)
COMMENT 'First half of an instance: what a gateway accepted and what its header says';

CREATE TABLE IF NOT EXISTS {database}.archived
(
    study_instance_uid String CODEC(ZSTD(1)),
    series_instance_uid String CODEC(ZSTD(1)),
    sop_instance_uid String CODEC(ZSTD(1)),
    content_sha256 String CODEC(ZSTD(1)),
    delivery_id String CODEC(ZSTD(1)),
    object_key String COMMENT 'of the pack' CODEC(ZSTD(1)),
    bucket LowCardinality(String),
    offset_bytes UInt64 COMMENT 'of the Part-10 member inside the pack',
    length_bytes UInt64 COMMENT 'of the Part-10 member',
    archived_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (study_instance_uid, series_instance_uid, sop_instance_uid, content_sha256, delivery_id, object_key)
COMMENT 'Second half of an instance: where a pack of the archive holds it';
