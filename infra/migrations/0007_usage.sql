-- Facts per delivery, and the intervals that were published from them.

CREATE TABLE IF NOT EXISTS {database}.usage_facts
(
    delivery_id String CODEC(ZSTD(1)),
    site SimpleAggregateFunction(max, LowCardinality(String)),
    calling_ae_title SimpleAggregateFunction(max, LowCardinality(String)),
    association_id SimpleAggregateFunction(max, String) CODEC(ZSTD(1)),
    scanned SimpleAggregateFunction(max, Tuple(scanner_version UInt32, modality String)) COMMENT 'the newest scan names the modality' CODEC(ZSTD(1)),
    received_at SimpleAggregateFunction(max, Nullable(DateTime64(6, 'UTC'))) COMMENT 'NULL until the delivery itself is known',
    size_bytes SimpleAggregateFunction(max, UInt64),
    archived_at SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    response_status SimpleAggregateFunction(max, Nullable(UInt16)),
    INDEX by_received_at received_at TYPE minmax GRANULARITY 1
)
ENGINE = AggregatingMergeTree
ORDER BY delivery_id
COMMENT 'What usage analytics knows of each delivery';

CREATE TABLE IF NOT EXISTS {database}.usage_intervals
(
    minute DateTime('UTC'),
    site LowCardinality(String),
    calling_ae_title LowCardinality(String),
    modality LowCardinality(String),
    deliveries UInt64,
    size_bytes UInt64,
    archived_deliveries UInt64,
    associations UInt64,
    computed_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(computed_at)
ORDER BY (minute, site, calling_ae_title, modality)
COMMENT 'Published intervals; read the view usage';

CREATE OR REPLACE VIEW {database}.usage AS
SELECT * FROM {database}.usage_intervals FINAL
WHERE deliveries > 0
COMMENT 'Absolute totals per site, calling AE title, modality and minute, as last published';
