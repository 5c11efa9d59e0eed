"""The settings: what is read, what is refused, and in which words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streaming.conf import StreamingSettings
from streamsite.config import Config, ConfigError, load, load_or_exit, variable_of


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("STREAMSITE_") or name in {"REDIS_URL", "DATABASE_URL"}:
            monkeypatch.delenv(name)


def test_nothing_set_is_production_on_loopback_and_closed() -> None:
    """Without a word from the operator nothing is open and nobody else can connect."""
    config = load(os.environ)
    assert (config.env, config.bind, config.port, config.redis_url) == ("production", "127.0.0.1", 8000, None)
    assert config.to_streaming()["OPEN"] is False


def test_streaming_settings_take_every_value_that_config_gives() -> None:
    """Both declare the same names and defaults: what one accepts, the other does."""
    settings = StreamingSettings.from_django(load(os.environ).to_streaming())
    assert settings == StreamingSettings(data_dir=load(os.environ).data_dir)


@pytest.mark.parametrize(
    ("variable", "value", "right"),
    [
        ("STREAMSITE_ENV", "dev", "'production' or 'development'"),
        ("STREAMSITE_PORT", "http", "valid integer"),
        ("STREAMSITE_PORT", "65536", "less than or equal to 65535"),
        ("STREAMSITE_BIND", "example.org", "IP address"),
        ("STREAMSITE_MAX_BODY_BYTES", "8 potatoes", "512kb or 8mb"),
        ("STREAMSITE_HEARTBEAT_S", "0", "greater than 0"),
        ("STREAMSITE_DURABILITY", "replicated:0", "written, fsynced or replicated:N"),
        ("STREAMSITE_RETENTION", "age=soon", "age=<seconds>"),
        ("STREAMSITE_METRICS_BIND", "9090", "host:port"),
        ("STREAMSITE_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_wrong_value_is_one_line_with_variable_value_and_what_is_right(
    variable: str, value: str, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator can repair it from the line alone."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        load(os.environ)
    line = str(caught.value)
    assert line.startswith(f"{variable}={value!r}: ")
    assert right in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("STREAMSITE_REDIS_URL", "http://user:hunter2@host"),
        ("REDIS_URL", "http://user:hunter2@host"),
        ("DATABASE_URL", "nothing://user:hunter2@host/name"),
    ],
)
def test_wrong_url_is_named_without_its_password(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line goes into logs (CWE-532); it names the variable that was really set."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=rf"^{variable}=\(not shown\): ") as caught:
        load(os.environ)
    assert "hunter2" not in str(caught.value)


def test_misspelt_variable_is_refused_with_the_right_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """STREAMSITE_DURABILTY=fsynced must not quietly mean `written`."""
    monkeypatch.setenv("STREAMSITE_DURABILTY", "fsynced")
    with pytest.raises(ConfigError, match="did you mean STREAMSITE_DURABILITY"):
        load(os.environ)


def test_unknown_variable_that_resembles_none_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may belong to a wrapper of the operator's."""
    monkeypatch.setenv("STREAMSITE_WRAPPER_COLOUR", "green")
    load(os.environ)


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1"])
def test_development_refuses_to_leave_loopback(bind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Development is open to whoever reaches the port."""
    monkeypatch.setenv("STREAMSITE_ENV", "development")
    monkeypatch.setenv("STREAMSITE_BIND", bind)
    with pytest.raises(ConfigError, match="loopback only"):
        load(os.environ)


@pytest.mark.parametrize(("given", "bind"), [("localhost", "127.0.0.1"), ("[::1]", "::1"), ("127.0.0.2", "127.0.0.2")])
def test_loopback_is_taken_in_every_spelling(given: str, bind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What people write for "this machine" works in development."""
    monkeypatch.setenv("STREAMSITE_ENV", "development")
    monkeypatch.setenv("STREAMSITE_BIND", given)
    assert load(os.environ).bind == bind


@pytest.mark.parametrize(
    ("given", "size"), [("1048576", 1048576), ("512kb", 524288), ("8 MiB", 8388608), ("1g", 1 << 30)]
)
def test_sizes_take_units(given: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of bytes, or with the units that Redis takes."""
    monkeypatch.setenv("STREAMSITE_REDIS_MAXMEMORY", given)
    assert load(os.environ).redis_maxmemory == size


def test_event_that_fits_no_body_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two settings that contradict each other are found at start, not at the first large append."""
    monkeypatch.setenv("STREAMSITE_MAX_BODY_BYTES", "1kb")
    with pytest.raises(ConfigError, match=r"^STREAMSITE_MAX_EVENT_BYTES=1048576: "):
        load(os.environ)


def test_own_variable_is_stronger_than_general_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine's REDIS_URL may be meant for something else."""
    monkeypatch.setenv("REDIS_URL", "redis://general/0")
    monkeypatch.setenv("STREAMSITE_REDIS_URL", "redis://own/0")
    assert load(os.environ).redis_url == "redis://own/0"


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """No JSON in the environment."""
    monkeypatch.setenv("STREAMSITE_CORS_ORIGINS", "https://a.example, https://b.example,")
    assert load(os.environ).cors_origins == ("https://a.example", "https://b.example")


def test_relative_data_dir_counts_from_where_it_was_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that changes its directory later finds it all the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMSITE_DATA_DIR", "mine")
    assert load(os.environ).data_dir == tmp_path / "mine"


def test_wrong_value_exits_with_2_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever imports the settings stops so: serve, daphne, any command."""
    monkeypatch.setenv("STREAMSITE_PORT", "x")
    with pytest.raises(SystemExit) as caught:
        load_or_exit(os.environ)
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_setting_says_what_it_means() -> None:
    """The descriptions are the reference page and the last words of every error."""
    for name, field in Config.model_fields.items():
        assert (field.description or "").endswith("."), variable_of(name)


@pytest.mark.parametrize(("given", "missing"), [("TLS_CERT", "TLS_KEY"), ("TLS_KEY", "TLS_CERT")])
def test_certificate_and_key_come_together(given: str, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One alone would serve in plain text what was meant to be secret."""
    monkeypatch.setenv(f"STREAMSITE_{given}", "site.pem")
    with pytest.raises(ConfigError, match=f"STREAMSITE_{missing} is not set"):
        load(os.environ)
    monkeypatch.setenv(f"STREAMSITE_{missing}", "other.pem")
    config = load(os.environ)
    assert config.scheme == "https"
    assert config.tls_cert is not None
    assert config.tls_cert.is_absolute()


def test_certificate_that_can_not_be_read_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The line is enough to repair it; without the settings there is nothing to read."""
    assert load(os.environ).read_tls() is None
    monkeypatch.setenv("STREAMSITE_TLS_CERT", str(tmp_path / "none"))
    monkeypatch.setenv("STREAMSITE_TLS_KEY", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=f"STREAMSITE_TLS_CERT='{tmp_path}/none': can't be read: No such file"):
        load(os.environ).read_tls()
