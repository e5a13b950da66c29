"""One Lambda execution environment: an operating-system process that runs what was deployed."""

import functools
import importlib.metadata
import io
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BOOTSTRAP = Path(__file__).with_name("lambda_bootstrap.py")
# The init phase has ten seconds of its own (Lambda execution environment lifecycle).
INIT_SECONDS = 10
# What AWS's Python image holds; time-machine is for the bootstrap alone.
IN_THE_IMAGE = ("awslambdaric", "boto3", "time-machine")


@dataclass(frozen=True)
class Deployed:
    """A function as it was deployed: the bytes and settings that an environment is made of."""

    arn: str
    name: str
    version: str
    account: str
    region: str
    revision: str
    code: bytes
    layers: tuple[bytes, ...]
    handler: str
    runtime: str
    role: str
    timeout: int
    memory: int
    variables: tuple[tuple[str, str], ...]
    log_group: str


@dataclass(frozen=True)
class Outcome:
    """What an invocation ended with; ``error`` says whether ``payload`` describes a failure."""

    request_id: str
    payload: bytes
    error: bool
    logs: str

    @classmethod
    def failure(cls, request_id: str, kind: str, message: str, logs: str = "") -> "Outcome":
        body = {"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {message}"}
        return cls(request_id, json.dumps(body).encode(), error=True, logs=logs)


@functools.cache
def workspace() -> Path:
    return Path(tempfile.mkdtemp(prefix="test-cloud-"))


def remove_workspace() -> None:
    shutil.rmtree(workspace(), ignore_errors=True)


@functools.cache
def image() -> Path:
    """A folder of links to what AWS's image has, and no more: a missing dependency shows."""
    folder = workspace() / "image"
    folder.mkdir()
    waiting, seen = list(IN_THE_IMAGE), set()
    while waiting:
        name = waiting.pop()
        if name.lower() in seen:
            continue
        seen.add(name.lower())
        distribution = importlib.metadata.distribution(name)
        required = [r for r in distribution.requires or [] if ";" not in r]
        waiting += [re.split(r"[ <>=!~\[(]", r, maxsplit=1)[0] for r in required]
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(distribution.locate_file(top))))
    return folder


