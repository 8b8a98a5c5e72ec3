"""
Carries out what a finished job causes: which deliveries, in which order, when.

`deliveries` says what they contain, `webhooks` how one is posted; this file only times them.
"""

import asyncio
from dataclasses import replace

from consumer.simulator import deliveries
from consumer.simulator.books import Attempt
from consumer.simulator.config import SimulatorConfig
from consumer.simulator.deliveries import Delivery
from consumer.simulator.jobs import Job
from consumer.simulator.keys import SigningKey
from consumer.simulator.outcomes import Ending
from consumer.simulator.retention import retried_until
from consumer.simulator.scenarios import Webhook
from consumer.simulator.webhooks import WebhookSender, loopback_url

# All in fal's seconds, scaled when they pass; our choices, fal documents none of them.
_AGAIN_AFTER_S = 60.0
_DECOY_AFTER_S = 2.0
_MAX_HOLD_S = 30.0


class Courier:
    """Sends the deliveries of finished jobs."""

    def __init__(self, config: SimulatorConfig, sender: WebhookSender) -> None:
        self._config = config
        self._sender = sender
        self._forger = SigningKey.random()  # in no key set, ever

    async def carry(self, job: Job) -> None:
        """Send every delivery this finished job causes; return when the last one is settled."""
        ending = job.ending
        if ending is None or job.order.webhook_url is None or not self._is_announced(job, ending):
            return
        account = self._config.account
        decoy = deliveries.decoy(job, ending, account, self._forger)
        comes_first = job.rng("order of decoy").random() < 0.5
        if decoy is not None and comes_first:
            await self._send(job, decoy)
        async with asyncio.TaskGroup() as tasks:
            if decoy is not None and not comes_first:
                tasks.create_task(self._send(job, decoy, after_s=_DECOY_AFTER_S))
            if job.scenario.webhook is not Webhook.LOST:
                await self._send_genuine(job, deliveries.genuine(job, ending, account), tasks)

    def _is_announced(self, job: Job, ending: Ending) -> bool:
        if ending.end != "cancelled":
            return True
        return self._config.webhook_on_cancel and job.sent_at is not None

    async def _send_genuine(self, job: Job, delivery: Delivery, tasks: asyncio.TaskGroup) -> None:
        copy = replace(delivery, kind="duplicate")
        match job.scenario.webhook:
            case Webhook.DUPLICATE:
                signed = self._sender.sign(delivery)
                tasks.create_task(self._send(job, copy, first_headers=signed))
                tasks.create_task(self._send(job, copy, after_s=_AGAIN_AFTER_S))
                await self._send(job, delivery, first_headers=signed)
            case Webhook.REORDERED:
                signed = self._sender.sign(delivery)
                await self._hold()
                await self._send(job, delivery)
                await self._send(job, copy, first_headers=signed)
            case Webhook.LATE:
                await self._send(job, delivery, after_s=self._config.late_s)
            case _:
                await self._send(job, delivery)

    async def _hold(self) -> None:
        """Wait until some other delivery has overtaken, or long enough."""
        try:
            async with asyncio.timeout(_MAX_HOLD_S * self._config.time_scale):
                await self._sender.sent.wait()
        except TimeoutError:
            return

    async def _send(
        self,
        job: Job,
        delivery: Delivery,
        *,
        after_s: float = 0.0,
        first_headers: dict[str, str] | None = None,
    ) -> None:
        def note(attempt: Attempt) -> None:
            job.entry.attempts.append(attempt)
            job.first_attempt_over.set()

        if after_s:
            await asyncio.sleep(after_s * self._config.time_scale)
        url = loopback_url(job.order.webhook_url or "")
        until = retried_until(job, self._config)
        await self._sender.send(url, delivery, note, first_headers=first_headers, retry_until=until)
