"""A double, and the real driver connected to it."""

from collections.abc import Iterator
from typing import Any

import pytest
from arango.client import ArangoClient
from arango.http import DefaultHTTPClient
from requests import Session
from requests.adapters import HTTPAdapter

from tests.doubles.arango.double import ArangoDouble, Settings, arango_double


class OnceClient(DefaultHTTPClient):
    """The driver's client, without its own attempts at a broken connection."""

    def create_session(self, host: str) -> Session:
        session = Session()
        session.trust_env = False
        session.mount("http://", HTTPAdapter(max_retries=0, pool_maxsize=10))
        return session


def connect(
    double: ArangoDouble, name: str = "_system", *, user: str = "root", password: str = "", seconds: float = 10
) -> Any:
    client = ArangoClient(hosts=double.url, http_client=OnceClient(request_timeout=seconds), resolver_max_tries=1)
    return client.db(name, username=user, password=password, auth_method="jwt")


@pytest.fixture
def double() -> Iterator[ArangoDouble]:
    with arango_double(settings=Settings(key_wait=0.3)) as made:
        yield made


@pytest.fixture
def db(double) -> Any:
    """A database with the collection `things`."""
    connect(double).create_database("fleet")
    made = connect(double, "fleet")
    made.create_collection("things")
    return made


@pytest.fixture
def things(db) -> Any:
    return db.collection("things")
