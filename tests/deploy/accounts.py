"""Service accounts with given rights on a real API server, and what it says that they may do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.controlplane.plane import ControlPlane
from tests.deploy.shipped import One, rights_of, rules_of, singly

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEW = "authorization.k8s.io/v1"


class Accounts:
    """Accounts in one namespace, each bound to a ClusterRole of its own."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._plane, self._namespace = plane, namespace
        self._made: list[str] = []

    def kubeconfig(self, name: str, rights: Sequence[One]) -> Path:
        """Make an account that may do exactly that, everywhere; its kubeconfig, once the authorizer knows of it."""
        unique = f"{self._namespace}-{name}"
        account = {"kind": "ServiceAccount", "name": name, "namespace": self._namespace}
        role = {"metadata": {"name": unique}, "rules": rules_of(rights)}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": unique}
        binding = {"metadata": {"name": unique}, "roleRef": reference, "subjects": [account]}
        post = self._plane.api.json
        post("POST", f"/api/v1/namespaces/{self._namespace}/serviceaccounts", {"metadata": {"name": name}})
        post("POST", f"{RBAC}/clusterroles", role)
        post("POST", f"{RBAC}/clusterrolebindings", binding)
        self._made.append(unique)
        if rights:
            wait_until_granted(self._plane, self._namespace, name, rights)
        return self._plane.service_account_kubeconfig(self._namespace, name)

    def lacking(self, missing: One) -> Path:
        """An account that may do all that the table says but one thing."""
        name = f"no-{missing}".replace(".", "-")
        return self.kubeconfig(name, [one for one in singly() if one != missing])

    def forget(self) -> None:
        """Take the roles away; the accounts go with their namespace."""
        for name in self._made:
            self._plane.api.ask("DELETE", f"{RBAC}/clusterrolebindings/{name}")
            self._plane.api.ask("DELETE", f"{RBAC}/clusterroles/{name}")


def wait_until_granted(plane: ControlPlane, namespace: str, account: str, rights: Sequence[One]) -> None:
    """Wait for the authorizer, which learns of roles and bindings a moment after they are stored. One right tells."""
    one = rights[0]
    review = {"spec": {"user": f"system:serviceaccount:{namespace}:{account}", **_attributes(one)}}

    def granted() -> bool:
        answer = plane.api.json("POST", f"/apis/{REVIEW}/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    plane.wait_for(f"the rights of {account}", granted)


def _attributes(one: One, namespace: str = "") -> dict[str, Any]:
    resource, _, subresource = one.resource.partition("/")
    asked = {"group": one.group, "resource": resource, "subresource": subresource, "verb": one.verb, "name": one.name}
    return {"resourceAttributes": asked | {"namespace": namespace}}


def granted(plane: ControlPlane, kubeconfig: Path, namespace: str) -> set[One]:
    """All that an account may do to objects of a namespace, as the server itself lists it."""
    review = {"apiVersion": REVIEW, "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}
    (answer,) = _reviewed(plane, kubeconfig, [review])
    assert not answer["status"]["incomplete"], answer
    return set(rights_of({"rules": answer["status"]["resourceRules"]}))


def allowed(plane: ControlPlane, kubeconfig: Path, asked: Iterable[One], namespace: str) -> set[One]:
    """Which of these an account may do, in a namespace or, where it is "", in all."""
    rights = list(asked)
    kind = {"apiVersion": REVIEW, "kind": "SelfSubjectAccessReview"}
    answers = _reviewed(plane, kubeconfig, [kind | {"spec": _attributes(one, namespace)} for one in rights])
    return {one for one, answer in zip(rights, answers, strict=True) if answer["status"]["allowed"]}


def _reviewed(plane: ControlPlane, kubeconfig: Path, reviews: list[dict[str, Any]]) -> list[dict[str, Any]]:
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": reviews})
    said = plane.kubectl("create", "-f", "-", "-o", "json", input=content, kubeconfig=kubeconfig)
    answers: list[dict[str, Any]] = []
    decoder, rest = json.JSONDecoder(), said.strip()
    while rest:
        answer, end = decoder.raw_decode(rest)
        answers.extend(answer["items"] if answer["kind"] == "List" else [answer])
        rest = rest[end:].strip()
    return answers
