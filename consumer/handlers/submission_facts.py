"""
What is told of a submission, and what its claim says of it. Pure.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from consumer.core.fact import Fact, FactName, Witness, new_fact
from consumer.core.result import Correlation
from consumer.ports import Claim, SubmitAnswer, SubmitRefused, Submitted

PUT_OFF = "put_off"
"""The field of a claim's detail that says why fal, for the account's sake, took no job."""


def is_put_off(claim: Claim) -> bool:
    """Tell whether a claim ended in a certain no for the account's sake, to be tried again."""
    return bool(claim.detail.get(PUT_OFF))


def correlation_in(submission_id: str, detail: Mapping[str, Any]) -> Correlation:
    """Return the correlation that a submission's claim keeps."""
    tags = tuple(sorted((detail.get("tags") or {}).items()))
    return Correlation(
        submission_id, detail.get("command_id") or "", detail.get("endpoint") or "", tags
    )


def submission_fact(
    name: FactName,
    submission_id: str,
    at: datetime,
    detail: Mapping[str, Any],
    witness: Witness = Witness.COMMAND,
) -> Fact:
    """Return a fact about a submission, with what others may see of its claim."""
    return new_fact(name, witness, at, submission_id=submission_id, detail=shown(detail))


def shown(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a claim's detail is told: all but its own marks, and nothing that is unset."""
    return {
        key: value
        for key, value in detail.items()
        if key not in ("nonce", PUT_OFF) and value is not None
    }


def fact_of_answer(answer: SubmitAnswer, claim: Claim, now: datetime) -> Fact:
    """Return the fact that fal's answer to a submit makes."""
    detail = shown(claim.detail)
    if isinstance(answer, Submitted):
        return new_fact(
            FactName.SUBMITTED,
            Witness.SUBMIT,
            now,
            request_id=answer.request_id,
            submission_id=claim.key,
            detail=detail,
        )
    detail["reason"] = answer.reason
    if isinstance(answer, SubmitRefused):
        detail["http_status"] = answer.http_status
        return submission_fact(FactName.REFUSED, claim.key, now, detail, Witness.SUBMIT)
    return submission_fact(FactName.UNKNOWN, claim.key, now, detail, Witness.SUBMIT)
