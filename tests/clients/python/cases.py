"""The cases that each framework plays, and what they are checked against.

A framework's file gives a `Client`: how it chats, streams, runs a tool loop, and which error it raises. It is told the
base URL, the key and the model, and nothing else; the emulator behind the gateway is asked what really arrived there.
"""

import json
import os
import sys
import traceback
import urllib.request
from dataclasses import dataclass
from typing import Callable

QUESTION = "Tell me about tides, né 漢字 🙂"
SAID = f"You said: {QUESTION}"
CITY = "Reykjavík"
ASK_WEATHER = f"What is the weather in {CITY}?"
# Nothing says this by chance: where it turns up in a request, the tool's result has come through.
WEATHER = "a gale of 7F3A knots"
# How often a client is limited again that read another error out of an id, which takes it by chance.
LIMITED_TRIES = 10
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Place:
    """A gateway as a client is told of it."""

    origin: str
    key: str


@dataclass
class Client:
    """One framework in one grammar. Every function takes a place and a model first."""

    chat: Callable[[Place, str, str], str]
    stream: Callable[[Place, str, str], list[str]]
    # Is given the tool as well, a plain function of a city.
    tools: Callable[[Place, str, str, Callable[[str], str]], str]
    not_found: type[Exception]
    limited: type[Exception]
    # How often it asks before it gives up on a limit, the first time among them.
    tries: int
    # A model that the gateway doesn't have.
    none_such: str = "openai/none-such-7"
    # What it takes in a limit's text for another class of error, if anything: an id may have it.
    misread: str = ""


def fetch(url, body=None, method=None):
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), method=method)
    request.add_header("content-type", "application/json")
    with LOCAL.open(request, timeout=20) as answer:
        return json.loads(answer.read())


def script(*behaviours):
    """What the emulator does from now on."""
    control = os.environ["CLIENTS_EMULATOR"] + "/__emulator"
    fetch(f"{control}/script", method="DELETE")
    fetch(f"{control}/script", {"key": None, "behaviours": list(behaviours)})


def sent():
    """The bodies that providers were sent."""
    journal = fetch(os.environ["CLIENTS_EMULATOR"] + "/__emulator/journal")
    return [json.loads(entry["body"]) for entry in journal if entry["method"] == "POST"]


def same(seen, expected):
    assert seen == expected, f"expected {expected!r}, saw {seen!r}"


def chat(client, place, model):
    same(client.chat(place, model, QUESTION), SAID)


def stream(client, place, model):
    pieces = [piece for piece in client.stream(place, model, QUESTION) if piece]
    same("".join(pieces), SAID)
    assert len(pieces) > 1, "it came in one piece"


def tools(client, place, model):
    asked = []

    def get_weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return WEATHER

    script({"call": "get_weather", "arguments": {"city": CITY}, "times": 0})
    before = len(sent())
    said = client.tools(place, model, ASK_WEATHER, get_weather)
    same(asked, [CITY])
    same(said, f"You said: {ASK_WEATHER}")
    bodies = [json.dumps(body, ensure_ascii=False) for body in sent()[before:]]
    same([WEATHER in body for body in bodies], [False, True])


def not_found(client, place, _model):
    return raises(client.not_found, lambda: client.chat(place, client.none_such, QUESTION), client.none_such.split("/")[-1])


def limited(client, _place, model):
    counter = os.environ["CLIENTS_LIMITED"]
    place = Place(counter, os.environ["CLIENTS_LIMITED_KEY"])
    for left in reversed(range(LIMITED_TRIES)):
        fetch(f"{counter}/__counter", method="DELETE")
        try:
            name = raises(client.limited, lambda: client.chat(place, model, QUESTION), "")
            break
        except Exception as error:
            # By chance an id has in it what this client looks for.
            if not left or not client.misread or client.misread not in str(error):
                raise
    statuses = fetch(f"{counter}/__counter")
    same(statuses, [429] * client.tries)
    return f"{name}, asked {len(statuses)}×"


def raises(kind, call, words):
    try:
        said = call()
    except kind as error:
        assert words in str(error), f"{words!r} is not in {error}"
        return type(error).__name__
    raise AssertionError(f"{kind.__name__} was not raised: {said!r}")


CASES = {"chat": chat, "stream": stream, "tool loop": tools, "404": not_found, "429": limited}


def main(clients):
    """Plays one client on each of the models: `FILE.py CLIENT MODEL..`; a line of JSON for each case."""
    client, place = clients[sys.argv[1]], Place(os.environ["CLIENTS_GATEWAY"], os.environ["CLIENTS_KEY"])
    for model in sys.argv[2:]:
        for name, case in CASES.items():
            script()
            try:
                told = {"ok": True, "note": case(client, place, model) or ""}
            except Exception as error:  # noqa: BLE001 - a framework may fail in any way, and each is a finding
                traceback.print_exc()
                told = {"ok": False, "note": f"{type(error).__name__}: {error}"}
            print(json.dumps({"model": model, "case": name} | told), flush=True)
