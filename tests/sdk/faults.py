"""Asks servers with the official Python SDKs, unmodified, and says what an application is told when they fail.

One JSON command a line on stdin: {id, sdk, surface, base_url, api_key, model, stream, timeout_s, patience_s}.
One JSON line for each on stdout: {id, raised, status, code, pieces, whole}.
"""

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai
from google import genai

ASK = "hello there"
AT_ONCE = 6


def chat(command):
    client = openai.OpenAI(base_url=command["base_url"], api_key=command["api_key"], timeout=command["timeout_s"])
    answer = client.chat.completions.create(
        model=command["model"], messages=[{"role": "user", "content": ASK}], stream=command["stream"]
    )
    if not command["stream"]:
        yield answer.choices[0].finish_reason if answer.choices else None
        return
    for chunk in answer:
        yield next((choice.finish_reason for choice in chunk.choices), None)


def responses(command):
    client = openai.OpenAI(base_url=command["base_url"], api_key=command["api_key"], timeout=command["timeout_s"])
    answer = client.responses.create(model=command["model"], input=ASK, stream=command["stream"])
    if not command["stream"]:
        yield from ended(answer.status, answer.error)
        return
    last = None
    for event in answer:
        if event.type in ("response.completed", "response.failed", "response.incomplete"):
            last = event.response
        else:
            yield None
    # Whoever reads to the end must get there: what is broken off behind its last event is told as a broken connection.
    if last:
        yield from ended(last.status, last.error)


class ResponseFailed(Exception):
    """This API tells of a failure in an answer's own status, which its SDK leaves to whoever reads it."""


def ended(status, error):
    if status == "failed":
        failure = ResponseFailed()
        failure.code = error.code if error else None
        raise failure
    yield status


def messages(command):
    client = anthropic.Anthropic(
        base_url=command["base_url"], api_key=command["api_key"], timeout=command["timeout_s"]
    )
    answer = client.messages.create(
        model=command["model"],
        max_tokens=100,
        messages=[{"role": "user", "content": ASK}],
        stream=command["stream"],
    )
    if not command["stream"]:
        yield getattr(answer, "stop_reason", None)
        return
    for event in answer:
        yield "end" if event.type == "message_stop" else None


def gemini(command):
    options = {"base_url": command["base_url"], "timeout": int(command["timeout_s"] * 1000)}
    client = genai.Client(api_key=command["api_key"], http_options=options)
    ask = {"model": command["model"], "contents": ASK}
    chunks = client.models.generate_content_stream(**ask) if command["stream"] else [client.models.generate_content(**ask)]
    for chunk in chunks:
        blocked = chunk.prompt_feedback and chunk.prompt_feedback.block_reason
        reasons = [candidate.finish_reason for candidate in chunk.candidates or []]
        yield blocked or next(iter(reasons), None)


SURFACES = {"chat": chat, "responses": responses, "messages": messages, "gemini": gemini}


def code_of(error):
    """What a program would match on."""
    body = getattr(error, "body", None)
    inner = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, genai.errors.APIError):
        return error.status
    if isinstance(inner, dict):
        return inner.get("type")
    return getattr(error, "code", None) or getattr(error, "type", None)


def status_of(error):
    status = getattr(error, "status_code", None)
    return status if status is not None or not isinstance(error, genai.errors.APIError) else error.code


def told(command):
    answer = {"id": command["id"], "raised": None, "status": None, "code": None, "pieces": 0, "whole": False}
    try:
        for end in SURFACES[command["surface"]](command):
            answer["pieces"] += 1
            answer["whole"] |= bool(end)
    except Exception as error:
        kind = type(error)
        answer["raised"] = f"{kind.__module__.split('.')[0].replace('__main__', 'openai')}.{kind.__name__}"
        code = code_of(error)
        answer["status"], answer["code"] = status_of(error), None if code is None else str(code)
    return answer


def patiently(command):
    """An SDK that was told to wait for an hour does; nobody waits for it here."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(told(command)), daemon=True)
    thread.start()
    thread.join(command["patience_s"])
    asleep = {"id": command["id"], "raised": "asleep", "status": None, "code": None, "pieces": 0, "whole": False}
    return answers[0] if answers else asleep


def main():
    # Whoever imports it first imports it for all: threads that do so at once get halves of it.
    openai.OpenAI(api_key="none").chat, anthropic.Anthropic(api_key="none").messages
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for answer in pool.map(patiently, [json.loads(line) for line in sys.stdin if line.strip()]):
            print(json.dumps(answer, default=str), flush=True)
    os._exit(0)


main()
