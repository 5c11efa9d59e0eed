"""`manage.py serve`: check everything, start what is needed, and become the supervisor of the workers that serve."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import signal
import socket
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

from streamsite.announcement import Embedded, announcement
from streamsite.config import PROJECT_DIR, ConfigError
from streamsite.options import OPTIONS, add_options
from streamsite.server.descriptors import descriptor_limit, raise_descriptor_limit
from streamsite.server.supervisor import HELD_BACK, PLAN_VARIABLE, Plan
from streamsite.server.versions import VersionError, check_versions

if TYPE_CHECKING:
    from streaming.private_redis import PrivateRedis
    from streaming.server_facts import ServerFacts
    from streamsite.config import Config
    from streamsite.server.tls import Pair

__all__ = ["Command"]

BACKLOG = 4096
"""Connections that wait for a worker to accept them: a storm of readers that come back must not be refused."""

_EPILOG = """\
examples:
  manage.py serve                                   production: closed until something is opened
  STREAMSITE_ENV=development manage.py serve        open, without keys, on this machine only
  manage.py serve --port 0 --redis-url redis://127.0.0.1:6379/0

signals: SIGTERM and Ctrl-C drain and stop, a second one hurries; SIGHUP replaces the workers one by one
exit codes: 0 stopped as asked, 1 could not start or broke, 2 a setting is wrong
"""


class Command(BaseCommand):
    """Start everything, say what runs, stop everything."""

    help = "Serve the site; Ctrl-C or SIGTERM stops it and the embedded server."
    requires_system_checks = ()  # the settings are checked by their class, and a start has two seconds

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Show the examples as they are written."""
        return super().create_parser(
            prog_name, subcommand, epilog=_EPILOG, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options; manage.py has put them into the environment by the time that they are parsed."""
        add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Check everything, start or find the embedded server, bind, and become the supervisor.

        Raises: CommandError: it can't start; one line says why.
        """
        _check_options_arrived(options)
        try:
            check_versions()
        except VersionError as error:
            raise CommandError(str(error)) from error
        config: Config = settings.CONFIG
        tls = _read_tls(config)
        _check_migrations()
        # Before the supervisor has its handlers, SIGTERM is Ctrl-C: the embedded server is stopped either way.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with ExitStack() as undo:
            try:
                lock = undo.enter_context(_only_one(config.data_dir))
                embedded = undo.enter_context(self._private_redis())
                facts = _ask_facts(embedded)
                listener = undo.enter_context(_listen(config.bind, config.port))
                metrics_listener = undo.enter_context(_listen_for_metrics(config.metrics_bind))
                lines = announcement(config, listener.getsockname()[1], facts, _describe(embedded), tls)
                plan = Plan(
                    workers=config.worker_count,
                    command=[sys.executable, str(PROJECT_DIR / "manage.py"), "worker"],
                    listen_fds=[listener.fileno()],
                    metrics_fd=metrics_listener.fileno() if metrics_listener is not None else None,
                    lock_fd=lock.fileno(),
                    data_dir=str(config.data_dir) if embedded is not None else None,
                    run_dir=str(config.data_dir / "run"),
                    grace_s=config.grace_s,
                    announcement=[*lines, f"  workers  {_describe_workers(config)}", "Ctrl-C stops it."],
                )
                _become_supervisor(plan)
            except KeyboardInterrupt:
                self.stderr.write("stopped before it was ready")

    @contextmanager
    def _private_redis(self) -> Iterator[PrivateRedis | None]:
        """The embedded server, if the site has no other: started or found here; stopped here only if the start fails."""
        if settings.STREAMING["REDIS_URL"] is not None:
            yield None
            return
        from streaming import runtime
        from streaming.conf import StreamingSettings
        from streaming.private_redis import PrivateRedisError

        private_redis = runtime.private_redis(StreamingSettings.from_django(settings.STREAMING))
        try:
            private_redis.ensure()
            yield private_redis
        except PrivateRedisError as error:
            raise CommandError(str(error)) from error
        finally:
            # A second Ctrl-C would leave the server behind, with nobody who feels responsible for it.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            try:
                private_redis.stop()
            except PrivateRedisError as error:
                self.stderr.write(str(error))


def _become_supervisor(plan: Plan) -> NoReturn:
    """Replace this process, Django and all, by the supervisor; what it needs stays open."""
    for descriptor in (*plan.listen_fds, plan.lock_fd, plan.metrics_fd):
        if descriptor is not None:
            os.set_inheritable(descriptor, True)
    raise_descriptor_limit()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    # The same command line, so that it is found under the name that it was started by.
    command = [sys.executable, str(PROJECT_DIR / "manage.py"), *sys.argv[1:]]
    os.execve(sys.executable, command, {**os.environ, PLAN_VARIABLE: plan.to_json()})  # noqa: S606 - no shell is meant


def _ask_facts(embedded: PrivateRedis | None) -> ServerFacts:
    """What the log's server is.

    Raises: CommandError: it can't be reached, or a log can't be kept on it.
    """
    from streaming import runtime
    from streaming.conf import StreamingSettings
    from streaming.errors import StreamsiteError

    url = embedded.url if embedded is not None else settings.STREAMING["REDIS_URL"]
    try:
        return asyncio.run(runtime.probe(StreamingSettings.from_django(settings.STREAMING), url))
    except (StreamsiteError, OSError, ValueError) as error:
        raise CommandError(f"the site can't start: {error}") from error


def _read_tls(config: Config) -> Pair | None:
    """The certificate and its key, to see that they are right; the workers read them for themselves.

    Raises: CommandError: they are not.
    """
    try:
        return config.read_tls()
    except ConfigError as error:
        raise CommandError(str(error), returncode=2) from error


def _describe(embedded: PrivateRedis | None) -> Embedded | None:
    return None if embedded is None else Embedded(embedded.pid, embedded.log_path)


def _describe_workers(config: Config) -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    raised = descriptor_limit()
    loop = "uvloop" if config.loop != "asyncio" and find_spec("uvloop") else "asyncio"
    return f"{config.worker_count}, on {loop}, each with up to {raised} open files" + (
        f" (raised from {soft})" if raised != soft else ""
    )


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket, which the workers will share.

    Raises: CommandError: the address can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with listener:
        try:
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except OSError as error:
            raise CommandError(f"can't listen on {host}, port {port}: {error.strerror or error}") from error
        yield listener


@contextmanager
def _listen_for_metrics(bind: str | None) -> Iterator[socket.socket | None]:
    """The socket of the listener for /metrics alone, if the settings ask for one.

    Raises: CommandError: the address can't be had.
    """
    if bind is None:
        yield None
        return
    from observability import metrics_server

    try:
        listener = metrics_server.bind(bind)
    except OSError as error:
        raise CommandError(f"can't listen on {bind} for the metrics: {error}") from error
    with listener:
        yield listener


@contextmanager
def _only_one(data_dir: Path) -> Iterator[IO[str]]:
    """Keep a second serve away from these data: at its end it would stop the embedded server under the first.

    Raises: CommandError: there is one.
    """
    with (data_dir / "serve.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CommandError(f"another serve uses {data_dir}; stop it, or give this one a --data-dir") from error
        yield file


def _check_options_arrived(options: dict[str, Any]) -> None:
    """Refuse an option that is not in the settings: `call_command` sets it after they were read."""
    for name in OPTIONS:
        field = name.replace("-", "_")
        given = options.get(field)
        if given is not None and os.environ.get(f"STREAMSITE_{field.upper()}") != given:
            raise CommandError(f"--{name} has to be on the command line of manage.py, or in STREAMSITE_{field.upper()}")


def _check_migrations() -> None:
    """Refuse tables that do not fit the code: the admin would fail at some later click.

    Raises: CommandError: says how to bring them up to date.
    """
    try:
        executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise CommandError(f"the database can't be read: {error}") from error
    finally:
        with suppress(DatabaseError):
            connections[DEFAULT_DB_ALIAS].close()
    if plan:
        raise CommandError(
            f"{len(plan)} migrations are not applied, the first is {plan[0][0]}; run: {sys.executable} manage.py migrate"
        )
