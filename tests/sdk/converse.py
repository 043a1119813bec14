"""Asks a gateway with boto3, unmodified, as one long-lived program: a command a line, a result a line.

A command is {origin, access_key_id, secret_access_key, ahead_s, packed, call, args}: which operation is called with which
arguments, by a client whose clock is so far ahead, and whose body is packed before it is signed, or by somebody behind it
(`after`, or `broken` where it only says so). In the arguments {"$base64": text} are bytes. A result is {answer,
events, error}: what the operation returned, the events of its stream, and the exception that ended it, with what it shows. The body of an
invoked model, and the chunks of its stream, are read as JSON.
"""

import base64
import datetime
import gzip
import json
import sys

import boto3
import botocore.auth
import botocore.config
from botocore.exceptions import BotoCoreError, ClientError

NOW = botocore.auth.get_current_datetime


def with_bytes(value):
    if isinstance(value, dict):
        if set(value) == {"$base64"}:
            return base64.b64decode(value["$base64"])
        return {name: with_bytes(inner) for name, inner in value.items()}
    return [with_bytes(inner) for inner in value] if isinstance(value, list) else value


def plain(value):
    """What JSON can hold of it."""
    if isinstance(value, bytes):
        return {"$base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def pack_before(params, **_):
    params["body"] = gzip.compress(params["body"])
    params["headers"]["Content-Encoding"] = "gzip"


def pack_after(request, broken, **_):
    request.body = b"not packed" if broken else gzip.compress(request.body)
    request.headers["Content-Encoding"] = "gzip"
    request.headers["Content-Length"] = str(len(request.body))


def register(client, packed):
    events = client.meta.events
    if packed == "before":
        events.register("before-call", pack_before)
    elif packed:
        events.register("before-send", lambda request, **_: pack_after(request, packed == "broken"))
    return client


def client_of(command):
    ahead = datetime.timedelta(seconds=command.get("ahead_s", 0))
    botocore.auth.get_current_datetime = lambda *args, **named: NOW(*args, **named) + ahead
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=command["origin"],
        region_name=command.get("region", "eu-central-1"),
        aws_access_key_id=command["access_key_id"],
        aws_secret_access_key=command["secret_access_key"],
        config=botocore.config.Config(proxies={}, read_timeout=20),
    )


def error_of(failure):
    told = {"class": type(failure).__name__, "code": None, "status": None, "message": str(failure), "request_id": None}
    if isinstance(failure, ClientError):
        head = failure.response.get("ResponseMetadata", {})
        told["code"] = failure.response["Error"]["Code"]
        told["message"] = failure.response["Error"]["Message"]
        told["status"], told["request_id"] = head.get("HTTPStatusCode"), head.get("RequestId")
    return told


def run(command):
    answer, events, error = None, [], None
    try:
        client = register(client_of(command), command.get("packed"))
        answer = getattr(client, command["call"])(**with_bytes(command["args"]))
        stream, body = answer.pop("stream", None), answer.pop("body", None)
        if hasattr(body, "read"):
            answer["body"], body = json.loads(body.read()), None
        for event in stream or body or []:
            events.append(json.loads(event["chunk"]["bytes"]) if "chunk" in event else event)
    except (ClientError, BotoCoreError) as failure:
        error = error_of(failure)
    return {"answer": plain(answer), "events": plain(events), "error": error}


def main():
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line)), default=str), flush=True)


main()
