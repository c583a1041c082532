"""How many instances and bytes of each modality the archive holds, and how large one is.

    python examples/clickhouse/bytes_per_modality.py [--port 8123]

Needs nothing but `pip install clickhouse-connect`.
"""

from __future__ import annotations

import argparse

import clickhouse_connect

QUERY = """
SELECT if(modality = '', '(none)', modality) AS modality, count() AS instances,
    uniqExact(study_instance_uid) AS studies, sum(size_bytes) AS size_bytes
FROM instances
GROUP BY modality
ORDER BY size_bytes DESC
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="bytes per modality")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--database", default="hilum")
    options = parser.parse_args()
    client = clickhouse_connect.get_client(
        host=options.host, port=options.port, database=options.database
    )
    print(f"{'modality':<10} {'instances':>10} {'studies':>8} {'MB':>12} {'KB each':>10}")
    for modality, instances, studies, size_bytes in client.query(QUERY).result_rows:
        total, each = size_bytes / 1e6, size_bytes / instances / 1e3
        print(f"{modality:<10} {instances:>10} {studies:>8} {total:>12.1f} {each:>10.1f}")


if __name__ == "__main__":
    main()
