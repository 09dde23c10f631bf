"""Durable jobs: what must still happen after the transaction that decided it, whatever becomes of this process.

Before it: rooms.py seals an Asset and events.py writes a Delivery; both enqueue their job in that same transaction, so that a
commit always runs it and a rollback never does. After it: the injected functions, which make the file or try the delivery.

This is the only module that knows DBOS. Its tables stand in our own database, its threads and its event loop are its own; the
injected functions always run on the loop that called `start`. A job runs at least once, so each one must bear being run again.
"""

import asyncio
import logging
import math
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, cast

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions
from dbos import DBOSPortableJSONSerializer as JsonSerializer

from isotape.db.engine import Tx
from isotape.errors import Conflict
from isotape.logs import logger

RunJob = Callable[[str], Awaitable[None]]

_APPLICATION = "isotape"
# Fixed, because DBOS only resumes work of the version and the executor that it runs as: an upgrade must go on with the old jobs.
_VERSION = "1"
_EXECUTOR = "local"

_ASSET = "asset"
_DELIVERY = "delivery"
# The states of DBOS from which a job runs without anybody's doing.
_TO_RUN = ("DELAYED", "ENQUEUED", "PENDING")
# Two cores render two files at once; a delivery mostly waits for the network.
_CONCURRENCY = {_ASSET: 2, _DELIVERY: 16}
# A job starts at most this long (s) after its commit: the aim is asset and webhook 2 s after the leave. A poll costs 2 ms of CPU, and
# DBOS has nothing that wakes a queue.
_POLL_S = {_ASSET: 0.3, _DELIVERY: 0.4}
# While nothing is expected. A node polls day and night: with the intervals above it idles at 2 % of a core (docs/measured.md).
_IDLE_POLL_S = 2.0
# How often (s) the node looks whether something is expected. With the poll under way it takes up to 3 s to be quick again, and a job
# comes at the end of a call.
_PACE_S = 1.0
# After the last job that was enqueued: its delivery, and the first retries of it, are due within that time (s).
_LINGER_S = 30.0
# DBOS waits this long (ms) for our writers; ours wait 10 s for it.
_BUSY_TIMEOUT_MS = 30_000
# How long after a job that could not finish (a store that is away, a locked database) it is tried again. The last one repeats.
_AGAIN_S = (2.0, 10.0, 60.0, 300.0, 1_800.0, 3_600.0)
# Between attempts to write that later try; each one has waited for the database's lock already.
_WRITE_AGAIN_S = 1.0
# A queue thread that is in the middle of a claim gets this long (s) to start what it claimed; DBOS itself allows as much.
_CLAIM_ENDS_WITHIN_S = 10.0
# The threads that claim jobs have this at the beginning of their names, in DBOS' own words.
_CLAIMING = "queue-worker-"
# Between a job's end and DBOS having noted it; a stop waits that long so that the job does not run once more at the next start.
_NOTED_WITHIN_S = 2.0
_NOTED_POLL_S = 0.02


