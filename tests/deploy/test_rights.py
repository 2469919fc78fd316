"""The table of rights, and the files that ship it: the same, and nothing beside it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from reconciler.adapters.kubernetes.resources import BUILT_IN
from reconciler.model.objects import KIND_ORDER, RENDERED_KINDS
from reconciler.model.rights import RIGHTS
from tests.controlplane.fixtures import require_programs
from tests.deploy.shipped import BASE, CHART, DEPLOY, EXAMPLE, kustomized, only, rights_of, singly
from tests.helm.helm import Helm, HelmFailed


def shipped_by_the_base() -> dict[str, Any]:
    role: dict[str, Any] = only(yaml.safe_load_all((BASE / "rbac.yaml").read_text()), "ClusterRole")
    return role


def test_the_table_names_resources_as_servers_do():
    for group, _, kind in RENDERED_KINDS:
        assert (group, BUILT_IN[group, kind].plural) in {(right.group, right.resource) for right in RIGHTS}
    assert len({(right.group, right.resource) for right in RIGHTS}) == len(RIGHTS)
    assert len(RIGHTS) == len(KIND_ORDER) + 5


def test_the_table_has_no_secrets_no_wildcards_and_nothing_that_leads_to_more():
    for one in singly():
        assert "*" not in one
        assert one.resource != "secrets"
        assert one.verb not in ("bind", "escalate", "impersonate", "update", "deletecollection")
        assert one.group not in ("rbac.authorization.k8s.io", "authentication.k8s.io", "certificates.k8s.io")
        assert one.resource not in ("pods/exec", "pods/attach", "pods/portforward", "serviceaccounts/token")


def test_the_kustomize_base_ships_the_table():
    assert sorted(rights_of(shipped_by_the_base())) == sorted(singly())


def test_the_document_lists_every_right():
    text = (DEPLOY / "README.md").read_text()
    rows = re.findall(r"^\| `([\w./-]+)` \| ([a-z, ]+) \|", text, re.MULTILINE)
    listed = {(resource, verb) for resource, verbs in rows for verb in verbs.split(", ")}
    named = {
        ("/".join([f"{one.resource.split('/')[0]}.{one.group}".rstrip("."), *one.resource.split("/")[1:]]), one.verb)
        for one in singly()
    }
    assert listed == named


@pytest.mark.controlplane
@pytest.mark.parametrize(
    ("folder", "account", "namespace"), [(BASE, "reconciler", "reconciler"), (EXAMPLE, "acme-reconciler", "fleet-acme")]
)
def test_kustomize_binds_the_table_to_its_own_account(folder, account, namespace):
    require_programs()
    objects = kustomized(folder)
    role, binding = only(objects, "ClusterRole"), only(objects, "ClusterRoleBinding")
    assert sorted(rights_of(role)) == sorted(singly())
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": namespace}]
    made = only(objects, "ServiceAccount")["metadata"]
    assert (made["name"], made["namespace"]) == (account, namespace)
    assert only(objects, "Namespace")["metadata"]["name"] == namespace


@pytest.mark.helm
def test_the_chart_binds_the_table_to_its_own_account(helm: Helm):
    objects = helm.template(CHART, namespace="ops")
    role, binding = only(objects, "ClusterRole"), only(objects, "ClusterRoleBinding")
    assert sorted(rights_of(role)) == sorted(singly())
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    made = only(objects, "ServiceAccount")["metadata"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": made["name"], "namespace": "ops"}]


@pytest.mark.helm
def test_the_chart_is_clean_and_makes_nothing_that_would_run_by_default(helm: Helm):
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))
    kinds = {each["kind"] for each in helm.template(CHART, namespace="ops")}
    assert kinds == {"ServiceAccount", "ClusterRole", "ClusterRoleBinding"}


@pytest.mark.helm
def test_releases_of_one_name_in_two_namespaces_share_no_role(helm: Helm):
    roles = [only(helm.template(CHART, namespace=each), "ClusterRole") for each in ("one", "two")]
    assert roles[0]["metadata"]["name"] != roles[1]["metadata"]["name"]


@pytest.mark.helm
def test_an_account_that_is_there_already_is_bound_and_not_made(helm: Helm):
    mine = ["--set", "serviceAccount.create=false", "--set", "serviceAccount.name=ci"]
    objects = helm.template(CHART, *mine, namespace="ops")
    assert "ServiceAccount" not in {each["kind"] for each in objects}
    assert only(objects, "ClusterRoleBinding")["subjects"][0]["name"] == "ci"
    with pytest.raises(HelmFailed, match=r"serviceAccount\.name is needed"):
        helm.template(CHART, "--set", "serviceAccount.create=false", namespace="ops")


@pytest.mark.helm
@pytest.mark.parametrize("mistake", ["rbac.creat=true", "rbac.create=often", "password=x"])
def test_the_chart_refuses_values_that_it_does_not_know(helm: Helm, mistake: str):
    with pytest.raises(HelmFailed, match=mistake.split("=", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1]):
        helm.template(CHART, "--set", mistake, namespace="ops")
