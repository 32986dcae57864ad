"""Answers of a Ray cluster: blocks of lines go through one stream of Ray Data, and come back.

```
 batches ─ blocks ─► Blocks ─► Feeder ─► source task ─► actors that answer ─► Blocks ─ files
           (server)            (actor)   (one, a generator)  (as many as --ray-workers)
```
One stream serves all batches, so that models load once; it ends when nothing has come for a while,
and the cluster's processors are free for others. What the server wrote down is the only truth: a
block whose answers were not recorded is asked again, by the next stream or the next server, and
answers of a block that nobody waits for are dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import orjson

from ...base.errors import ConfigurationError
from ..protocol.answers import Answer, Answerer, NoAnswer
from ..protocol.lines import batch_url, parse_line
from .engine import Engine, NamedModel, unable
from .model import ModelAnswerer
from .simulate import SimulatedAnswerer
from .upstream import UpstreamAnswerer

if TYPE_CHECKING:
    from ray.data import Dataset

logger = logging.getLogger(__name__)

HERE = "local"
"""The address of a Ray of our own, on this machine's processors, that ends with the server."""
BLOCK = 64
"""Lines of a block, at most: what a killed worker repeats."""
AHEAD = 3
"""Blocks in the stream for each worker: one is answered, one begins, one waits."""
IDLE = 3.0
"""Seconds without new lines after which a stream ends."""
PATIENCE = 120.0
"""Seconds for which a stream that fails is begun again before its lines become errors."""
LAST_MOMENT = 5.0
"""Seconds that a stream has to end by itself when the server stops."""
STORE_BYTES = 128 * 1024 * 1024
"""Memory that a Ray of our own keeps blocks in: far more than are ever in the stream."""
LONGEST_FOLDER = 30
"""Characters of a temporary folder that Ray can still put its sockets in."""
GONE = (-1, b"")
"""What the source passes in place of a block that was answered before the source was killed."""

Reply = Answer | NoAnswer
Item = tuple[int, bytes]


def ray_missing() -> ConfigurationError:
    """What to say where Ray isn't installed."""
    return ConfigurationError(
        "--ray needs Ray, which isn't installed: pip install 'sqlite-utils-openai-batch[ray]'."
    )


# What goes over the wire.


def packed(replies: Sequence[Reply]) -> bytes:
    """Answers as bytes."""
    return orjson.dumps([[isinstance(reply, Answer), *reply] for reply in replies])


def unpacked(data: bytes) -> list[Reply]:
    """The answers in bytes."""
    return [
        Answer(first, second) if is_answer else NoAnswer(first, second)
        for is_answer, first, second in orjson.loads(data)
    ]


# On the workers.


def nearest_upstream(urls: Sequence[str], **options: Any) -> UpstreamAnswerer:
    """Made on a worker: servers on its own machine come first, the others in an order of its own.

    So the workers spread over the servers, and turn to another's only where theirs has no room.
    """
    import ray.util

    own = {"127.0.0.1", "localhost", "::1", ray.util.get_node_ip_address()}
    others = random.sample(list(urls), len(urls))
    return UpstreamAnswerer(
        sorted(others, key=lambda url: urlsplit(url).hostname not in own), **options
    )


class Worker:
    """One actor of the cluster: answers blocks, many lines at a time, by an answerer of its own."""

    def __init__(self, make: Callable[[], Answerer]) -> None:
        self._answerer = make()
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(self._answerer.concurrency)
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def __call__(self, table: Any) -> Any:
        """Answer the blocks of a table."""
        import pyarrow

        blocks, lines = table.column("block").to_pylist(), table.column("lines").to_pylist()
        waiting = [asyncio.run_coroutine_threadsafe(self._block(data), self._loop)
                   for data in lines]  # fmt: skip
        answers = [packed(one.result()) for one in waiting]
        at = pyarrow.array([0] * len(blocks), pyarrow.int64())
        return pyarrow.table({"block": blocks, "at": at, "answers": answers})

    async def _block(self, data: bytes) -> list[Reply]:
        return await asyncio.gather(*(self._line(line) for line in data.split(b"\n")))

    async def _line(self, data: bytes) -> Reply:
        async with self._slots:
            request = parse_line(data) or {}
            url = batch_url(request["url"])
            try:
                return await self._answerer.answer(url, request["body"], request["custom_id"])
            except Exception as error:  # noqa: BLE001  an error of a line is that line's only
                return NoAnswer("worker_error", f"The worker failed at this request: {error!r}")


