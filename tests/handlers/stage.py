"""
Handlers and sweeps on memory, joined as the service joins them, with every part in reach.

A `Stage` is one process; `restarted` is the next one on the same log, ledger and fal. The
clock stands until a test moves it. `Dying` ports raise at a chosen call: a process that
was killed there.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from consumer.core.cancellation import cancel_at
from consumer.core.command import command_event, submission_id_of
from consumer.core.completion import reconciled_event, webhook_event
from consumer.core.event import EventType, NewRecord, Topic, decode, encode
from consumer.core.fact import Fact, FactName, Witness, fact_event, fact_from, new_fact
from consumer.core.policy import Done, Outcome, Policies, check_at
from consumer.core.signature import verify
from consumer.core.standing import Request
from consumer.core.token import Token, sign_token
from consumer.errors import ConsumerError
from consumer.handlers.cancelling import Canceller
from consumer.handlers.commands import Commands, Paid
from consumer.handlers.fetch import Fetch
from consumer.handlers.judging import Judge
from consumer.handlers.record import RecordEvents
from consumer.handlers.results import Facts, Results
from consumer.handlers.submitting import Callbacks, Submitter
from consumer.ports import Plan, Record
from consumer.sweeps.cancel import CancelStale
from consumer.sweeps.claims import PublishClaims
from consumer.sweeps.reconcile import Reconcile
from consumer.sweeps.settle import SettleEnds, Settler
from consumer.telemetry import Metrics
from consumer.testing.deliveries import signed_delivery, webhook_body
from consumer.testing.fal import FakeFal
from consumer.testing.keys import FakeKeys, Signer
from consumer.testing.ledger import MemoryLedger
from consumer.testing.log import MemoryLog

T0 = datetime(2026, 10, 1, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
R1, R2 = (f"019f7085-1439-7320-9a28-00000000000{n}" for n in (1, 2))
ENDPOINT = "fal-ai/flux/dev"
OURS, FOREIGN = "github|1", "github|2"
SECRET = b"a secret of at least 32 bytes, for tests"
KEYS_URL = "https://keys.example/.well-known/jwks.json"
SOURCE = "https://keys.example"
_RECORDED = (Topic.COMPLETIONS, Topic.RESULTS, Topic.LIFECYCLE, Topic.DEAD_LETTERS)


class KilledError(BaseException):
    """The process dies here: nothing below the test catches it."""


class ManualClock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = T0) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, span: timedelta) -> None:
        self.now += span


class Dying:
    """
    A port in front of another one, which raises instead of, or after, the call with a number.

    Every awaited method counts, over all `Dying` ports that share `countdown`.
    """

    def __init__(self, port: Any, countdown: "Countdown") -> None:
        self._port = port
        self._countdown = countdown

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._port, name)
        if not asyncio.iscoroutinefunction(attribute):
            return attribute

        async def called(*arguments: Any, **named: Any) -> Any:
            await asyncio.sleep(0)  # as a real port would, so that others come between
            self._countdown.before(name)
            answer = await attribute(*arguments, **named)
            self._countdown.after(name)
            return answer

        return called


@dataclass
class Countdown:
    """Raises `error` at one step: step 2n is before call n, step 2n + 1 right after it."""

    dies_at: int | None = None
    error: Callable[[], BaseException] = KilledError
    steps: int = 0
    names: list[str] = field(default_factory=list)

    def before(self, name: str) -> None:
        self.names.append(name)
        self._step()

    def after(self, _name: str) -> None:
        self._step()

    def _step(self) -> None:
        self.steps += 1
        if self.steps - 1 == self.dies_at:
            raise self.error()


@dataclass
class World:
    """What survives a process: its log, ledger and fal, the keys at fal, and the time."""

    clock: ManualClock = field(default_factory=ManualClock)
    policies: Policies = field(default_factory=Policies)
    signer: Signer = field(default_factory=Signer)
    fal: FakeFal = field(default_factory=FakeFal)

    def __post_init__(self) -> None:
        self.keys = FakeKeys(self.signer)
        self.log = MemoryLog(clock=self.clock)
        self.ledger = MemoryLedger(plan=self._plan, clock=self.clock)

    def _plan(self, request: Request, now: datetime) -> Plan:
        return Plan(check_at(request, now, self.policies), cancel_at(request, self.policies))


class Stage:
    """One process on a world: the handlers and sweeps as `serve` joins them."""

    def __init__(
        self,
        world: World | None = None,
        *,
        accounts: Sequence[str] = (OURS,),
        has_key: bool = True,
        public_url: str = "https://us.example",
        may_submit: Callable[[str], bool] = lambda _endpoint: True,
        countdown: Countdown | None = None,
        trusted: Any = None,
        listing: Any = None,
    ) -> None:
        self.world = world = world or World()
        self.clock, self.policies = world.clock, world.policies
        self.log, self.ledger, self.fal = world.log, world.ledger, world.fal
        log, ledger, fal = self.log, self.ledger, self.fal
        if countdown is not None:
            log, ledger, fal = (Dying(port, countdown) for port in (log, ledger, fal))
        timed = {"policies": self.policies, "clock": self.clock}
        self.metrics = Metrics()
        self.facts = Facts(log, source=world.fal.origin)
        self.results = Results(log, ledger, source=world.fal.origin, clock=self.clock)
        self.judge = Judge(trusted or world.keys, accounts=frozenset(accounts), secrets=(SECRET,))
        callbacks = Callbacks(public_url, (SECRET,))
        self.submitter = Submitter(fal, self.facts, self.results, ledger, callbacks, **timed)
        canceller = Canceller(fal, self.facts, self.results, ledger, clock=self.clock)
        paid = Paid(fal, self.submitter, canceller) if has_key else None
        self.fetch = Fetch(self.judge, fal if has_key else None, self.results, ledger, **timed)
        self.record = RecordEvents(
            self.judge,
            ledger,
            self.facts,
            key_set_urls=frozenset({KEYS_URL}),
            secrets=(SECRET,),
            **timed,
        )
        self.commands = Commands(
            paid, self.facts, self.results, ledger, may_submit=may_submit, **timed
        )
        settler = Settler(fal if has_key else None, self.results, ledger)
        self.settle = SettleEnds(settler, ledger, policies=self.policies)
        self.claims = PublishClaims(
            self.results, self.submitter if has_key else None, ledger, metrics=self.metrics, **timed
        )
        self.reconcile = Reconcile(
            fal,
            self.facts,
            self.results,
            ledger,
            canceller,
            settler,
            metrics=self.metrics,
            listing=listing,
            **timed,
        )
        self.cancel = CancelStale(canceller, self.facts, ledger, metrics=self.metrics, **timed)
        self._read: dict[str, int] = {}

    # ------------------------------------------------------------ records in

    async def put(self, record: NewRecord) -> Record:
        """Append a record and return it at its position."""
        position = await self.log.append(record)
        return next(r for r in self.log.records(position.topic) if r.position == position)

    async def fact(self, name: FactName, witness: Witness, **named: Any) -> None:
        """Let something be known: published and recorded."""
        named = {"request_id": R1} | named
        fact = new_fact(name, witness, self.clock(), **named)
        await self.put(encode(fact_event(fact, SOURCE)))
        await self.catch_up()

    async def tracked(self, request_id: str = R1, **detail: Any) -> None:
        """Let a request be tracked at its endpoint, and a job of it be queued at fal."""
        if request_id not in self.fal.jobs:
            self.fal.add(ENDPOINT, request_id)
        await self.fact(
            FactName.TRACKED,
            Witness.COMMAND,
            request_id=request_id,
            detail={"endpoint": ENDPOINT, "has_callback": True} | detail,
        )

    async def webhook(self, body: bytes | None = None, **how: Any) -> Record:
        """Append a genuine webhook completion as the receiver would, unrecorded."""
        return await self.put(self.webhook_record(body, **how))

    def webhook_record(
        self,
        body: bytes | None = None,
        *,
        request_id: str = R1,
        account: str = OURS,
        token: Token | None = None,
        signer: Signer | None = None,
    ) -> NewRecord:
        """Return the record of a genuine webhook completion, received now."""
        signer = signer or self.world.signer
        body = webhook_body(request_id) if body is None else body
        delivery = signed_delivery(
            signer, body, at=self.clock(), request_id=request_id, account=account
        )
        known = FakeKeys(signer)
        verified = verify(delivery, known.held.keys, now=self.clock())
        raw = sign_token(token, (SECRET,)) if token else ""
        return encode(
            webhook_event(verified, source=SOURCE, token=token, raw_token=raw, ours=account == OURS)
        )

    async def command(self, command: str, **fields: Any) -> Record:
        """Append a command."""
        fields = {"command": command, "command_id": "c1"} | fields
        return await self.put(encode(command_event(fields, source="tests", at=self.clock())))

    async def submit(self, **fields: Any) -> Record:
        """Append a submit command."""
        return await self.command(
            "submit", **({"endpoint": ENDPOINT, "input": {"prompt": "apple"}} | fields)
        )

    async def reconciled(self, completion: Any) -> Record:
        """Append a reconciled completion."""
        event = reconciled_event(completion, source=SOURCE, at=self.clock())
        return await self.put(encode(event))

    # ------------------------------------------------------------ letting it work

    async def catch_up(self) -> list[Outcome]:
        """Record what stands in the log and was not recorded yet; return the outcomes."""
        outcomes = []
        while True:
            fresh = [r for r in self.log.records(*_RECORDED) if self._is_fresh(r)]
            if not fresh:
                return outcomes
            for record in fresh:
                self._read[f"{record.position.topic}/{record.position.partition}"] = (
                    record.position.offset + 1
                )
                outcomes.append(await self.record.handle(record, 1))

    def _is_fresh(self, record: Record) -> bool:
        place = f"{record.position.topic}/{record.position.partition}"
        return record.position.offset >= self._read.get(place, 0)

    async def fetch_all(self) -> None:
        """Let `fetch` handle every completion in the log, then record what it published."""
        for record in self.log.records(Topic.COMPLETIONS):
            assert Done() == await self.fetch.handle(record, 1)
        await self.catch_up()

    def restarted(self, **how: Any) -> "Stage":
        """Return the next process on the same world; it reads the log from the start."""
        return Stage(self.world, **how)

    # ------------------------------------------------------------ looking

    def told(self) -> list[dict[str, Any]]:
        """Return the data of every result event, per key oldest first."""
        return [json.loads(record.value) for record in self.log.records(Topic.RESULTS)]

    def told_facts(self) -> list[Fact]:
        """Return every fact on the lifecycle topic, per key oldest first."""
        events = [decode(r.headers, r.value) for r in self.log.records(Topic.LIFECYCLE)]
        return [fact_from(event) for event in events if event.type is EventType.FACT]

    def fact_names(self) -> list[str]:
        """Return the names of the facts, per key oldest first."""
        return [fact.name.value for fact in self.told_facts()]

    def calls(self, operation: str) -> int:
        """Return how often fal was asked this."""
        return sum(name == operation for name, _ in self.fal.calls)

    async def request(self, request_id: str = R1) -> Request:
        """Return the request as the ledger derives it."""
        found = await self.ledger.request(request_id)
        assert found is not None
        return found


SUBMISSION = submission_id_of("c1")


async def run_to_death(work: Callable[[], Any]) -> bool:
    """Run; tell whether it was killed or failed on the way."""
    try:
        await work()
    except (KilledError, ConsumerError):
        return True
    return False
