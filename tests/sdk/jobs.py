"""Drives Bedrock, or a gateway before it, with boto3, unmodified: batches in the customer's own storage.

usage: jobs.py ORIGIN STORAGE_URL KEYS
ORIGIN is of the control plane; KEYS is JSON of {client, storage, model, folder, role}: two pairs of access keys, the model,
where batches may lie, and the role that reaches them. Prints `ok CASE` for each case that held.
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ORIGIN, STORAGE_URL = sys.argv[1:3]
SAID = json.loads(sys.argv[3])
FOLDER, ROLE = SAID["folder"], SAID["role"]
REGION = "us-east-1"
SPACE = "arn:aws:bedrock:"


def client(service, url, keys):
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=keys["access_key_id"],
        aws_secret_access_key=keys["secret_access_key"],
        config=Config(proxies={}, read_timeout=20, retries={"total_max_attempts": 1}),
    )


BEDROCK = client("bedrock", ORIGIN, SAID["client"])
S3 = client("s3", STORAGE_URL, SAID["storage"])


def place(uri):
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    return {"Bucket": bucket, "Key": key}


def ask(words, **how):
    content = [{"role": "user", "content": words}]
    return {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "messages": content, **how}


def put(name, asks):
    lines = [json.dumps({"recordId": record, "modelInput": body}) for record, body in asks]
    S3.put_object(**place(f"{FOLDER}/in/{name}.jsonl"), Body="\n".join(lines).encode())
    return f"{FOLDER}/in/{name}.jsonl"


def make(name, uri, **how):
    said = {
        "jobName": name,
        "roleArn": ROLE,
        "modelId": SAID["model"],
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri, "s3InputFormat": "JSONL"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{FOLDER}/out/"}},
        **how,
    }
    arn = BEDROCK.create_model_invocation_job(**said)["jobArn"]
    assert arn.startswith(SPACE) and len(arn.rsplit("/", 1)[1]) == 12, arn
    return arn


def ended(arn):
    while True:
        job = BEDROCK.get_model_invocation_job(jobIdentifier=arn)
        assert job["jobArn"] == arn and job["submitTime"].tzinfo is not None
        if job["status"] in ("Completed", "Failed", "Stopped"):
            return job


def results(job, uri):
    """Where they lie is told by the storage: the job's name there is its provider's."""
    bucket, prefix = f"{FOLDER}/out/".removeprefix("s3://").split("/", 1)
    found = S3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    name = uri.rsplit("/", 1)[1] + ".out"
    keys = [row["Key"] for row in found if row["Key"].endswith("/" + name)]
    assert len(keys) == 1, found
    text = S3.get_object(Bucket=bucket, Key=keys[0])["Body"].read().decode()
    return {line["recordId"]: line for line in map(json.loads, text.splitlines())}


def refused(code, call):
    try:
        call()
    except ClientError as error:
        assert error.response["Error"]["Code"] in code, error
        return error
    raise AssertionError("nothing was refused")


def whole():
    asks = [(f"a{n}", ask(f"ask {n}")) for n in range(100)]
    asks.append(("bad", ask("x", metadata={"user_id": "emu:status=529"})))
    uri = put("whole", asks)
    arn = make("whole", uri)
    job = ended(arn)
    assert (job["status"], job["jobName"], job["totalRecordCount"]) == ("Completed", "whole", 101), job
    assert (job["successRecordCount"], job["errorRecordCount"]) == (100, 1), job
    said = results(job, uri)
    assert len(said) == 101
    assert said["a7"]["modelOutput"]["content"][0]["text"] == "You said: ask 7"
    assert said["bad"]["error"]["errorCode"] == 529
    bare = BEDROCK.get_model_invocation_job(jobIdentifier=arn.rsplit("/", 1)[1])
    assert bare["jobArn"] == arn, "by the end of its name, too"


def converse():
    body = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
    uri = put("converse", [(f"c{n}", body) for n in range(100)])
    job = ended(make("converse", uri, modelInvocationType="Converse"))
    assert (job["status"], job["modelInvocationType"]) == ("Completed", "Converse"), job
    assert results(job, uri)["c3"]["modelOutput"]["usage"]["outputTokens"] > 0


def listed():
    uri = put("few", [("one", ask("one"))])
    arns = [make(f"listed-{n}", uri) for n in range(3)]
    page = BEDROCK.list_model_invocation_jobs(maxResults=2, sortBy="CreationTime", sortOrder="Descending")
    assert [job["jobArn"] for job in page["invocationJobSummaries"]] == [arns[2], arns[1]], page
    assert page["invocationJobSummaries"][0]["jobName"] == "listed-2"
    more = BEDROCK.list_model_invocation_jobs(maxResults=1, nextToken=page["nextToken"])
    assert [job["jobArn"] for job in more["invocationJobSummaries"]] == [arns[0]]
    job = ended(arns[0])
    assert job["status"] == "Failed" and "minimum" in job["message"], job
    failed = BEDROCK.list_model_invocation_jobs(statusEquals="Failed")["invocationJobSummaries"]
    assert arns[0] in [job["jobArn"] for job in failed], failed


def stopped():
    uri = put("stopped", [(f"s{n}", ask(str(n))) for n in range(100)])
    arn = make("stopped", uri)
    while BEDROCK.get_model_invocation_job(jobIdentifier=arn)["status"] != "InProgress":
        pass
    BEDROCK.stop_model_invocation_job(jobIdentifier=arn)
    job = ended(arn)
    assert (job["status"], job["processedRecordCount"]) == ("Stopped", 50), job
    refused(["ConflictException"], lambda: BEDROCK.stop_model_invocation_job(jobIdentifier=arn))


def once():
    """A client's own token makes one job, however often it is sent."""
    uri = put("once", [("one", ask("one"))])
    first = make("once", uri, clientRequestToken="token-1")
    assert make("once", uri, clientRequestToken="token-1") == first


def invalid():
    uri = put("invalid", [("one", ask("one"))])
    unknown = f"{SPACE}{REGION}:123456789012:model-invocation-job/aaaaaaaaaaaa"
    missing = ["ResourceNotFoundException"]
    refused(missing, lambda: BEDROCK.get_model_invocation_job(jobIdentifier=unknown))
    refused(missing, lambda: BEDROCK.get_model_invocation_job(jobIdentifier="aaaaaaaaaaaa"))
    refused(missing, lambda: BEDROCK.stop_model_invocation_job(jobIdentifier=unknown))
    refused(["ValidationException"], lambda: make("no name", uri))
    refused(["ValidationException"], lambda: make("hours", uri, timeoutDurationInHours=200))
    refused(["ValidationException", *missing], lambda: make("model", uri, modelId="no.such-model"))


CASES = [whole, converse, listed, stopped, once, invalid]


def main():
    for case in CASES:
        case()
        print("ok", case.__name__)


main()
