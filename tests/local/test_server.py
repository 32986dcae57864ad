from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import openai
import pytest

from sqlite_utils_openai_batch.base.errors import ConfigurationError, JobError
from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.local.http.gate import fingerprint

from .bench import Bench, Serve, chat, request_lines


def test_importing_it_loads_no_server_and_no_model() -> None:
    program = (
        "import sys; import sqlite_utils_openai_batch.local;"
        "heavy = {'uvicorn', 'starlette', 'xllamacpp', 'openai', 'httpx2', 'pytest'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_temporary_state_is_gone_afterwards() -> None:
    with LocalServer() as server:
        root = server.state_dir
        assert root and root.is_dir()
    assert not root.exists()


def test_stop_and_start_again(tmp_path: Path) -> None:
    server = LocalServer(tmp_path)
    server.stop()
    for _ in range(2):
        server.start()
        assert server.start() is server
        with openai.OpenAI(base_url=server.base_url, api_key=server.key) as client:
            assert list(client.batches.list()) == []
        server.stop()
        server.stop()


def test_no_thread_and_no_socket_stays_behind() -> None:
    before = threading.active_count()
    with LocalServer() as server:
        port = int(server.base_url.rsplit(":", 1)[1].removesuffix("/v1"))
        with socket.create_connection(("127.0.0.1", port)):
            pass
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_many_servers_at_once() -> None:
    servers = [LocalServer().start() for _ in range(5)]
    assert len({server.base_url for server in servers}) == 5
    for server in servers:
        server.stop()


def test_taken_port() -> None:
    with LocalServer() as server:
        port = int(server.base_url.rsplit(":", 1)[1].removesuffix("/v1"))
        with pytest.raises(ConfigurationError, match=f"port {port}: Address already in use"):
            LocalServer(port=port).start()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])
def test_other_hosts_need_a_key(host: str) -> None:
    with pytest.raises(ConfigurationError, match="can be reached from other machines"):
        LocalServer(host=host)


def test_with_a_key_other_hosts_are_fine() -> None:
    with LocalServer(host="0.0.0.0", key="k") as server:
        assert server.base_url.startswith("http://0.0.0.0:")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6() -> None:
    try:
        server = LocalServer(host="::1").start()
    except ConfigurationError:
        pytest.skip("no IPv6 loopback here")
    with openai.OpenAI(base_url=server.base_url, api_key=server.key) as client:
        assert list(client.batches.list()) == []
    server.stop()


def test_state_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError, match="can't keep its state"):
        LocalServer(tmp_path / "file" / "state").start()


def test_state_of_another_version(tmp_path: Path) -> None:
    import sqlite3

    LocalServer(tmp_path).start().stop()
    conn = sqlite3.connect(tmp_path / "state.db")
    conn.execute("pragma user_version = 99")
    conn.close()
    with pytest.raises(ConfigurationError, match="another version"):
        LocalServer(tmp_path).start()


# keys


def test_no_key_is_refused(bench: Bench) -> None:
    for headers in ({"authorization": ""}, {"authorization": "Bearer"}, {"api-key": ""}):
        reply = bench.raw("GET", "/batches", headers={"authorization": "", **headers})
        assert reply.status_code == 401
        error = reply.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert "You didn't provide an API key" in error["message"]


