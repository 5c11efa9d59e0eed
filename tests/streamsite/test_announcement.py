"""What serve says about itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from streaming.server_facts import ServerFacts
from streamsite.announcement import Embedded, announcement
from streamsite.config import Config
from tests.support.certificates import write_certificate

FACTS = ServerFacts(
    run_id="a",
    version=(9, 1),
    kind="Valkey",
    is_cluster=False,
    policy="noeviction",
    aof_enabled=True,
    appends_fsync=False,
    has_true_waitaof=True,
    max_bytes=512 * 1024 * 1024,
    connected_replicas=0,
)


def test_ipv6_address_is_a_url_that_can_be_clicked() -> None:
    """Brackets, or the port is taken for a part of the address."""
    assert announcement(Config(bind="::1"), 1, FACTS, None)[0].endswith("http://[::1]:1/")


def test_embedded_server_is_named_with_process_and_log() -> None:
    """Where to look when it does not behave."""
    text = "\n".join(announcement(Config(), 1, FACTS, Embedded(77, Path("/data/redis.log"))))
    assert "Valkey 9.1, embedded (process 77); at most 512 MiB; it logs to /data/redis.log" in text


@pytest.mark.parametrize(
    ("facts", "durability", "words"),
    [
        (FACTS, "written", "a crash of Redis or a power cut may take the last two seconds"),
        (FACTS, "fsynced", "survive a power cut"),
        (replace(FACTS, appends_fsync=True), "written", "survive a power cut"),
        (replace(FACTS, aof_enabled=False), "written", "WITHOUT an append-only file"),
    ],
)
def test_promise_is_said_for_this_server(facts: ServerFacts, durability: str, words: str) -> None:
    """No "durable" without the failure that it survives."""
    assert words in "\n".join(announcement(Config(durability=durability), 1, facts, None))


def test_metrics_are_announced_where_they_are() -> None:
    """On their own listener, beside the site in development, or nowhere."""
    assert "metrics" not in "\n".join(announcement(Config(env="production"), 1, FACTS, None))
    assert "http://127.0.0.1:1/metrics" in "\n".join(announcement(Config(env="development"), 1, FACTS, None))
    given = Config(env="production", metrics_bind="127.0.0.1:9090")
    assert "http://127.0.0.1:9090/metrics" in "\n".join(announcement(given, 1, FACTS, None))


@pytest.mark.parametrize(("days", "words"), [(30, "the certificate ends on"), (-1, "AND HAS EXPIRED")])
def test_certificate_is_announced_with_its_names_and_its_end(tmp_path: Path, days: int, words: str) -> None:
    """The address is https, and a certificate that clients will refuse is seen before they do."""
    files = write_certificate(tmp_path, days=days)
    config = Config(tls_cert=files.certificate, tls_key=files.key)
    text = "\n".join(announcement(config, 1, FACTS, None, config.read_tls()))
    assert "streamsite serves at https://127.0.0.1:1/" in text
    assert "tls      for localhost, 127.0.0.1; " in text
    assert words in text
