"""Sends calls at once with the official Python SDK and its default retries, to a provider that fails.

usage: storm.py BASE_URL KEY CALLS
Prints how many of the calls failed.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import openai
from openai import OpenAI

base_url, key, calls = sys.argv[1:]
client = OpenAI(base_url=base_url, api_key=key)


def call(_number):
    try:
        client.chat.completions.create(model="broken/acme-large", messages=[{"role": "user", "content": "Hello"}])
    except openai.InternalServerError as error:
        assert error.status_code == 503, error
        return 1
    return 0


with ThreadPoolExecutor(8) as pool:
    print("failed", sum(pool.map(call, range(int(calls)))))
