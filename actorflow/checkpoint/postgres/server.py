"""The server, as one storage sees it: how a connection to it is opened, cancelled, and found to be dead.

Every session has its limits set when it is opened, so that no process can hold up the others for ever: one that stops
in the middle of a transaction is thrown out after `idle_timeout`, and its locks with it.
"""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Mapping
from contextlib import suppress

import attrs
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from actorflow.checkpoint.postgres.schema import set_up

__all__ = ["Server", "cancel", "has_died", "name_of"]

_CANCEL_PATIENCE = 5.0

_DEFAULTS: dict[str, str | int] = {"connect_timeout": 10, "fallback_application_name": "actorflow"}

_LIMITS = """
    SELECT set_config('search_path', %s, false),
           set_config('lock_timeout', %s, false),
           set_config('statement_timeout', %s, false),
           set_config('idle_in_transaction_session_timeout', %s, false)
"""

# All that is looked for has an index, and all that is paged through has one in its order. The planner sees tables as they
# were when they were last analyzed, and keeps plans: one for a small table would go through the whole of what it becomes.
_BY_INDEX = """
    SELECT set_config(name, 'off', false)
    FROM unnest(ARRAY['enable_seqscan', 'enable_bitmapscan', 'enable_hashjoin', 'enable_mergejoin']) name
"""


@attrs.frozen
class Server:
    """Where a storage is, and with what limits its sessions work.

    Attributes:
        dsn: How to get there.
        schema: The schema its tables are in.
        lock_timeout: Seconds to wait for a row that another session has locked.
        statement_timeout: Seconds a statement may take.
        idle_timeout: Seconds after which the server ends a session that stands still in a transaction.
        place: What this is called in errors.
    """

    dsn: str = attrs.field(repr=False)
    schema: str
    lock_timeout: float
    statement_timeout: float
    idle_timeout: float
    place: str

    def connect(self) -> psycopg.Connection:
        """Open a session; `set_up` must follow before it is used.

        Raises:
            psycopg.Error: The server could not; see `explain`.
        """
        given = conninfo_to_dict(self.dsn)
        defaults = {name: value for name, value in _DEFAULTS.items() if name not in given}
        connection = psycopg.connect(make_conninfo(self.dsn, **defaults), autocommit=True)
        try:
            path = sql.Identifier(self.schema).as_string(connection)
            limits = (self.lock_timeout, self.statement_timeout, self.idle_timeout)
            # A limit of 0 would be none at all.
            connection.execute(_BY_INDEX)
            connection.execute(_LIMITS, (path, *(f"{max(1, round(limit * 1000))}ms" for limit in limits)))
        except BaseException:
            connection.close()
            raise
        return connection

    def set_up(self, connection: psycopg.Connection) -> None:
        """Bring the schema to the present version where it is not.

        Raises:
            CheckpointError: The schema is somebody else's, or of a later version.
            psycopg.Error: The server could not; see `explain`.
        """
        set_up(connection, self.schema, self.place)


def name_of(dsn: str, schema: str) -> str:
    """What to call a database in errors: nothing that is secret.

    Raises:
        psycopg.ProgrammingError: It is no DSN.
    """
    given: Mapping[str, object] = conninfo_to_dict(dsn)
    host = given.get("host") or given.get("hostaddr") or given.get("service") or "the default host"
    port = f":{given['port']}" if given.get("port") else ""
    database = repr(given["dbname"]) if given.get("dbname") else "of the default name"
    return f"schema {schema!r} of PostgreSQL database {database} on {host}{port}"


def has_died(connection: psycopg.Connection) -> bool:
    """Whether the server has ended an idle session. It says so before it hangs up, and says nothing else to an idle one.

    Costs no round trip.
    """
    if connection.closed:
        return True
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        return bool(selector.select(0))


def cancel(connection: psycopg.Connection) -> None:
    """Cancel what a session has under way, in another thread than the one that waits for it.

    A server that does not even answer that is hung up on: it undoes what was not committed.
    """
    try:
        connection.cancel_safe(timeout=_CANCEL_PATIENCE)
    except psycopg.Error:
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
