"""S3 stores for one machine: MinIO for the stack, versitygw as a second opinion in tests.

Invariant: both are built from a pinned version and listen on loopback alone.
It must not be needed in production: Hilum speaks plain S3 to whatever a site runs.
"""

from __future__ import annotations

from pathlib import Path

from infra.engines.cache import Report, engine_directory, obtain, run_tool, silent
from infra.engines.program import Probe, Program

MINIO_MODULE = "github.com/minio/minio"
MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
VERSITYGW_MODULE = "github.com/versity/versitygw/cmd/versitygw"
VERSITYGW_VERSION = "v1.8.0"


def is_minio_cached() -> bool:
    """Whether nothing has to be built."""
    return engine_directory(f"minio-{MINIO_VERSION}").is_dir()


def minio_binary(report: Report = silent) -> Path:
    """MinIO's executable, compiled once (about four minutes on two cores)."""
    return _go_install("minio", MINIO_MODULE, MINIO_VERSION, report)


def versitygw_binary(report: Report = silent) -> Path:
    """versitygw's executable, compiled once (about a minute and a half)."""
    return _go_install("versitygw", VERSITYGW_MODULE, VERSITYGW_VERSION, report)


def minio_program(
    site: str, data: Path, port: int, credentials: tuple[str, str], report: Report = silent
) -> Program:
    """A single-drive server with its console on the next port; `credentials` are key and secret."""
    binary = minio_binary(report)
    data.mkdir(parents=True, exist_ok=True)
    # Without an MD5 of every object as its ETag, which nobody here reads: 1 CPU s a GB, a third of
    # what a store used. Bytes are checked as before, against the SHA-256 that each upload brings.
    compat = ("--no-compat",)
    addresses = ("--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{port + 1}")
    return Program(
        name=f"minio-{site}",
        command=(str(binary), "server", "--quiet", *compat, *addresses, str(data)),
        directory=data.parent,
        probe=Probe("http", port, "/minio/health/ready"),
        environment={
            "MINIO_ROOT_USER": credentials[0],
            "MINIO_ROOT_PASSWORD": credentials[1],
            # No call home, no shared configuration directory: two stacks must not meet.
            "MINIO_UPDATE": "off",
            "MINIO_CALLHOME_ENABLE": "off",
            "MINIO_CONFIG_DIR": str(data.parent / f".{data.name}-config"),
        },
    )


def _go_install(name: str, module: str, version: str, report: Report) -> Path:
    def build(directory: Path) -> None:
        report(f"building {name} {version}")
        # Without cgo no C compiler and no C library headers are needed.
        environment = {"GOBIN": str(directory), "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
        run_tool(("go", "install", f"{module}@{version}"), environment, directory, report)

    return obtain(f"{name}-{version}", build) / name
