"""A loopback server that answers in the OpenAI API's formats, as real servers do, well or badly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JSON = "application/json"


@dataclass
class Answer:
    """One HTTP answer; a dict body is sent as JSON."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    cut_off: bool = False  # say more bytes than come


Script = Callable[[str, dict[str, Any]], Answer]


class OpenAIServer:
    """Answers `script(path, request body)`; `requests` records (path, body, headers) in order of arrival."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(owner.script(self.path, {}))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "{}")
                with owner._lock:
                    owner.requests.append(
                        (self.path, body, {name.lower(): value for name, value in self.headers.items()})
                    )
                    owner._at_once += 1
                    owner.most_at_once = max(owner.most_at_once, owner._at_once)
                try:
                    answer = owner.script(self.path, body)
                    time.sleep(answer.delay_seconds)
                finally:
                    with owner._lock:
                        owner._at_once -= 1
                self._send(answer)

            def _send(self, answer: Answer) -> None:
                data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in {"content-type": JSON, **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data) + 100 * answer.cut_off))
                self.end_headers()
                try:
                    self.wfile.write(data)
                except OSError:
                    return  # the client gave up waiting
                self.close_connection = answer.cut_off

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def usage(prompt: int, reply: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}


def chat_answer(text: str, finish_reason: str = "stop", logprobs: dict[str, float] | None = None) -> dict[str, Any]:
    """A chat completion as OpenAI sends it; `logprobs`: of the first token's likeliest."""
    listed = [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in (logprobs or {}).items()]
    content = [{**listed[0], "top_logprobs": listed}] if listed else None
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": {"content": content, "refusal": None} if content else None,
                "finish_reason": finish_reason,
            }
        ],
        "usage": usage(10, 3),
    }


def completion_answer(text: str, logprobs: dict[str, float] | None = None) -> dict[str, Any]:
    """A completion as OpenAI, vLLM and llama.cpp send it."""
    listed = {"tokens": [text], "token_logprobs": [-0.1], "text_offset": [0], "top_logprobs": [logprobs]}
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "text": text, "logprobs": listed if logprobs else None, "finish_reason": "length"}],
        "usage": usage(100, 1),
    }


def error_answer(status: int, message: str, **headers: str) -> Answer:
    """An error as OpenAI sends it."""
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    return Answer(body, status, {name.replace("_", "-"): value for name, value in headers.items()})
