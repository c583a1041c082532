-- Index writers read the studies that a batch touches. A study that is not in a part still lies
-- between two marks of its primary key there, so each part had a granule read for each study: a
-- filter over the granule says that it is not in it. Of a column of the key, so no version of a
-- row can hide behind it. Parts from before get theirs when they are merged.

ALTER TABLE {database}.received
    ADD INDEX IF NOT EXISTS by_study_instance_uid study_instance_uid TYPE bloom_filter(0.001) GRANULARITY 1;

ALTER TABLE {database}.archived
    ADD INDEX IF NOT EXISTS by_study_instance_uid study_instance_uid TYPE bloom_filter(0.001) GRANULARITY 1;

ALTER TABLE {database}.instance_rows
    ADD INDEX IF NOT EXISTS by_study_instance_uid study_instance_uid TYPE bloom_filter(0.001) GRANULARITY 1;

ALTER TABLE {database}.sop_contents
    ADD INDEX IF NOT EXISTS by_sop_instance_uid sop_instance_uid TYPE bloom_filter(0.001) GRANULARITY 1;