@dataclass(frozen=True)
class Workers:
    """Actors that each make an answerer of their own: the usual way to answer on a cluster."""

    make: Callable[[], Answerer]
    count: int
    cpus: float
    gathers: ClassVar[bool] = False
    """Whether lines wait for others to join them: the last ones then wait for the stream's end."""

    def on(self, blocks: Dataset) -> Dataset:
        """Let the blocks of a dataset be answered."""
        from ray.data import ActorPoolStrategy

        return blocks.map_batches(
            Worker,
            fn_constructor_args=(self.make,),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=self.count, max_tasks_in_flight_per_actor=AHEAD),
            num_cpus=self.cpus,
        )


# Between the server and the workers.


class Feeder:
    """An actor that hands blocks to the source, in order, and again if the source was killed.

    Calls of an actor that waits in some of them may overtake each other: each names its place.
    """

    def __init__(self) -> None:
        self._items: dict[int, Item | None] = {}
        self._done: set[int] = set()
        self._changed = asyncio.Condition()

    async def put(self, place: int, item: Item | None) -> None:
        """Take a block from the server; None ends the stream."""
        async with self._changed:
            self._items[place] = item
            self._changed.notify_all()

    async def take(self, place: int) -> Item | None:
        """Give the block at that place of the stream, as soon as it is there."""
        async with self._changed:
            while place not in self._items:
                if place in self._done:
                    return GONE
                await self._changed.wait()
            return self._items[place]

    async def done(self, place: int) -> None:
        """Forget a block that was answered."""
        if self._items.pop(place, None) is not None:
            self._done.add(place)


def source(feeder: Any) -> Any:
    """A Ray Data source that yields one row for each block, as they come."""
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    def read() -> Iterator[Any]:
        import pyarrow
        import ray

        place = 0
        while (item := ray.get(feeder.take.remote(place))) is not None:
            place += 1
            yield pyarrow.table({"block": [item[0]], "lines": [item[1]]})

    class Source(Datasource):  # type: ignore[misc, unused-ignore]  # Ray's types may be absent
        def get_name(self) -> str:
            return "Lines"

        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            unknown = BlockMetadata(
                num_rows=None, size_bytes=None, input_files=None, exec_stats=None
            )
            return [ReadTask(read, unknown)]

    return Source()


# In the server.


@dataclass
class Block:
    """Lines on their way; `answered` is called once, with all of their answers."""

    id: int
    lines: Sequence[bytes]
    answered: Callable[[list[Reply]], None]
    replies: dict[int, Reply] = field(default_factory=dict)


class Blocks:
    """The blocks that wait or are in the stream, for the server's thread and the stream's."""

    def __init__(self) -> None:
        self._open: dict[int, Block] = {}
        self._waiting: deque[int] = deque()
        self._last = 0
        self.changed = threading.Condition()
        self.closed = False
        self.heard = time.monotonic()
        """When answers last came."""

    def add(self, lines: Sequence[bytes], answered: Callable[[list[Reply]], None]) -> int:
        """Have lines answered; returns the number of their block."""
        with self.changed:
            self._last += 1
            self._open[self._last] = Block(self._last, lines, answered)
            self._waiting.append(self._last)
            self.changed.notify_all()
            return self._last

    def forget(self, block: int) -> None:
        """Nobody waits for a block any more."""
        with self.changed:
            self._open.pop(block, None)

    def again(self) -> None:
        """The stream broke: what was in it waits again."""
        with self.changed:
            self._waiting = deque(self._open)
            self.changed.notify_all()

    def next(self, seconds: float) -> Item | None:
        """The next block to send, None when none has come for so many seconds."""
        ends = time.monotonic() + seconds
        with self.changed:
            while not self.closed:
                while self._waiting:
                    if block := self._open.get(self._waiting.popleft()):
                        return block.id, b"\n".join(block.lines)
                if (left := ends - time.monotonic()) <= 0:
                    return None
                self.changed.wait(left)
        return None

    def wait(self) -> None:
        """Wait until there is something to send, or until all is closed."""
        with self.changed:
            while not self.closed and not any(one in self._open for one in self._waiting):
                self.changed.wait()

    @property
    def are_open(self) -> bool:
        """Whether any block waits for its answers."""
        return bool(self._open)

    def heard_of(self, block: int, at: int, replies: Sequence[Reply]) -> bool:
        """Take answers that came back; True when nothing more of that block is wanted."""
        with self.changed:
            self.heard = time.monotonic()
            if (found := self._open.get(block)) is None:
                return True
            found.replies.update(enumerate(replies, at))
            if len(found.replies) < len(found.lines):
                return False
            del self._open[block]
        found.answered([found.replies[number] for number in range(len(found.lines))])
        return True

    def give_up(self, reply: NoAnswer) -> None:
        """Nothing that is open can be answered."""
        with self.changed:
            failed = list(self._open.values())
            self._open.clear()
            self._waiting.clear()
        for block in failed:
            block.answered([block.replies.get(n, reply) for n in range(len(block.lines))])

    def close(self) -> None:
        """No more."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


Stage = Callable[[int], Any]
"""From the cluster's processors to what answers on it: `Workers`, or an engine."""