def test_any_key_will_do_unless_one_is_fixed(serve_with: Serve) -> None:
    bench = serve_with()
    with openai.OpenAI(base_url=bench.server.base_url, api_key="anything") as client:
        assert list(client.files.list()) == []
    fixed = serve_with(key="the-one").server
    with (
        openai.OpenAI(base_url=fixed.base_url, api_key="another", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.files.list()
    assert caught.value.code == "invalid_api_key"
    assert "another" not in caught.value.message


def test_keys_are_not_kept(tmp_path: Path) -> None:
    with (
        LocalServer(tmp_path) as server,
        openai.OpenAI(base_url=server.base_url, api_key="sk-very-secret") as client,
    ):
        client.files.create(file=("a.jsonl", request_lines([chat()]).encode()), purpose="batch")
        assert server.journal()[0]["key"] == fingerprint("sk-very-secret")
    kept = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"sk-very-secret" not in kept


def test_azure_clients(serve_with: Serve) -> None:
    bench = serve_with()
    with openai.AzureOpenAI(
        azure_endpoint=bench.server.base_url.removesuffix("/v1"),
        api_version="2026-01-01",
        api_key="azure",
        max_retries=0,
    ) as client:
        content = request_lines([chat(model="deployment")], "/chat/completions").encode()
        file = client.files.create(file=("a.jsonl", content), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id,
            endpoint="/chat/completions",  # type: ignore[arg-type]
            completion_window="24h",
        )
        assert bench.server.wait_for(batch.id) == "completed"
        batch = client.batches.retrieve(batch.id)
        assert batch.output_file_id
        assert client.files.content(batch.output_file_id).text.count("\n") == 1
        answer = client.chat.completions.create(
            model="deployment", messages=[{"role": "user", "content": "hi"}]
        )
        assert answer.model == "deployment-simulated"


# the journal


def test_the_journal_tells_who_did_what(bench: Bench) -> None:
    batch = bench.run(request_lines([chat()] * 3), metadata={"token": "t"})
    entries = [
        {k: v for k, v in e.items() if k not in ("id", "at")} for e in bench.server.journal()
    ]
    key = fingerprint(bench.server.key)
    assert entries == [
        {"method": "POST", "path": "/v1/files", "key": key, "status": 200,
         "file_id": batch.input_file_id, "filename": "input.jsonl", "purpose": "batch",
         "bytes": len(request_lines([chat()] * 3))},
        {"method": "POST", "path": "/v1/batches", "key": key, "status": 200,
         "input_file_id": batch.input_file_id, "endpoint": "/v1/chat/completions",
         "metadata": {"token": "t"}, "batch_id": batch.id, "requests": 3},
        {"method": "GET", "path": f"/v1/batches/{batch.id}", "key": key, "status": 200,
         "batch_id": batch.id, "requests": 3},
    ]  # fmt: skip


def test_wait_for_gives_up(bench: Bench) -> None:
    with pytest.raises(JobError, match="no batch batch_x"):
        bench.server.wait_for("batch_x")
    bench.server.faults.add("stuck")
    batch = bench.create(request_lines([chat()]))
    with pytest.raises(JobError, match=f"{batch.id} is in_progress, still after 0.1 seconds"):
        bench.server.wait_for(batch.id, timeout=0.1)


# without batches


def test_direct_answers_and_models(bench: Bench) -> None:
    answer = bench.client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}]
    )
    assert answer.model == "gpt-4o-mini-simulated"
    assert (answer.choices[0].message.content or "").endswith(": hi")
    assert bench.client.responses.create(model="m", input="hi").output_text.endswith(": hi")
    assert len(bench.client.embeddings.create(model="m", input="hi").data[0].embedding) == 1536
    names = [model.id for model in bench.client.models.list()]
    assert bench.client.models.retrieve(names[0]).id == names[0]
    with pytest.raises(openai.NotFoundError):
        bench.client.models.retrieve("none")


def test_answerer_that_breaks_fails_its_batch(
    serve_with: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(SimulatedAnswerer):
        def answer_now(self, url: str, body: object, custom_id: str) -> object:  # type: ignore[override]
            raise RuntimeError("out of order")

    bench = serve_with(answerer=Broken())
    [error] = bench.errors(bench.run(request_lines([chat()])))
    assert error[0] == "server_error"
    assert "out of order" in (error[3] or "")
    assert "out of order" in caplog.text


SERVE_MANY = """
import sys
from sqlite_utils_openai_batch.local import LocalServer
from sqlite_utils_openai_batch.local.pytest_plugin import connect
from pathlib import Path

with LocalServer() as server, connect(server) as client, Path(sys.argv[1]).open("rb") as file:
    id = client.files.create(file=file, purpose="batch").id
    batch = client.batches.create(
        input_file_id=id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert server.wait_for(batch.id, 600) == "completed"
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_memory_does_not_grow_with_the_batch(tmp_path: Path) -> None:
    peaks = []
    for lines in (2_500, 50_000):
        path = tmp_path / "input.jsonl"
        path.write_text(request_lines(chat("x" * 500) for _ in range(lines)))
        done = subprocess.run(
            [sys.executable, "-c", SERVE_MANY, str(path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 30_000  # KB; the output alone is 35 MB


def test_bodies_end_somewhere(bench: Bench) -> None:
    reply = bench.raw("POST", "/batches", content=b" " * (64 * 1024 * 1024 + 1))
    assert reply.status_code == 413
