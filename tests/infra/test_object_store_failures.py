"""Wrong settings, dead, slow and stalled lines: what the object store says and leaves behind."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from contracts.failures import FatalError, PoisonError, Reason, RetryableError
from infra.object_store import STALL_TIMEOUT_S, S3ObjectStore
from infra.object_store_errors import S3StatusError, translate
from infra.object_store_upload import PART_BYTES
from infra.settings import ObjectStoreSettings
from tests.faults.http_proxy import Fault, HttpProxy, Spoil
from tests.faults.spoilt_answers import TOO_LARGE, is_upload_above
from tests.infra.s3_stores import a_file
from tests.tcp_proxy import TcpProxy


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"secret_key": SecretStr("wrong-secret")}, "secret_key"),
        ({"access_key": "nobody"}, "access_key"),
        ({"bucket": "hilum-not-there"}, "bucket"),
    ],
)
def test_a_wrong_setting_is_fatal_and_named(
    s3_settings: ObjectStoreSettings,
    store: S3ObjectStore,
    tmp_path: Path,
    change: dict[str, object],
    setting: str,
) -> None:
    path, sha256 = a_file(tmp_path, 10)
    wrong = S3ObjectStore(s3_settings.model_copy(update=change))
    with pytest.raises(FatalError) as caught:
        wrong.put_file("packs/a.tar", path, sha256, {})
    assert setting in caught.value.next_step
    with pytest.raises(FatalError):
        wrong.read("packs/a.tar")
    if setting != "bucket":
        with pytest.raises(FatalError) as caught:
            wrong.ensure_bucket()
        assert setting in caught.value.next_step


def test_a_store_that_is_down_is_retryable_and_told_in_time(tmp_path: Path) -> None:
    down = S3ObjectStore(
        ObjectStoreSettings(
            endpoint="127.0.0.1:1", access_key="a", secret_key=SecretStr("b" * 8), secure=False
        )
    )
    path, sha256 = a_file(tmp_path, 10)
    before = time.monotonic()
    for ask in (
        lambda: down.put_file("a", path, sha256, {}),
        lambda: down.head("a"),
        lambda: down.read("a"),
        lambda: list(down.list("")),
        down.ensure_bucket,
    ):
        with pytest.raises(RetryableError):
            ask()
    # A refusal is told at once; what is waited for is a stall.
    assert time.monotonic() - before < STALL_TIMEOUT_S


def proxy_to(store: ObjectStoreSettings) -> TcpProxy:
    """A line to a store that can be made bad."""
    host, _, port = store.endpoint.rpartition(":")
    return TcpProxy(host, int(port))


def test_a_connection_that_dies_after_the_body_leaves_a_harmless_retry(
    s3_settings: ObjectStoreSettings, store: S3ObjectStore, tmp_path: Path
) -> None:
    path, sha256 = a_file(tmp_path, 200_000)
    with proxy_to(s3_settings) as proxy:
        through = S3ObjectStore(s3_settings.model_copy(update={"endpoint": proxy.endpoint}))
        assert through.head("packs/a.tar") is None
        proxy.cut_answers_after_bytes_up = 100_000
        with pytest.raises(RetryableError):
            through.put_file("packs/a.tar", path, sha256, {})
        proxy.cut_answers_after_bytes_up = None
        stored = through.put_file("packs/a.tar", path, sha256, {})
    assert stored.sha256 == sha256


def test_a_slow_line_is_no_stall(
    s3_settings: ObjectStoreSettings, store: S3ObjectStore, tmp_path: Path
) -> None:
    """The time-out bounds a stall, not a transfer: this one takes longer than the connect's."""
    path, sha256 = a_file(tmp_path, 3_000_000)
    with proxy_to(s3_settings) as proxy:
        proxy.bytes_per_s_up = 1_000_000
        through = S3ObjectStore(s3_settings.model_copy(update={"endpoint": proxy.endpoint}))
        before = time.monotonic()
        assert through.put_file("packs/a.tar", path, sha256, {}).sha256 == sha256
        assert time.monotonic() - before > 2.2


def test_a_stall_is_given_up(
    s3_settings: ObjectStoreSettings, store: S3ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.object_store.STALL_TIMEOUT_S", 1.0)
    with proxy_to(s3_settings) as proxy:
        proxy.is_stalled.set()
        through = S3ObjectStore(s3_settings.model_copy(update={"endpoint": proxy.endpoint}))
        before = time.monotonic()
        with pytest.raises(RetryableError):
            through.head("packs/a.tar")
        assert time.monotonic() - before < STALL_TIMEOUT_S, "a second, and not the time-out's own"


@pytest.mark.parametrize("answer", TOO_LARGE, ids=["store", "proxy"])
@pytest.mark.parametrize("single_put_bytes_max", [PART_BYTES + 1, 0], ids=["put", "parts"])
def test_an_object_that_is_too_large_is_poison_and_leaves_nothing(
    s3_settings: ObjectStoreSettings,
    store: S3ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes,
    single_put_bytes_max: int,
) -> None:
    monkeypatch.setattr("infra.object_store.SINGLE_PUT_BYTES_MAX", single_put_bytes_max)
    path, sha256 = a_file(tmp_path, 50_000)
    host, _, port = s3_settings.endpoint.rpartition(":")
    proxy = HttpProxy(host, int(port))
    with proxy:
        proxy.spoil(Fault(Spoil.ANSWER, is_upload_above(49_999), (answer,)), seed=1, one_in=1)
        through = S3ObjectStore(s3_settings.model_copy(update={"endpoint": proxy.endpoint}))
        with pytest.raises(PoisonError) as caught:
            through.put_file("packs/a.tar", path, sha256, {})
        assert caught.value.reason is Reason.REFUSED_BY_SINK
        assert store.head("packs/a.tar") is None
        assert store.abort_stale_uploads(timedelta(days=-1)) == 0
        proxy.heal()
        assert through.put_file("packs/a.tar", path, sha256, {}).sha256 == sha256


@pytest.mark.parametrize("code", ["QuotaExceeded", "XMinioAdminBucketQuotaExceeded"])
def test_a_full_bucket_is_waited_for(code: str) -> None:
    assert isinstance(translate(S3StatusError(403, code, "full"), "storing a"), RetryableError)


def test_a_missing_right_gives_up_no_delivery() -> None:
    assert isinstance(translate(S3StatusError(403, "AccessDenied", ""), "storing a"), FatalError)
