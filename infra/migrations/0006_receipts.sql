-- What gateways answered, association by association, as their receipts tell it.

CREATE TABLE IF NOT EXISTS {database}.receipt_rows
(
    gateway_id LowCardinality(String),
    association_id String CODEC(ZSTD(1)),
    page_index UInt32,
    entry_index UInt32,
    delivery_id String COMMENT 'empty where nothing was kept' CODEC(ZSTD(1)),
    sop_instance_uid String CODEC(ZSTD(1)),
    content_sha256 String COMMENT 'empty where nothing was kept' CODEC(ZSTD(1)),
    status UInt16 COMMENT 'of the C-STORE response (PS3.7 C)',
    answered_at DateTime64(6, 'UTC'),
    site LowCardinality(String),
    calling_ae_title LowCardinality(String),
    called_ae_title LowCardinality(String),
    peer_address LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (gateway_id, association_id, page_index, entry_index, delivery_id)
COMMENT 'C-STORE responses; read the view receipts';

CREATE OR REPLACE VIEW {database}.receipts AS
SELECT * FROM {database}.receipt_rows FINAL
COMMENT 'One row per C-STORE response';

CREATE TABLE IF NOT EXISTS {database}.association_rows
(
    gateway_id LowCardinality(String),
    association_id String CODEC(ZSTD(1)),
    site SimpleAggregateFunction(max, LowCardinality(String)),
    calling_ae_title SimpleAggregateFunction(max, LowCardinality(String)),
    called_ae_title SimpleAggregateFunction(max, LowCardinality(String)),
    peer_address SimpleAggregateFunction(max, LowCardinality(String)),
    opened_at SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_answered_at SimpleAggregateFunction(max, Nullable(DateTime64(6, 'UTC'))),
    pages SimpleAggregateFunction(max, UInt32),
    ended SimpleAggregateFunction(max, LowCardinality(String)) COMMENT 'released, aborted, lost or gateway_lost; empty while open',
    totals SimpleAggregateFunction(maxMap, Map(UInt16, UInt64)) COMMENT 'responses by status, from the last page'
)
ENGINE = AggregatingMergeTree
ORDER BY (gateway_id, association_id)
COMMENT 'Associations; read the view associations';

CREATE OR REPLACE VIEW {database}.associations AS
SELECT * FROM {database}.association_rows FINAL
COMMENT 'One row per association: who, when, how it ended, responses by status';