class Jobs:
    """The two queues, and the bridge between DBOS' threads and our loop. One per process: DBOS itself is a singleton."""

    def __init__(self, database_url: str, run_asset: RunJob, run_delivery: RunJob) -> None:
        self._url = sa.make_url(database_url)
        self._run: dict[str, RunJob] = {_ASSET: run_asset, _DELIVERY: run_delivery}
        self._log = logger(component="jobs")
        self._running: set[asyncio.Task[None]] = set()
        # Only the latest can still be unnoted; more than these cannot run at once.
        self._ended: deque[str] = deque(maxlen=sum(_CONCURRENCY.values()))
        self._closing = False
        # Says whether a job may come soon. Set once there is somebody who knows.
        self.is_expecting: Callable[[], bool] = lambda: True
        self._enqueued_at = -math.inf
        self._pacing: asyncio.Task[None] | None = None
        self._engine: sa.Engine | None = None
        self._dbos: DBOS | None = None
        self._client: DBOSClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Opens the queues and resumes what an earlier process left unfinished. Enqueue only after this."""
        self._loop = asyncio.get_running_loop()
        # In a thread, so that DBOS does not adopt our loop: it would also put its own pool under every asyncio.to_thread of ours.
        await asyncio.to_thread(self._launch)
        self._pacing = self._loop.create_task(self._pace(), name="pace of the job queues")

    async def close(self, drain_s: float) -> None:
        """Starts nothing more, waits up to `drain_s` for running jobs; the next start resumes what is left."""
        self._closing = True
        if self._pacing is not None:
            self._pacing.cancel()
            await asyncio.wait((self._pacing,))
        if self._running:
            await asyncio.wait(self._running, timeout=drain_s)
        await self._until_noted()
        await asyncio.to_thread(self._destroy)
        if self._running:
            await asyncio.wait(self._running)

    async def enqueue_asset(self, tx: Tx, asset_id: str, *, attempt: int = 1) -> None:
        """Runs `run_asset(asset_id)` once this transaction commits. The same attempt again is the same job."""
        await self._enqueue(tx, _options(_ASSET, asset_id, attempt), asset_id, attempt)

    async def enqueue_delivery(self, tx: Tx, delivery_id: str, delay_s: float = 0, *, attempt: int = 1) -> None:
        """Runs `run_delivery(delivery_id)` `delay_s` after this transaction commits, or up to 1 s later than that."""
        await self._enqueue(tx, _options(_DELIVERY, delivery_id, attempt, delay_s), delivery_id, attempt)

    async def next_attempts(self, asset_ids: Sequence[str]) -> dict[str, int]:
        """Those of the Assets for which no job is waiting or running, each with the attempt that is new."""
        return await asyncio.to_thread(self._next_attempts, asset_ids)

    async def _enqueue(self, tx: Tx, options: EnqueueOptions, object_id: str, attempt: int) -> None:
        client = self._started_client()
        self._enqueued_at = asyncio.get_running_loop().time()
        await tx.run_sync(
            lambda connection: client.enqueue_in_transaction(connection, options, object_id, attempt, 0) and None
        )

    # -- how often DBOS looks

    async def _pace(self) -> None:
        """Often while a call is on or a job was enqueued a moment ago, seldom on a node where nothing happens."""
        is_quick = True
        while True:
            await asyncio.sleep(_PACE_S)
            is_lingering = asyncio.get_running_loop().time() - self._enqueued_at < _LINGER_S
            if (self.is_expecting() or is_lingering) is is_quick:
                continue
            try:
                await asyncio.to_thread(_look, quickly=not is_quick)
            except Exception as error:  # noqa: BLE001  whatever keeps the database from us, it may pass
                self._log.error("pace of the job queues not set", error=str(error))
            else:
                is_quick = not is_quick

    # -- one job

    async def _supervise(self, kind: str, object_id: str, attempt: int, failures: int) -> None:
        """Runs one job on our loop; whatever it raises becomes a log line and a later try."""
        if self._closing:
            # Claimed in the last moment before the stop: wait until DBOS ends this task, and the next start takes the job.
            await asyncio.Event().wait()
        try:
            await self._run[kind](object_id)
        except Exception as error:  # noqa: BLE001  the supervisor of all jobs
            self._log.error(
                "job failed", kind=kind, id=object_id, attempt=attempt, failures=failures + 1, error=str(error)
            )
            await self._insist_on_trying_again(kind, object_id, attempt, failures + 1)
        self._ended.append(_workflow_id(kind, object_id, attempt, failures))

    async def _insist_on_trying_again(self, kind: str, object_id: str, attempt: int, failures: int) -> None:
        """Until the later try is written this one is not over: a job that ends here without it would never run again."""
        while True:
            try:
                return await asyncio.to_thread(self._try_again, kind, object_id, attempt, failures)
            except Exception as error:  # noqa: BLE001  whatever keeps the database from us, it may pass
                self._log.error("later try of a job not written", kind=kind, id=object_id, error=str(error))
                await asyncio.sleep(_WRITE_AGAIN_S)

    def _try_again(self, kind: str, object_id: str, attempt: int, failures: int) -> None:
        delay_s = _AGAIN_S[min(failures, len(_AGAIN_S)) - 1]
        options = _options(kind, object_id, attempt, delay_s)
        options["workflow_id"] = _workflow_id(kind, object_id, attempt, failures)
        self._started_client().enqueue(options, object_id, attempt, failures)

    async def _on_our_loop(self, kind: str, object_id: str, attempt: int, failures: int) -> None:
        """Called on DBOS' loop: runs the job on ours and waits. Cancelled with DBOS, and then the job stays pending."""
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(self._tracked(kind, object_id, attempt, failures), self._loop)
        await asyncio.wrap_future(future)

    async def _tracked(self, kind: str, object_id: str, attempt: int, failures: int) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._running.add(task)
        try:
            await self._supervise(kind, object_id, attempt, failures)
        finally:
            self._running.discard(task)

    # -- DBOS

    def _launch(self) -> None:
        _route_logs()
        self._engine = _open_engine(self._url)
        config: DBOSConfig = {
            "name": _APPLICATION,
            "system_database_url": self._url.render_as_string(hide_password=False),
            "system_database_engine": self._engine,
            "application_version": _VERSION,
            "executor_id": _EXECUTOR,
            "serializer": JsonSerializer(),
            "use_listen_notify": False,
            "enable_otlp": False,
            "log_level": "WARNING",
        }
        self._dbos = DBOS(config=config)
        for kind in _CONCURRENCY:
            DBOS.workflow(name=kind)(self._workflow(kind))
        DBOS.launch()
        for kind, concurrency in _CONCURRENCY.items():
            DBOS.register_queue(
                kind, worker_concurrency=concurrency, polling_interval_sec=_POLL_S[kind], on_conflict="always_update"
            )
        self._client = DBOSClient(
            system_database_engine=self._engine, serializer=JsonSerializer(), application_name=_APPLICATION
        )

    def _workflow(self, kind: str) -> Callable[[str, int, int], Coroutine[Any, Any, None]]:
        async def run(object_id: str, attempt: int, failures: int) -> None:
            await self._on_our_loop(kind, object_id, attempt, failures)

        run.__qualname__ = f"{kind}_job"
        return run

    def _destroy(self) -> None:
        if self._client is not None:
            self._client.destroy()
            self._client = None
        if self._dbos is not None:
            _stop_claiming(self._dbos)
            self._dbos = None
        DBOS.destroy(destroy_registry=True)
        if self._engine is not None:
            self._engine.dispose()

    async def _until_noted(self) -> None:
        """Waits until DBOS has written the outcome of every job that ended."""
        for _ in range(round(_NOTED_WITHIN_S / _NOTED_POLL_S)):
            if not self._ended or not await asyncio.to_thread(self._has_unnoted):
                return
            await asyncio.sleep(_NOTED_POLL_S)

    def _has_unnoted(self) -> bool:
        pending = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        return any(workflow.workflow_id in self._ended for workflow in pending)

    def _next_attempts(self, asset_ids: Sequence[str]) -> dict[str, int]:
        to_run = DBOS.list_workflows(name=_ASSET, status=list(_TO_RUN), load_input=False, load_output=False)
        awaited = {_object_id(workflow.workflow_id) for workflow in to_run}
        return {asset_id: self._next_attempt(asset_id) for asset_id in asset_ids if asset_id not in awaited}

    def _next_attempt(self, asset_id: str) -> int:
        past = DBOS.list_workflows(workflow_id_prefix=f"{_ASSET}-{asset_id}-", load_input=False, load_output=False)
        return max((_attempt(workflow.workflow_id) for workflow in past), default=0) + 1

    def _started_client(self) -> DBOSClient:
        if self._client is None:
            raise Conflict("jobs: not running; start before enqueueing")
        return self._client


