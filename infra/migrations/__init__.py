"""The numbered statements that make Hilum's ClickHouse database; `infra.migrate` applies them."""
