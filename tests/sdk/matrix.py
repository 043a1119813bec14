"""Drives a gateway with the official Python SDKs, unmodified, as one long-lived program: a command a line, a result a
line.

A command is {id, client, base_url, api_key, model, stream, case}; what the cases ask stands in matrix.json. A result is
{id, rounds, error, sent}: each model call's text, thought, calls, finish and usage as the SDK shows them, the exception
that ended it, and each request body that went out, in which the model's name is a star.
"""

import json
import sys

import anthropic
import openai
from botocore.exceptions import BotoCoreError, ClientError
from google import genai
from matrix_anthropic import Messages
from matrix_boto import Converse
from matrix_case import RECORDER
from matrix_gemini import Gemini
from matrix_openai import Chat, Responses

ROUNDS_MAX = 5

CLIENTS = {"chat": Chat, "responses": Responses, "messages": Messages, "gemini": Gemini, "converse": Converse}
FAILURES = (openai.OpenAIError, anthropic.AnthropicError, genai.errors.APIError, BotoCoreError, ClientError)


def error_of(failure):
    kind = type(failure)
    status = getattr(failure, "status_code", None)
    code = getattr(failure, "code", None)
    if isinstance(failure, genai.errors.APIError):
        status, code = failure.code, failure.status
    if isinstance(failure, ClientError):
        status = failure.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = failure.response["Error"]["Code"]
    return {"class": kind.__name__, "status": status, "code": code or getattr(failure, "type", None), "message": str(failure)}


def run(command):
    rounds, error = [], None
    client = CLIENTS[command["client"]](command)
    try:
        while len(rounds) < ROUNDS_MAX:
            rounds.append(client.ask())
            if not client.calls:
                break
            client.reply()
    # Whatever an SDK throws is a result; what it is not prepared for is the more so.
    except Exception as failure:
        error = error_of(failure)
        error["foreseen"] = isinstance(failure, FAILURES)
    return {"id": command["id"], "rounds": rounds, "error": error, "sent": RECORDER.take(command["model"])}


def main():
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


main()