class Stream(threading.Thread):
    """The thread that holds the connection to Ray and has blocks streamed through it.

    It lives as long as the server: a Ray that it started ends with the thread that began it.
    """

    def __init__(self, blocks: Blocks, address: str, stage: Stage, idle: float) -> None:
        super().__init__(name="Ray", daemon=True)
        self._blocks = blocks
        self._address = address
        self._make_stage = stage
        self._stage: Any = None
        self._idle = idle
        self.connected = threading.Event()
        self.error: BaseException | None = None
        self.cpus = 1

    def run(self) -> None:
        """Connect, stream while there are blocks, disconnect when all is closed."""
        try:
            self.cpus = connect(self._address)
            self._stage = self._make_stage(self.cpus)
        except BaseException as error:  # noqa: BLE001  told to who waits for the connection
            self.error = error
            return
        finally:
            self.connected.set()
        import ray

        try:
            self._serve()
        finally:
            ray.shutdown()

    def _serve(self) -> None:
        failing_since: float | None = None
        while True:
            self._blocks.wait()
            if self._blocks.closed:
                return
            began = time.monotonic()
            error = self._streamed()
            if self._blocks.closed:
                return
            # Whatever the stream took in and didn't bring back goes into the next one.
            self._blocks.again()
            if error is None or self._blocks.heard > began:
                failing_since = None
            if error is None:
                continue
            failing_since = failing_since or began
            logger.warning("The Ray stream broke and is begun again: %s", first_line(error))
            if time.monotonic() - failing_since > PATIENCE:
                self._blocks.give_up(NoAnswer("worker_error", f"The cluster failed: {error}"))
                failing_since = None
            with self._blocks.changed:
                self._blocks.changed.wait(1.0)

    def _streamed(self) -> BaseException | None:
        """Have one stream run in a thread of its own, until it ends or all is closed."""
        ended: list[BaseException | None] = []

        def work() -> None:
            try:
                self._flow()
            except BaseException as error:  # noqa: BLE001  whatever broke it, another is begun
                ended.append(error)
            else:
                ended.append(None)
            with self._blocks.changed:
                self._blocks.changed.notify_all()

        flowing = threading.Thread(target=work, name="Ray Data", daemon=True)
        flowing.start()
        with self._blocks.changed:
            while not ended and not self._blocks.closed:
                self._blocks.changed.wait()
        flowing.join(LAST_MOMENT if self._blocks.closed else None)
        return ended[0] if ended else None

    def _flow(self) -> None:
        import ray

        feeder: Any = ray.remote(Feeder).options(num_cpus=0).remote()  # type: ignore[union-attr, unused-ignore]
        places: dict[int, int] = {}
        over = threading.Event()
        feeding = threading.Thread(target=self._feed, args=(feeder, places, over), daemon=True)
        feeding.start()
        try:
            for batch in results(self._stage, feeder):
                for block, at, data in zip(
                    *(batch.column(name).to_pylist() for name in ("block", "at", "answers")),
                    strict=True,
                ):
                    if self._blocks.heard_of(block, at, unpacked(data)) and block in places:
                        feeder.done.remote(places.pop(block))
        finally:
            over.set()
            feeding.join(self._idle + 1)
            with contextlib.suppress(Exception):  # the cluster may be gone
                ray.kill(feeder)

    def _feed(self, feeder: Any, places: dict[int, int], over: threading.Event) -> None:
        """Pass blocks to the feeder until there has been nothing to do for a while."""
        place = 0
        ends = time.monotonic() + self._idle
        while not over.is_set() and not self._blocks.closed:
            if item := self._blocks.next(min(0.2, self._idle)):
                places[item[0]] = place
                feeder.put.remote(place, item)
                place += 1
                ends = time.monotonic() + self._idle
            elif self._blocks.are_open and not self._stage.gathers:
                ends = time.monotonic() + self._idle
            elif time.monotonic() > ends:
                break
        if not over.is_set():
            feeder.put.remote(place, None)


