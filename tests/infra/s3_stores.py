"""Two S3 stores that share no code, and files to put into them."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.engines.s3 import versitygw_binary
from infra.object_store import S3ObjectStore
from infra.settings import ObjectStoreSettings, Settings
from operations.ports import free_ports

READY_WITHIN_S = 180.0


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStoreSettings]:
    """versitygw on a directory: an S3 that shares no code with MinIO."""
    data = tmp_path_factory.mktemp("versitygw")
    (port,) = free_ports(1)
    store = ObjectStoreSettings(
        endpoint=f"127.0.0.1:{port}",
        access_key="hilum",
        secret_key=SecretStr("hilum-local-secret"),
        secure=False,
    )
    keys = {"ROOT_ACCESS_KEY": "hilum", "ROOT_SECRET_KEY": "hilum-local-secret"}
    process = subprocess.Popen(
        (str(versitygw_binary()), "--port", f"127.0.0.1:{port}", "--quiet", "posix", str(data)),
        env={**os.environ, **keys},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + READY_WITHIN_S
        while not _answers(port):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        yield store
    finally:
        process.terminate()
        try:
            process.wait(READY_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(params=["minio", "versitygw"])
def s3_settings(request: pytest.FixtureRequest) -> ObjectStoreSettings:
    """A bucket name of this test's own on either store."""
    if request.param == "minio":
        engines: Settings = request.getfixturevalue("engines")
        store = engines.primary.object_store
    else:
        store = request.getfixturevalue("versitygw")
    return store.model_copy(update={"bucket": f"hilum-{uuid.uuid4().hex[:16]}"})


@pytest.fixture
def store(s3_settings: ObjectStoreSettings) -> S3ObjectStore:
    made = S3ObjectStore(s3_settings)
    assert made.ensure_bucket() is True
    assert made.ensure_bucket() is False
    return made


def a_file(directory: Path, size_bytes: int, seed: int = 1) -> tuple[Path, str]:
    """A file that does not compress, and its sha256."""
    path = directory / f"{seed}-{size_bytes}"
    block = hashlib.shake_256(str(seed).encode()).digest(min(size_bytes, 1024 * 1024))
    with path.open("wb") as file:
        for start in range(0, size_bytes, len(block) or 1):
            file.write(block[: size_bytes - start])
    return path, hashlib.sha256(path.read_bytes()).hexdigest()
