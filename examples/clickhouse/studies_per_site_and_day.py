"""Studies, instances and bytes per site and day of first arrival.

    python examples/clickhouse/studies_per_site_and_day.py [--port 8123]

Needs nothing but `pip install clickhouse-connect`; a study that two sites sent counts at both.
"""

from __future__ import annotations

import argparse

import clickhouse_connect

QUERY = """
SELECT site, toDate(first_received_at) AS day, count() AS studies, sum(instances) AS instances,
    formatReadableSize(sum(size_bytes)) AS volume
FROM studies
ARRAY JOIN sites AS site
GROUP BY site, day
ORDER BY day, site
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="studies per site and day")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--database", default="hilum")
    options = parser.parse_args()
    client = clickhouse_connect.get_client(
        host=options.host, port=options.port, database=options.database
    )
    print(f"{'site':<16} {'day':<10} {'studies':>8} {'instances':>10} {'volume':>12}")
    for site, day, studies, instances, volume in client.query(QUERY).result_rows:
        print(f"{site:<16} {day} {studies:>8} {instances:>10} {volume:>12}")


if __name__ == "__main__":
    main()