def results(stage: Any, feeder: Any) -> Iterator[Any]:
    """The answered blocks of a stream, as tables with the columns block, at and answers."""
    import ray.data

    context = ray.data.DataContext.get_current()
    # Each row of the source is a block that goes on at once: none waits for others to join it.
    context.target_max_block_size = 1
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    blocks = ray.data.read_datasource(
        source(feeder), concurrency=1, override_num_blocks=1, num_cpus=0
    )
    answered = stage.on(blocks)
    yield from answered.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


def first_line(error: BaseException) -> str:
    """An error's last words, without the traceback that Ray puts before them."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else repr(error)


def connect(address: str) -> int:
    """Connect to a cluster, or start a Ray here; returns its processors.

    Raises ConfigurationError.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # rows are nobody's business
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its warnings are not for our screen
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ray_missing() from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    quiet: Mapping[str, Any] = {"configure_logging": False, "log_to_driver": False}
    if ray.is_initialized():  # by the program that we are part of
        return max(1, int(ray.cluster_resources().get("CPU", 1)))
    try:
        if address == HERE:
            if len(tempfile.gettempdir()) > LONGEST_FOLDER and Path("/tmp").is_dir():
                os.environ.setdefault("RAY_TMPDIR", "/tmp")
            ray.init(
                HERE, num_cpus=own_cpus(), object_store_memory=STORE_BYTES,
                include_dashboard=False, **quiet,
            )  # fmt: skip
        else:
            knock(address)
            ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ConfigurationError(no_cluster(address, error)) from error
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def knock(address: str) -> None:
    """See that somebody listens at `host:port`: Ray itself would try for minutes.

    Raises OSError.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def no_cluster(address: str, error: BaseException) -> str:
    """What to say where a cluster doesn't take us."""
    cause: BaseException | None = error
    while cause is not None and "AuthenticationError" not in f"{type(cause).__name__} {cause}":
        cause = cause.__cause__
    if cause is not None:
        return (
            f"The Ray cluster at {address} wants a token. Set RAY_AUTH_MODE=token and"
            " RAY_AUTH_TOKEN to the one that it was started with, or RAY_AUTH_TOKEN_PATH to its"
            " file."
        )
    return (
        f"No Ray cluster can be used at {address}: {first_line(error).rstrip('.')}. Start one with"
        " `ray start --head`, give its address (host:port, or auto on one of its machines), or"
        " leave the address out to use this machine's processors."
    )