class RuntimeApi(BaseHTTPRequestHandler):
    """The Lambda Runtime API of one environment.

    Source: "Using the Lambda runtime API for custom runtimes" of the Lambda Developer Guide.
    """

    protocol_version = "HTTP/1.1"
    # Headers and body in one segment, else each answer waits 40 ms for a delayed acknowledgement.
    wbufsize = -1
    environment: "Environment"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass

    def do_GET(self) -> None:
        invocation = self.environment.inbox.get()
        if invocation is None:
            self.close_connection = True
            return
        request_id, event = invocation
        deadline = self.environment.begin()
        self._send(
            200,
            event,
            {
                "Lambda-Runtime-Aws-Request-Id": request_id,
                "Lambda-Runtime-Deadline-Ms": str(deadline),
                "Lambda-Runtime-Invoked-Function-Arn": self.environment.deployed.arn,
                "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000;Sampled=0",
            },
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # .../init/error, .../invocation/ID/response or .../invocation/ID/error
        if "/init/" in self.path:
            self.environment.dead = True
        self.environment.outbox.put((self.path.rsplit("/", 1)[-1] == "error", body))
        self._send(202, b'{"status":"OK"}', {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Environment:
    """Runs one invocation at a time; dead after a timeout or a crash."""

    def __init__(
        self,
        deployed: Deployed,
        credentials: dict[str, str],
        endpoint: str,
        now: Callable[[], datetime],
    ) -> None:
        self.deployed = deployed
        self.access_key = credentials["aws_access_key_id"]
        self._now = now
        self.inbox: queue.SimpleQueue[tuple[str, bytes] | None] = queue.SimpleQueue()
        self.outbox: queue.SimpleQueue[tuple[bool, bytes]] = queue.SimpleQueue()
        self.dead = False
        # Real seconds: a function runs in real time.
        self._ends = 0.0
        self._folder = workspace() / f"{deployed.name}-{uuid.uuid4().hex[:8]}"
        self._unpack()
        handler = type("Handler", (RuntimeApi,), {"environment": self})
        self._api = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._api.daemon_threads = True
        # It waits for its end as long as it polls, and a cloud has a dozen of them.
        threading.Thread(target=self._api.serve_forever, args=(0.05,), daemon=True).start()
        self._log = self._folder / "log"
        self._read = 0
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-S", "-P", str(BOOTSTRAP)),
                    *(str(deployed.timeout), str(now().timestamp()), deployed.handler),
                ],
                cwd=self._folder / "task",
                env=self._variables(credentials, endpoint),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _unpack(self) -> None:
        (self._folder / "opt").mkdir(parents=True)
        with zipfile.ZipFile(io.BytesIO(self.deployed.code)) as code:
            code.extractall(self._folder / "task")
        for layer in self.deployed.layers:
            with zipfile.ZipFile(io.BytesIO(layer)) as archive:
                archive.extractall(self._folder / "opt")

    def _variables(self, credentials: dict[str, str], endpoint: str) -> dict[str, str]:
        deployed, task = self.deployed, self._folder / "task"
        path = (task, self._folder / "opt" / "python", image())
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "_HANDLER": deployed.handler,
            "LAMBDA_TASK_ROOT": str(task),
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_address[1]}",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{deployed.runtime}",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_FUNCTION_NAME": deployed.name,
            "AWS_LAMBDA_FUNCTION_VERSION": deployed.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(deployed.memory),
            "AWS_LAMBDA_LOG_GROUP_NAME": deployed.log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": self._folder.name,
            "AWS_REGION": deployed.region,
            "AWS_DEFAULT_REGION": deployed.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": endpoint,
            **{name.upper(): value for name, value in credentials.items()},
            **dict(deployed.variables),
        }

    @property
    def log_stream(self) -> str:
        return self._folder.name

    def begin(self) -> int:
        """The runtime takes an event and its time starts; the deadline in epoch milliseconds."""
        self._ends = time.monotonic() + self.deployed.timeout
        return int((self._now().timestamp() + self.deployed.timeout) * 1000)

    def invoke(self, event: bytes) -> Outcome:
        """Run one event to its end, its timeout or the end of the process."""
        timeout = self.deployed.timeout
        request_id = str(uuid.uuid4())
        self._ends = time.monotonic() + INIT_SECONDS
        self.inbox.put((request_id, event))
        while True:
            try:
                error, payload = self.outbox.get(timeout=0.02)
            except queue.Empty:
                if self._process.poll() is not None and self.outbox.empty():
                    code = self._process.returncode
                    ended = (
                        f"exit status {code}"
                        if code >= 0
                        # Lambda writes "signal: killed", in lower case.
                        else f"signal: {signal.strsignal(-code)}".lower()
                    )
                    message = f"Runtime exited with error: {ended}"
                    return self._ended(request_id, "Runtime.ExitError", message)
                if time.monotonic() > self._ends:
                    message = f"Task timed out after {timeout:.2f} seconds"
                    return self._ended(request_id, "Sandbox.Timedout", message)
                continue
            return Outcome(request_id, payload, error, self._new_logs())

    def _ended(self, request_id: str, kind: str, message: str) -> Outcome:
        self.close()
        return Outcome.failure(request_id, kind, message, self._new_logs())

    def _new_logs(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._read)
            written = log.read()
        self._read += len(written)
        return written.decode(errors="replace")

    def kill(self) -> None:
        """End the process where it stands; the invocation under way ends with it."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        self.dead = True
        self.inbox.put(None)
        self.kill()
        self._process.wait()
        # Ends the thread that serves; closing the socket comes after it.
        self._api.shutdown()
        self._api.server_close()
