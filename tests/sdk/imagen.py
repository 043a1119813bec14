"""Drives a gateway with the official Python SDK, unmodified, where pictures have one name and whoever sells them may change.

usage: imagen.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import base64
import sys

import openai

PAINTER = "google/imagen-4.0-generate-001"
PNG = b"\x89PNG\r\n"


def generate(client, **more):
    said = {"model": PAINTER, "prompt": "a tide", "size": "1024x1024", "response_format": "b64_json"}
    return client.images.generate(**(said | more))


def is_drawn(picture):
    return base64.b64decode(picture.b64_json).startswith(PNG)


def pictures(client):
    answer = generate(client, n=2, output_format="png")
    assert [is_drawn(picture) for picture in answer.data] == [True, True], answer
    assert answer.output_format == "png" and answer.created > 1_700_000_000, answer


def pictures_by_and_by(client):
    events = list(generate(client, n=2, stream=True))
    assert [event.type for event in events] == ["image_generation.completed"] * 2, events
    assert all(is_drawn(event) for event in events), events


def refused(client):
    for code, param, more in [
        ("missing_required_parameter", "prompt", {"prompt": openai.omit}),
        ("unsupported_parameter", "background", {"background": "transparent"}),
        ("unsupported_parameter", "quality", {"quality": "high"}),
        ("invalid_value", "response_format", {"response_format": "bytes"}),
        ("content_filter", None, {"prompt": "something forbidden"}),
    ]:
        try:
            generate(client, **more)
        except openai.BadRequestError as error:
            # Where the provider refuses, it is for it to name a field.
            assert error.code == code and error.param == (param or error.param), error
        else:
            raise AssertionError(f"{more} was taken")


def main():
    base_url, key, _ = sys.argv[1:]
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
    for case in [pictures, pictures_by_and_by, refused]:
        case(client)
        print("ok", case.__name__, flush=True)


main()