def own_cpus() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class RayAnswerer:
    """Answers by the workers of a Ray cluster, a block of lines at a time.

    `address` is a cluster's, or HERE. `stage` makes what answers there, told the cluster's
    processors. `front` tells which models there are. `workers` decides how many blocks are on
    their way at once, `concurrency`. `knows_bodies` says that those who answer refuse a bad
    request themselves, `refuse` what they can't answer at all.

    Raises ConfigurationError from `connect`, which the first use calls.
    """

    def __init__(
        self,
        stage: Stage,
        front: Answerer,
        *,
        address: str = HERE,
        workers: int | None = None,
        block: int = BLOCK,
        idle: float = IDLE,
        knows_bodies: bool = False,
        refuse: Callable[[str, Mapping[str, Any]], Answer | None] | None = None,
    ) -> None:
        where = "a Ray on this machine" if address == HERE else f"the Ray cluster at {address}"
        self.label = f"{front.label.removesuffix(' on this machine')}, by {where}"
        self.block = block
        self.knows_bodies = knows_bodies
        self._front = front
        self._refuse = refuse
        self._workers = workers
        self._blocks = Blocks()
        self._stream = Stream(self._blocks, address, stage, idle)
        self._starting = threading.Lock()

    def connect(self) -> RayAnswerer:
        """Connect to the cluster now. Raises ConfigurationError."""
        with self._starting:
            if not self._stream.is_alive() and not self._stream.connected.is_set():
                self._stream.start()
        self._stream.connected.wait()
        if self._stream.error is not None:
            raise self._stream.error
        return self

    @property
    def workers(self) -> int:
        """How many workers answer."""
        return self._workers or self.connect()._stream.cpus

    @property
    def concurrency(self) -> int:
        """Blocks on their way at once."""
        return self.workers * AHEAD

    def block_size(self, lines: int) -> int:
        """Lines of a block in a batch of so many: each worker gets something to do."""
        return max(1, min(self.block, -(-lines // (2 * self.workers))))

    def refusal(self, url: str, body: Mapping[str, Any]) -> Answer | None:
        """The error of a request that can't be answered here, None for others."""
        return self._refuse(url, body) if self._refuse else None

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer | NoAnswer:
        """Answer one request, as a block of one line."""
        if refusal := self.refusal(url, body):
            return refusal
        line = orjson.dumps({"custom_id": custom_id, "url": url, "body": body})
        return (await self.answer_block([line]))[0]

    async def answer_block(self, lines: Sequence[bytes]) -> list[Answer | NoAnswer]:
        """Answer the lines of an input file, all of them in their order."""
        await asyncio.to_thread(self.connect)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Reply]] = loop.create_future()

        def answered(replies: list[Reply]) -> None:
            with contextlib.suppress(RuntimeError):  # the server stopped meanwhile
                loop.call_soon_threadsafe(settle, replies)

        def settle(replies: list[Reply]) -> None:
            if not future.done():
                future.set_result(replies)

        block = self._blocks.add(lines, answered)
        try:
            return await future
        finally:
            self._blocks.forget(block)

    async def models(self) -> list[str]:
        """The names of the models that answer."""
        return await self._front.models()

    async def allowed_models(self) -> list[str] | None:
        """The only names that requests may use; None for any."""
        return await self._front.allowed_models()

    async def close(self) -> None:
        """Leave the cluster; a Ray of our own ends."""
        self._blocks.close()
        if self._stream.is_alive():
            await asyncio.to_thread(self._stream.join, 30.0)
        await self._front.close()


# What answers there.


def answerer(
    address: str,
    *,
    urls: Sequence[str] = (),
    key: str | None = None,
    concurrency: int = 4,
    timeout: float = 600.0,
    engine: str | None = None,
    model: str | None = None,
    workers: int | None = None,
    tensor_parallel: int = 1,
) -> RayAnswerer:
    """Who answers on a cluster: engines of `model`, or servers at `urls`, or the small model."""
    if engine:
        return by_vllm(
            model or "", address=address, replicas=workers, tensor_parallel=tensor_parallel
        )
    if urls:
        return through_upstream(
            urls, address=address, key=key, concurrency=concurrency, timeout=timeout, model=model,
            workers=workers,
        )  # fmt: skip
    return by_small_model(address=address, workers=workers)


UPSTREAM_CPUS = 0.1
"""Of a processor, what a worker takes that only waits for servers."""


def through_upstream(
    urls: Sequence[str],
    *,
    address: str = HERE,
    key: str | None = None,
    concurrency: int = 4,
    timeout: float = 600.0,
    model: str | None = None,
    workers: int | None = None,
) -> RayAnswerer:
    """Workers that ask OpenAI-compatible servers, at most `concurrency` requests at each of them.

    Each worker has an equal part of that, so there are no more workers than requests at once.
    """
    count = min(workers or max(2, len(urls)), concurrency)
    each = concurrency // count
    options: dict[str, Any] = {"key": key, "timeout": timeout, "model": model}
    make = partial(nearest_upstream, tuple(urls), concurrency=each, **options)
    front = UpstreamAnswerer(urls, concurrency=concurrency, **options)
    return RayAnswerer(
        lambda _: Workers(make, count, UPSTREAM_CPUS),
        front,
        address=address,
        workers=count,
        block=min(8 * BLOCK, max(BLOCK, 8 * each * len(urls))),
        knows_bodies=True,
    )


def by_small_model(*, address: str = HERE, workers: int | None = None) -> RayAnswerer:
    """The small real model, on each processor of the cluster unless `workers` says how many."""
    return RayAnswerer(
        lambda cpus: Workers(ModelAnswerer, workers or cpus, 1),
        ModelAnswerer(),
        address=address,
        workers=workers,
        block=8,
    )


def by_simulation(
    seed: int = 0, *, echo: bool = False, address: str = HERE, workers: int | None = None
) -> RayAnswerer:
    """Answers made up by the workers: to try a cluster without a model."""
    count = workers or 2
    make = partial(SimulatedAnswerer, seed, echo=echo)
    return RayAnswerer(
        lambda _: Workers(make, count, UPSTREAM_CPUS), make(), address=address, workers=count
    )


def by_vllm(
    model: str, *, address: str = HERE, replicas: int | None = None, tensor_parallel: int = 1
) -> RayAnswerer:
    """vLLM engines on the cluster's GPUs, by Ray's own LLM processor."""
    count = replicas or 1
    return RayAnswerer(
        lambda _: Engine(model, count, tensor_parallel),
        NamedModel(model),
        address=address,
        workers=count,
        block=BLOCK,
        idle=4 * IDLE,
        refuse=unable,
    )
