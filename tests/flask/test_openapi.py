"""The OpenAPI document says what is served, and no more."""

from openapi_spec_validator import validate


def test_the_document_is_valid(client):
    answer = client.get("/api/openapi.json")

    assert answer.status_code == 200
    assert answer.json["openapi"] == "3.1.1"
    validate(answer.json)


def test_the_document_names_every_endpoint_with_its_terms(client):
    paths = client.get("/api/openapi.json").json["paths"]

    assert set(paths) == {
        "/api/orders",
        "/api/orders/{order_id}",
        "/api/checkouts",
        "/api/pings",
    }
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
