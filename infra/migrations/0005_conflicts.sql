-- One SOP Instance UID with more than one content. Found by the index writer among the SOP
-- Instances it has just written, so that nobody ever groups all contents to list a handful.

CREATE TABLE IF NOT EXISTS {database}.sop_contents
(
    sop_instance_uid String CODEC(ZSTD(1)),
    study_instance_uid String CODEC(ZSTD(1)),
    series_instance_uid String CODEC(ZSTD(1)),
    content_sha256 String CODEC(ZSTD(1)),
    transfer_syntax_uid LowCardinality(String),
    scanner_version UInt32,
    header_hash UInt64 COMMENT 'of the header JSON',
    pixel_data_bytes UInt64 COMMENT 'length of the pixel data element, 0 without one',
    site LowCardinality(String),
    received_at DateTime64(6, 'UTC'),
    delivery_id String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (sop_instance_uid, study_instance_uid, series_instance_uid, content_sha256, transfer_syntax_uid, scanner_version, delivery_id)
COMMENT 'Contents by SOP Instance UID';

CREATE TABLE IF NOT EXISTS {database}.conflict_rows
(
    sop_instance_uid String CODEC(ZSTD(1)),
    kind LowCardinality(String) COMMENT 'other_pixels, other_header or other_encoding: the gravest that holds',
    contents UInt32,
    study_instance_uids Array(String),
    content_sha256s Array(String),
    transfer_syntax_uids Array(String),
    sites Array(String),
    first_received_at DateTime64(6, 'UTC'),
    last_received_at DateTime64(6, 'UTC'),
    knowledge UInt64
)
ENGINE = ReplacingMergeTree(knowledge)
ORDER BY sop_instance_uid
COMMENT 'SOP Instance UIDs with more than one content; read the view conflicts';

CREATE OR REPLACE VIEW {database}.conflicts AS
SELECT * EXCEPT (knowledge)
FROM {database}.conflict_rows FINAL
COMMENT 'SOP Instance UIDs under which different bytes were received; all versions are kept';
