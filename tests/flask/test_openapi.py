"""The OpenAPI document says what is served, and no more."""

from collections.abc import Iterator
from typing import Annotated
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import validate
from pydantic import BaseModel
from pydantic import Field
from sqlalchemy.orm import Session

from operon import Operon
from operon import Workflow
from operon import transaction
from operon.flask import OperonBlueprint
from operon.flask.openapi_parts import Part
from operon.flask.problem import KINDS
from operon.flask.problem import METHOD_NOT_ALLOWED

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
DOCUMENT = "/api/openapi.json"


def operations(document: Part) -> Iterator[tuple[str, str, Part]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def resolved(document: Part, part: Part) -> Part:
    """Return what *part* refers to, or itself."""
    if "$ref" not in part:
        return part
    found: Any = document
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def test_the_document_is_valid(client):
    answer = client.get(DOCUMENT)

    assert answer.status_code == 200
    assert answer.json["openapi"] == "3.1.1"
    validate(answer.json)


def test_every_route_of_the_blueprint_is_in_the_document(client):
    served = {
        (method, rule.rule.replace("<int:", "{").replace("<", "{").replace(">", "}"))
        for rule in client.application.url_map.iter_rules()
        if rule.endpoint.startswith("shop.")
        for method in rule.methods & METHODS
    }
    told = {(method, path) for method, path, _ in operations(client.get(DOCUMENT).json)}

    assert told == served


def test_every_operation_has_a_name_of_its_own(client):
    names = [each["operationId"] for *_, each in operations(client.get(DOCUMENT).json)]

    assert len(names) == len(set(names))


def test_the_document_names_every_endpoint_with_its_terms(client):
    paths = client.get(DOCUMENT).json["paths"]

    placing = paths["/api/orders"]["post"]
    assert placing["security"] == [{"bearer": ["orders:write"]}]
    assert paths["/api/pings"]["post"]["security"] == []
    assert {"201", "409", "422"} <= set(placing["responses"])
    assert "202" in paths["/api/checkouts"]["post"]["responses"]
    assert "202" not in placing["responses"]
    reading = paths["/api/orders/{order_id}"]["get"]["parameters"]
    assert [(each["name"], each["in"]) for each in reading] == [
        ("order_id", "path"),
        ("limit", "query"),
    ]


def test_every_kind_of_problem_is_told_where_it_can_be_met(client):
    told = {
        (status, word.strip("`"))
        for *_, operation in operations(client.get(DOCUMENT).json)
        for status, response in operation["responses"].items()
        for word in response["description"].replace(":", "").split()
        if word.startswith("`")
    }
    # no operation is asked for by another method than its own
    expected = {(str(kind.status), kind.slug) for kind in KINDS} - {
        (str(METHOD_NOT_ALLOWED.status), METHOD_NOT_ALLOWED.slug),
        ("400", "idempotency-key-missing"),  # no endpoint here asks for one
    }

    assert {(s, slug) for s, slug in expected if (s, slug) not in told} == set()


def test_every_response_tells_its_headers(client):
    document = client.get(DOCUMENT).json
    always = {
        "Operon-Request-Id",
        "Operon-Trace-Id",
        "Cache-Control",
        "X-Content-Type-Options",
    }

    def required(response: Part) -> set[str]:
        return {
            name
            for name, header in response["headers"].items()
            if resolved(document, header).get("required")
        }

    for *_, operation in operations(document):
        for status, response in operation["responses"].items():
            found = required(response)
            assert always <= found
            assert ("WWW-Authenticate" in found) == (status in {"401", "403"})
            assert status not in {"202", "503"} or "Retry-After" in found


def test_problems_are_of_their_own_type_and_one_schema(client):
    for *_, operation in operations(client.get(DOCUMENT).json):
        for status, response in operation["responses"].items():
            if status[0] in "45":
                content = response["content"]
                schema = {"$ref": "#/components/schemas/Problem"}
                assert content == {"application/problem+json": {"schema": schema}}


def test_answers_that_have_a_run_lead_to_it(client):
    document = client.get(DOCUMENT).json
    names = {each["operationId"] for *_, each in operations(document)}
    checkout = document["paths"]["/api/checkouts"]["post"]["responses"]

    assert checkout["202"]["links"] == checkout["200"]["links"]
    for link in checkout["202"]["links"].values():
        target = resolved(document, link)
        assert target["operationId"] in names
        assert target["parameters"] == {"run_id": "$response.header.Operon-Run-Id"}
    public = document["paths"]["/api/pings"]["post"]["responses"]["204"]
    assert "links" not in public  # nobody is known to be its owner


def test_what_runs_are_shown_as_is_what_the_document_says(client, mint):
    client.post("/api/checkouts", headers=mint(), json={"sku": "book"})
    schemas = client.get(DOCUMENT).json["components"]["schemas"]
    [run] = client.get("/api/runs", headers=mint()).json["runs"]
    history = client.get(f"/api/runs/{run['id']}/steps", headers=mint()).json

    assert run.keys() == schemas["Run"]["properties"].keys()
    assert history.keys() == schemas["RunHistory"]["properties"].keys()
    assert history["steps"][0].keys() == schemas["Step"]["properties"].keys()


class Problem(BaseModel):
    """A model with the name of one of Operon's own."""

    what: str


@pytest.fixture
def described() -> Part:
    """The document of a blueprint whose endpoints are unusual."""
    operon = Operon("sqlite:///nothing.db")  # is never opened
    api = OperonBlueprint("unusual", operon, idempotency="required")

    @api.post("/maybe/<kind>", roles={"b", "a"})
    @transaction
    def maybe(session: Session, kind: str, problem: Problem) -> Problem | None:
        del session, kind
        return problem

    @api.put("/nothing", public=True, errors={KeyError: 404, OSError: 410})
    @transaction
    def nothing(session: Session) -> None:
        del session

    @api.delete("/things", scopes={"x"}, idempotency="off")
    class Remove(Workflow, roles={"c"}):
        count: Annotated[int, Field(ge=1)]

        def run(self) -> list[int]:
            return []

    @api.post("/hooks", scopes={"x"}, key=lambda request: request.headers.get("Id"))
    @transaction
    def hook(session: Session) -> int:
        del session
        return 1

    Flask("unusual").register_blueprint(api)
    document = api.openapi()
    validate(document)
    return document["paths"]


def header_names(operation: Part) -> dict[str, bool]:
    return {
        each["name"]: each["required"]
        for each in operation["parameters"]
        if each["in"] == "header" and "required" in each
    }


def test_a_result_that_may_be_nothing_is_200_or_204(described):
    responses = described["/maybe/{kind}"]["post"]["responses"]
    schema = responses["200"]["content"]["application/json"]["schema"]

    assert set(schema) == {"$ref"}
    assert "204" in responses
    assert "content" not in responses["204"]
    assert "404" in responses  # a path may be of another kind
    assert "200" not in described["/nothing"]["put"]["responses"]


def test_models_of_one_name_are_told_apart(described):
    operation = described["/maybe/{kind}"]["post"]["responses"]
    theirs = operation["200"]["content"]["application/json"]["schema"]["$ref"]
    ours = operation["400"]["content"]["application/problem+json"]["schema"]["$ref"]

    assert theirs != ours


def test_roles_are_told(described):
    assert described["/maybe/{kind}"]["post"]["x-operon-roles"] == [["a", "b"]]
    removing = described["/things"]["delete"]
    assert removing["x-operon-roles"] == [["c"]]
    assert removing["security"] == [{"bearer": ["x"]}]


def test_idempotency_keys_are_told_as_they_are_taken(described):
    assert header_names(described["/maybe/{kind}"]["post"])["Idempotency-Key"] is True
    assert "Idempotency-Key" not in header_names(described["/things"]["delete"])
    assert "Idempotency-Key" not in header_names(described["/hooks"]["post"])
    [key] = described["/nothing"]["put"]["parameters"]
    assert key["schema"] == {"type": "string", "format": "uuid"}
    missing = described["/maybe/{kind}"]["post"]["responses"]["400"]
    assert "idempotency-key-missing" in missing["description"]


def test_declared_errors_are_told(described):
    responses = described["/nothing"]["put"]["responses"]

    assert responses["404"]["description"] == "`key`: Refused"
    assert responses["410"]["description"] == "`o-s`: Refused"
    assert "4XX" in responses  # as a handler refuses with what it likes


def test_a_workflow_takes_a_preference(described):
    names = [each["name"] for each in described["/things"]["delete"]["parameters"]]

    assert names == ["Prefer"]