def _look(*, quickly: bool) -> None:
    for kind, interval_s in _POLL_S.items():
        queue = DBOS.retrieve_queue(kind)
        assert queue is not None
        queue.set_polling_interval_sec(interval_s if quickly else _IDLE_POLL_S)


def _stop_claiming(dbos: DBOS) -> None:
    """Ends the queue threads before anything else of DBOS.

    It would end its loop first. A thread that has just claimed a job then hands it to a loop that has stopped and waits for ever, or to
    one that is stopping, and nobody ends the job that `close` waits for.
    """
    for event in dbos.background_thread_stop_events:
        event.set()
    for thread in threading.enumerate():
        if thread.name.startswith(_CLAIMING):
            thread.join(_CLAIM_ENDS_WITHIN_S)


def _workflow_id(kind: str, object_id: str, attempt: int, failures: int = 0) -> str:
    return f"{kind}-{object_id}-{attempt}" + (f".{failures}" if failures else "")


def _object_id(workflow_id: str) -> str:
    return workflow_id.partition("-")[2].rpartition("-")[0]


def _attempt(workflow_id: str) -> int:
    return int(workflow_id.rpartition("-")[2].partition(".")[0])


def _options(kind: str, object_id: str, attempt: int, delay_s: float = 0) -> EnqueueOptions:
    options = EnqueueOptions(
        workflow_name=kind,
        queue_name=kind,
        workflow_id=_workflow_id(kind, object_id, attempt),
        app_version=_VERSION,
    )
    if delay_s > 0:
        options["delay_seconds"] = delay_s
    return options


def _open_engine(url: sa.URL) -> sa.Engine:
    """DBOS' own synchronous connections to our database."""
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url.set(drivername="sqlite"), pool_size=5)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # As in DBOS: writers take the lock when they begin. Checkpoints are left to the connections of db/engine.py.
    connection.isolation_level = "IMMEDIATE"
    for pragma in (
        "synchronous=FULL",
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "foreign_keys=ON",
        "wal_autocheckpoint=0",
    ):
        connection.execute(f"PRAGMA {pragma}")


class _ToOurLog(logging.Handler):
    """Passes DBOS' warnings and errors on; its information lines would drown ours."""

    def emit(self, record: logging.LogRecord) -> None:
        log = logger(component="jobs")
        (log.error if record.levelno >= logging.ERROR else log.warning)(record.getMessage())


def _route_logs() -> None:
    library = logging.getLogger("dbos")
    library.propagate = False
    library.handlers = [_ToOurLog()]
