"""Which calling AE titles wait longest from the C-STORE to the archive and to the index.

    python examples/clickhouse/slowest_ae_titles.py [--port 8123] [--days 30] [--top 20]

Needs nothing but `pip install clickhouse-connect`. Seconds; p50 and p95 over deliveries.
"""

from __future__ import annotations

import argparse

import clickhouse_connect

QUERY = """
SELECT site, calling_ae_title, count() AS deliveries,
    quantileExact(0.5)(to_archive) AS archive_p50, quantileExact(0.95)(to_archive) AS archive_p95,
    quantileExact(0.95)(to_index) AS index_p95, max(to_index) AS index_max
FROM
(
    SELECT site, calling_ae_title,
        dateDiff('millisecond', received_at, archived_at) / 1000 AS to_archive,
        dateDiff('millisecond', received_at, indexed_at) / 1000 AS to_index
    FROM deliveries
    WHERE isNotNull(indexed_at) AND received_at >= now() - toIntervalDay({days:UInt32})
)
GROUP BY site, calling_ae_title
ORDER BY archive_p95 DESC, site, calling_ae_title
LIMIT {top:UInt32}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="slowest AE titles")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--database", default="hilum")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--top", type=int, default=20)
    options = parser.parse_args()
    client = clickhouse_connect.get_client(
        host=options.host, port=options.port, database=options.database
    )
    found = client.query(QUERY, parameters={"days": options.days, "top": options.top})
    print(f"{'site':<16} {'AE title':<16} {'deliveries':>10}", end=" ")
    print(f"{'archive p50':>12} {'archive p95':>12} {'index p95':>10} {'index max':>10}")
    for site, ae_title, deliveries, *seconds in found.result_rows:
        archive_p50, archive_p95, index_p95, index_max = seconds
        print(f"{site:<16} {ae_title:<16} {deliveries:>10}", end=" ")
        print(f"{archive_p50:>12.2f} {archive_p95:>12.2f} {index_p95:>10.2f} {index_max:>10.2f}")


if __name__ == "__main__":
    main()
