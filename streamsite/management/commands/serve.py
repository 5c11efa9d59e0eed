"""`manage.py serve`: the whole site in one process, with the embedded server if no other Redis is given."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

from streamsite.announcement import Embedded, announcement
from streamsite.options import OPTIONS, add_options

if TYPE_CHECKING:
    from streaming.private_redis import PrivateRedis
    from streaming.server_facts import ServerFacts

__all__ = ["Command"]

_EPILOG = """\
examples:
  manage.py serve                                   production: closed until something is opened
  STREAMSITE_ENV=development manage.py serve        open, without keys, on this machine only
  manage.py serve --port 0 --redis-url redis://127.0.0.1:6379/0

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
        """Run until a signal comes.

        Raises: CommandError: it could not start; one line says why.
        """
        _check_options_arrived(options)
        _check_migrations()
        # Before daphne's reactor has its handlers, SIGTERM is Ctrl-C: the embedded server is stopped either way.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with _only_one(settings.CONFIG.data_dir), self._private_redis() as private_redis, _metrics_listener():
                self._serve(private_redis)
        except KeyboardInterrupt:
            self.stderr.write("stopped before it was ready")

    @contextmanager
    def _private_redis(self) -> Iterator[PrivateRedis | None]:
        """The embedded server, if the site has no other: started or found here, and stopped at the end by nobody else."""
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

    def _serve(self, private_redis: PrivateRedis | None) -> None:

        from streaming import runtime
        from streaming.errors import StreamsiteError
        from streamsite.asgi import application
        from streamsite.server import Server, reactor_loop

        loop = reactor_loop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(runtime.start())
            facts = loop.run_until_complete(_ask_facts())
        except (StreamsiteError, OSError, ValueError) as error:
            loop.run_until_complete(runtime.stop())
            raise CommandError(f"the site can't start: {error}") from error
        server = Server(
            application,
            host=settings.CONFIG.bind,
            port=settings.CONFIG.port,
            on_ready=lambda port: self._announce(port, facts, private_redis),
            stop_runtime=runtime.stop,
        )
        server.run()
        if server.listen_failure:
            loop.run_until_complete(runtime.stop())
            raise CommandError(
                f"can't listen on {settings.CONFIG.bind}, port {settings.CONFIG.port}: {server.listen_failure}"
            )

    def _announce(self, port: int, facts: ServerFacts, private_redis: PrivateRedis | None) -> None:
        embedded = None if private_redis is None else Embedded(private_redis.pid, private_redis.log_path)
        lines = announcement(settings.CONFIG, port, facts, embedded)
        self.stdout.write("\n".join([*lines, "Ctrl-C stops it."]))
        self.stdout.flush()  # into a pipe, too: somebody waits for the address


async def _ask_facts() -> ServerFacts:
    """What the log's server is.

    Raises: StoreError: it has gone again.
    """
    from streaming import runtime

    shard = (await runtime.get()).store.shard(0)
    async with shard.connection(settings.CONFIG.read_deadline_s, "starting") as connection:
        return connection.facts


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    """Keep a second serve away from these data: at its end it would stop the embedded server under the first.

    Raises: CommandError: there is one.
    """
    with (data_dir / "serve.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CommandError(f"another serve uses {data_dir}; stop it, or give this one a --data-dir") from error
        yield


@contextmanager
def _metrics_listener() -> Iterator[None]:
    """The listener for /metrics alone, if the settings ask for one."""
    bind = settings.CONFIG.metrics_bind
    if bind is None:
        yield
        return
    from observability import metrics_server

    try:
        listener = metrics_server.start(bind)
    except OSError as error:
        raise CommandError(f"can't listen on {bind} for the metrics: {error}") from error
    try:
        yield
    finally:
        listener.close()


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
