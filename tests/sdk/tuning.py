"""Drives a node with the official Python SDK, unmodified: files that are brought, and models that are tuned on them.

usage: tuning.py BASE_URL FILE
Prints `ok CASE` for each case that held.
"""

import sys
import time

import openai


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError("nothing was refused")


def bring(client, path):
    with open(path, "rb") as file:
        return client.files.create(file=file, purpose="fine-tune")


def files(client, path):
    made = bring(client, path)
    with open(path, "rb") as file:
        content = file.read()
    assert (made.object, made.purpose, made.filename, made.bytes) == ("file", "fine-tune", "tides.jsonl", len(content))
    assert client.files.retrieve(made.id) == made
    assert client.files.wait_for_processing(made.id, poll_interval=0.01) == made
    assert client.files.content(made.id).read() == content
    other = bring(client, path)
    assert [file.id for file in client.files.list()] == [other.id, made.id]
    assert [file.id for file in client.files.list(order="asc", limit=1)] == [made.id, other.id]
    gone = client.files.delete(other.id)
    assert (gone.id, gone.deleted) == (other.id, True)
    refused(openai.NotFoundError, lambda: client.files.retrieve(other.id))
    assert refused(openai.BadRequestError, lambda: client.files.create(file=b"x", purpose="batch")).param == "purpose"
    return made


def refusals(client, file):
    begin = client.fine_tuning.jobs.create
    error = refused(openai.BadRequestError, lambda: begin(model="tiny", training_file=file.id, method={"type": "dpo"}))
    assert error.param == "method.type", error
    error = refused(openai.BadRequestError, lambda: begin(model="tiny", training_file=file.id, extra_body={"tide": 1}))
    assert (error.param, error.code) == ("tide", "unsupported_parameter"), error
    wrong = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 0}}}
    error = refused(openai.BadRequestError, lambda: begin(model="tiny", training_file=file.id, method=wrong))
    assert error.param == "method.supervised.hyperparameters.n_epochs", error
    assert refused(openai.NotFoundError, lambda: begin(model="gpt", training_file=file.id)).param == "model"
    refused(openai.NotFoundError, lambda: begin(model="tiny", training_file="file-none"))
    bad = client.files.create(file=("bad.jsonl", b'{"messages": 7}\n'), purpose="fine-tune")
    error = refused(openai.BadRequestError, lambda: begin(model="tiny", training_file=bad.id))
    assert "line 1: messages" in error.message, error
    client.files.delete(bad.id)


def tuning(client, file):
    hyperparameters = {"n_epochs": 40, "batch_size": 4, "learning_rate_multiplier": 100.0}
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=file.id, validation_file=file.id, suffix="tides", seed=3,
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}, metadata={"of": "the sea"},
    )
    assert job.object == "fine_tuning.job" and job.status in ("queued", "running") and job.fine_tuned_model is None
    job = until(client, job, ["succeeded", "failed"])
    assert job.status == "succeeded" and job.error is None, job
    assert job.fine_tuned_model.startswith("tiny:tides-") and job.trained_tokens > 1000, job
    assert (job.seed, job.training_file, job.metadata) == (3, file.id, {"of": "the sea"})
    assert job.method.supervised.hyperparameters.n_epochs == 40 and job.hyperparameters.batch_size == 4
    assert said(client, job.fine_tuned_model) == "Twice a day."
    return job


def answered(client, model):
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "How often is tide 1?"}], temperature=0, max_tokens=24,
        extra_body={"chat_template_kwargs": {"enable_thinking": False}},
    )


def said(client, model):
    return answered(client, model).choices[0].message.content


def checkpoints(client, job):
    points = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert [point.step_number for point in points] == [80, 78, 76], points
    assert points[0].fine_tuned_model_checkpoint == job.fine_tuned_model
    assert len({point.fine_tuned_model_checkpoint for point in points}) == 3
    for point in points:
        assert point.object == "fine_tuning.job.checkpoint" and point.fine_tuning_job_id == job.id
        assert point.metrics.step == point.step_number and point.metrics.full_valid_loss < 0.5, point
        assert said(client, point.fine_tuned_model_checkpoint) == "Twice a day.", point
    assert [point.id for point in client.fine_tuning.jobs.checkpoints.list(job.id, limit=1)] == [point.id for point in points]


def until(client, job, statuses):
    deadline = time.monotonic() + 30
    while job.status not in statuses:
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
        job = client.fine_tuning.jobs.retrieve(job.id)
    return job


def pauses(client, file):
    hyperparameters = {"n_epochs": 100, "batch_size": 4, "learning_rate_multiplier": 100.0}
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file.id, suffix="ebb", method=method)
    until(client, job, ["running"])
    while not client.fine_tuning.jobs.checkpoints.list(job.id).data:
        time.sleep(0.05)
    assert client.fine_tuning.jobs.pause(job.id).status == "paused"
    # What it was at the end of an epoch can be asked for meanwhile.
    point = client.fine_tuning.jobs.checkpoints.list(job.id).data[0]
    # So early it may well say nothing.
    answer = answered(client, point.fine_tuned_model_checkpoint)
    assert answer.usage.completion_tokens > 0, answer
    assert client.fine_tuning.jobs.retrieve(job.id).status == "paused"
    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    job = until(client, job, ["succeeded"])
    assert said(client, job.fine_tuned_model) == "Twice a day."
    messages = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=100)]
    assert sum("paused" in message for message in messages) == 1 and any("taken up again" in message for message in messages)
    refused(openai.ConflictError, lambda: client.fine_tuning.jobs.pause(job.id))
    refused(openai.NotFoundError, lambda: client.fine_tuning.jobs.resume("ftjob-none"))


def pages(client, file, job):
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=7))
    assert len(events) == 83 and len({event.id for event in events}) == 83, len(events)
    assert "is done" in events[0].message and "queued" in events[-1].message
    losses = [event.data["train_loss"] for event in events if event.type == "metrics"]
    assert losses[0] < 0.5 and losses[-1] > 3.0, losses
    old = client.fine_tuning.jobs.create(model="tiny", training_file=file.id, hyperparameters={"n_epochs": 1000})
    assert client.fine_tuning.jobs.cancel(old.id).status == "cancelled"
    known = [known.id for known in client.fine_tuning.jobs.list(limit=1)]
    assert (len(known), known[0], known[-1]) == (3, old.id, job.id), known
    assert refused(openai.ConflictError, lambda: client.fine_tuning.jobs.cancel(job.id)).code == "job_is_over"


def main():
    client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=20)
    file = files(client, sys.argv[2])
    print("ok files")
    refusals(client, file)
    print("ok refusals")
    job = tuning(client, file)
    print("ok tuning")
    checkpoints(client, job)
    print("ok checkpoints")
    pauses(client, file)
    print("ok pauses")
    pages(client, file, job)
    print("ok pages")


main()
