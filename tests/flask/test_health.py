"""Health: what a load balancer is told."""


def test_a_process_that_answers_lives(client):
    answer = client.get("/api/health/live")

    assert (answer.status_code, answer.json) == (200, {"status": "live"})


def test_a_process_is_ready_while_its_database_answers(client):
    assert client.get("/api/health/ready").json == {"status": "ready"}


def test_a_process_is_not_ready_when_its_database_is_away(client, operon, monkeypatch):
    def away() -> None:
        raise ConnectionError

    monkeypatch.setattr(operon.ready().services.database, "ping", away)
    answer = client.get("/api/health/ready")

    assert (answer.status_code, answer.json["type"]) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert client.get("/api/health/live").status_code == 200
