"""What a sweep found of an agent."""

from __future__ import annotations

from typing import TypedDict

from reconciler.model.health import Assessment


class CheckShape(TypedDict):
    name: str
    dimension: str
    state: str
    text: str


class AssessmentShape(TypedDict):
    agent: str
    state: str
    healthy: bool
    critical: bool
    upstream: list[str]
    checks: list[CheckShape]


def assessment_json(assessment: Assessment) -> AssessmentShape:
    """Health of one agent, as it was judged last."""
    return {
        "agent": str(assessment.agent),
        "state": str(assessment.state),
        "healthy": assessment.is_healthy,
        "critical": assessment.critical,
        "upstream": [str(name) for name in assessment.upstream],
        "checks": [
            {"name": check.name, "dimension": str(check.dimension), "state": str(check.state), "text": check.text}
            for check in assessment.checks
        ],
    }
