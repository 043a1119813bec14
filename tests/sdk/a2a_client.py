"""Drives agents of a gateway with the A2A protocol's own Python client, unmodified.

usage: python a2a_client.py BASE_URL KEY READ_ONLY_KEY
Needs the agents `helper`, which answers, and `beeper`, which calls its client's `beep` once and then answers.
Prints `ok CASE` for each case that held.
"""

import asyncio
import sys
import uuid

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.helpers import get_artifact_text
from a2a.types import a2a_pb2 as types
from a2a.utils.errors import TaskNotCancelableError, TaskNotFoundError
from google.protobuf.json_format import MessageToDict, ParseDict

origin, key = sys.argv[1].removesuffix("/v1"), sys.argv[2]


def held(case):
    print(f"ok {case}", flush=True)


def message(text=None, **fields):
    parts = [{"text": text}] if text else []
    sent = {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": parts} | fields
    return ParseDict({"message": sent}, types.SendMessageRequest())


async def last_task(client, request):
    task = None
    async for event in client.send_message(request):
        task = event.task
    return task


async def refused(error, call):
    try:
        await call
    except error as raised:
        return str(raised)
    raise AssertionError(f"no {error.__name__}")


async def main():
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(headers=headers, timeout=30) as http:
        resolver = A2ACardResolver(http, f"{origin}/a2a/helper")
        card = await resolver.get_agent_card()
        assert card.name == "helper" and card.capabilities.streaming and card.skills, card
        held("reads_the_card")

        whole = ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create(card)
        task = await last_task(whole, message("hello there"))
        assert task.status.state == types.TASK_STATE_COMPLETED, task
        assert get_artifact_text(task.artifacts[0]) == "You said: hello there", task
        assert task.history[0].parts[0].text == "hello there", task
        held("sends_a_message")

        again = await last_task(whole, message("and more", contextId=task.context_id))
        assert (again.context_id, again.id != task.id) == (task.context_id, True), again
        held("goes_on_in_a_context")

        streamed = ClientFactory(ClientConfig(httpx_client=http)).create(card)
        text, states, first = "", [], None
        async for event in streamed.send_message(message("one two three four")):
            first = first or event.WhichOneof("payload")
            if event.HasField("artifact_update"):
                update = event.artifact_update
                text = (text if update.append else "") + get_artifact_text(update.artifact, "")
            if event.HasField("status_update"):
                states.append(event.status_update.status.state)
        assert (first, text) == ("task", "You said: one two three four"), (first, text)
        assert states[-1] == types.TASK_STATE_COMPLETED, states
        held("streams")

        listed = await whole.list_tasks(types.ListTasksRequest(context_id=task.context_id, page_size=1))
        assert (listed.total_size, listed.tasks[0].id) == (2, again.id), listed
        following = types.ListTasksRequest(context_id=task.context_id, page_token=listed.next_page_token)
        assert [one.id for one in (await whole.list_tasks(following)).tasks] == [task.id]
        read = await whole.get_task(types.GetTaskRequest(id=task.id))
        assert read.artifacts == task.artifacts, read
        held("lists_and_reads")

        await refused(TaskNotFoundError, whole.get_task(types.GetTaskRequest(id="nonsense")))
        await refused(TaskNotCancelableError, whole.cancel_task(types.CancelTaskRequest(id=task.id)))
        push = types.TaskPushNotificationConfig(task_id=task.id, url="https://example.com")
        no_push = await refused(Exception, whole.create_task_push_notification_config(push))
        assert "ush" in no_push, no_push
        assert (await whole.get_extended_agent_card(types.GetExtendedAgentCardRequest())).name == "helper"
        held("has_errors")

        beeper = await A2ACardResolver(http, f"{origin}/a2a/beeper").get_agent_card()
        client = ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create(beeper)
        waits = await last_task(client, message("beep"))
        assert waits.status.state == types.TASK_STATE_INPUT_REQUIRED, waits
        pending = MessageToDict(waits.status.message.parts[1].data)["pending_calls"]
        assert (pending[0]["name"], pending[0]["kind"]) == ("beep", "result"), pending
        decision = {"call_id": pending[0]["call_id"], "decision": "result", "result": "beeped twice"}
        answers = message(taskId=waits.id, contextId=waits.context_id, parts=[{"data": decision}])
        done = await last_task(client, answers)
        assert (done.id, done.status.state) == (waits.id, types.TASK_STATE_COMPLETED), done
        held("answers_a_call")


asyncio.run(main())
