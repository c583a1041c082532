-- Everything known of one delivery, from whichever event told it first. Each column has one true
-- value per delivery or none at all, so max and min only ever choose between it and "not told yet".

CREATE TABLE IF NOT EXISTS {database}.delivery_rows
(
    delivery_id String COMMENT 'UUIDv7: sorted by time of acceptance' CODEC(ZSTD(1)),
    study_instance_uid SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    series_instance_uid SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    sop_instance_uid SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    content_sha256 SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    site SimpleAggregateFunction(max, LowCardinality(String)),
    gateway_id SimpleAggregateFunction(max, LowCardinality(String)),
    association_id SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    calling_ae_title SimpleAggregateFunction(max, LowCardinality(String)),
    called_ae_title SimpleAggregateFunction(max, LowCardinality(String)),
    peer_address SimpleAggregateFunction(max, LowCardinality(String)),
    sop_class_uid SimpleAggregateFunction(max, LowCardinality(String)),
    transfer_syntax_uid SimpleAggregateFunction(max, LowCardinality(String)),
    modality SimpleAggregateFunction(max, LowCardinality(String)),
    accession_number SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    size_bytes SimpleAggregateFunction(max, UInt64),
    response_status SimpleAggregateFunction(max, Nullable(UInt16)) COMMENT 'of the C-STORE response, from the receipt',
    answered_at SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))) COMMENT 'from the receipt',
    received_at SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    published_at SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    quarantine_reason SimpleAggregateFunction(max, LowCardinality(String)),
    area SimpleAggregateFunction(max, LowCardinality(String)) COMMENT 'packs or quarantine, once archived',
    locations SimpleAggregateFunction(groupUniqArrayArray, Array(Tuple(
        object_key String,
        bucket String,
        offset_bytes UInt64,
        length_bytes UInt64,
        archived_at DateTime64(6, 'UTC')))) COMMENT 'every pack that holds it' CODEC(ZSTD(1)),
    replicated_at SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    received_indexed_at SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))) COMMENT 'first insert of this half, by the writer''s clock',
    archived_indexed_at SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))) COMMENT 'first insert of this half, by the writer''s clock',
    INDEX by_study_instance_uid study_instance_uid TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_series_instance_uid series_instance_uid TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_sop_instance_uid sop_instance_uid TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_accession_number accession_number TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_association_id association_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_area area TYPE set(4) GRANULARITY 1
)
ENGINE = AggregatingMergeTree
ORDER BY delivery_id
COMMENT 'What is known of each delivery; read the view deliveries';

-- No subcolumn of `locations` is read here: FINAL merges the column, and a subcolumn read beside it
-- comes from one row that was not merged (ClickHouse 26.9).
CREATE OR REPLACE VIEW {database}.deliveries AS
SELECT
    delivery_id,
    study_instance_uid,
    series_instance_uid,
    sop_instance_uid,
    content_sha256,
    site,
    gateway_id,
    association_id,
    calling_ae_title,
    called_ae_title,
    peer_address,
    sop_class_uid,
    transfer_syntax_uid,
    modality,
    accession_number,
    size_bytes,
    multiIf(
        area = 'quarantine', 'quarantined',
        isNotNull(r.replicated_at), 'replicated',
        isNotNull(indexed_at), 'indexed',
        isNotNull(archived_at), 'archived',
        isNotNull(published_at), 'published',
        isNotNull(response_status) AND response_status != 0 AND bitShiftRight(assumeNotNull(response_status), 12) != 11, 'not_accepted',
        'spooled') AS status,
    response_status,
    coalesce(r.received_at, r.answered_at) AS received_at,
    coalesce(r.received_at, r.answered_at) AS spooled_at,
    coalesce(r.published_at, r.received_indexed_at) AS published_at,
    if(empty(locations), NULL, arrayMin(l -> l.archived_at, locations)) AS archived_at,
    if(area = 'packs' AND isNotNull(r.received_indexed_at),
        greatest(r.received_indexed_at, r.archived_indexed_at), NULL) AS indexed_at,
    r.replicated_at AS replicated_at,
    quarantine_reason,
    area,
    tupleElement(arraySort(locations)[1], 'bucket') AS bucket,
    tupleElement(arraySort(locations)[1], 'object_key') AS object_key,
    tupleElement(arraySort(locations)[1], 'offset_bytes') AS offset_bytes,
    tupleElement(arraySort(locations)[1], 'length_bytes') AS length_bytes
FROM {database}.delivery_rows AS r FINAL
SETTINGS use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 1
COMMENT 'One row per delivery: where it is and since when';

CREATE OR REPLACE VIEW {database}.quarantine AS
SELECT
    delivery_id, quarantine_reason AS reason, sop_instance_uid, study_instance_uid, series_instance_uid,
    content_sha256, site, gateway_id, association_id, calling_ae_title, called_ae_title, peer_address,
    received_at, archived_at, replicated_at, size_bytes, bucket, object_key, offset_bytes, length_bytes
FROM {database}.deliveries
WHERE area = 'quarantine'
COMMENT 'Deliveries that were set aside: kept, in no study, waiting for a person';
