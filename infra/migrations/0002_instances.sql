-- Whole instances, composed by the index writer from both halves whenever one of them arrives.
-- `knowledge` counts the rows a composition has seen; both halves only grow, so the row with the
-- larger count has seen everything the other has, and it wins whatever the order of the inserts.

CREATE TABLE IF NOT EXISTS {database}.instance_rows
(
    site LowCardinality(String) COMMENT 'of the first delivery',
    study_instance_uid String COMMENT '(0020,000D), empty where the data set has no valid one' CODEC(ZSTD(1)),
    series_instance_uid String COMMENT '(0020,000E), empty where the data set has no valid one' CODEC(ZSTD(1)),
    sop_instance_uid String COMMENT 'Affected SOP Instance UID of the C-STORE' CODEC(ZSTD(1)),
    content_sha256 String COMMENT 'of the data set as received, lowercase hex' CODEC(ZSTD(1)),
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
    calling_ae_title LowCardinality(String) COMMENT 'of the first delivery',
    called_ae_title LowCardinality(String) COMMENT 'of the first delivery',
    size_bytes UInt64 COMMENT 'of the data set',
    received_at DateTime64(6, 'UTC') COMMENT 'of the first delivery, by its gateway''s clock',
    archived_at DateTime64(6, 'UTC') COMMENT 'of the pack under object_key',
    bucket LowCardinality(String),
    object_key String COMMENT 'the smallest one that holds this content' CODEC(ZSTD(1)),
    offset_bytes UInt64 COMMENT 'of the Part-10 member inside the pack',
    length_bytes UInt64 COMMENT 'of the Part-10 member',
    deliveries UInt32 COMMENT 'how often it was received',
    header_complete Bool,
    header_reason LowCardinality(String) COMMENT 'why header_complete is false',
    header String COMMENT 'DICOM JSON Model (PS3.18 Annex F) without bulk data' CODEC(ZSTD(3)),
    tags Map(LowCardinality(String), String) COMMENT 'text by path of keywords, RequestAttributesSequence.0.ScheduledProcedureStepID; private elements (gggg,creator,ee); at most 64 items of a sequence and 4096 texts, the header has all' CODEC(ZSTD(3)),
    knowledge UInt64 COMMENT 'rows of both halves seen by the composition; the largest wins',
    INDEX by_sop_instance_uid sop_instance_uid TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_accession_number accession_number TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_patient_id patient_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_received_at received_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(knowledge)
ORDER BY (study_instance_uid, series_instance_uid, sop_instance_uid, content_sha256)
COMMENT 'Whole instances, one row per content once merged; read the view instances';

-- Exact mode reads, beside what a skip index chose, every other row of the same keys: without it
-- a filter could pick an older row of a content whose newest one it does not match.
CREATE OR REPLACE VIEW {database}.instances AS
SELECT * EXCEPT (knowledge)
FROM {database}.instance_rows FINAL
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1
COMMENT 'One row per content that the archive holds';
