"""What drivers of official clients share: they are called with BASE_URL KEY LAST."""

import sys

BASE_URL, KEY, LAST = sys.argv[1:]


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError("nothing was refused")


def refused_by_google(codes, call):
    from google.genai.errors import ClientError

    error = refused(ClientError, call)
    assert error.code in codes, error
    return error


def openai_client(base_url=BASE_URL):
    import openai

    return openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0, timeout=20)


def anthropic_client():
    import anthropic

    return anthropic.Anthropic(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=20)


def google_client():
    from google import genai

    return genai.Client(api_key=KEY, http_options={"base_url": BASE_URL, "timeout": 20_000})


def run(client, *cases):
    for case in cases:
        case(client)
        print("ok", case.__name__, flush=True)
