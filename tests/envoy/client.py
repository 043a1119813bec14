"""Speaks with an endpoint picker as Envoy's filter for external processing does, by Envoy's own generated messages.

Reads one request a line from standard input, as JSON, and writes what came of it as JSON, also a line each:

  mode      NONE, STREAMED, BUFFERED, BUFFERED_PARTIAL, FULL_DUPLEX_STREAMED or GRPC; left out, the picker isn't told
  headers   of the request
  chunks    of its body; empty for a request without one
  trailers  whether the request ends with trailers
  subset    the endpoints that the choice is limited to: a list, or a text
  response  {"status": 200, "chunks": [...], "served": "ip:port"}, if the exchange goes on to a response
  raw       instead of all that: bytes of one message, in hexadecimal
  endless   instead of all that: mebibytes of a body that doesn't end, sent until then; the stream is then cancelled
  health    instead of all that: the service whose health is asked for

Answers that Envoy would take for an error end the program.
"""

import json
import queue
import ssl
import sys

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as messages
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as services
from google.protobuf import struct_pb2
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc_health.v1 import health_pb2, health_pb2_grpc

WITHIN = 60
DESTINATION = "x-gateway-destination-endpoint"
Mode = processing_mode_pb2.ProcessingMode.BodySendMode
STREAMS_BOTH_WAYS = ("FULL_DUPLEX_STREAMED", "GRPC")


class Immediate(Exception):
    """The client is answered instead of a server."""


class Exchange:
    """One stream. Messages are sent one by one, and their answers are taken where Envoy waits for them."""

    def __init__(self, stub, mode):
        self.mode, self.told = mode or "FULL_DUPLEX_STREAMED", mode is not None
        self.is_first = True
        self.outgoing = queue.Queue()
        self.answers = stub.Process(iter(self.outgoing.get, None), timeout=WITHIN)

    def send(self, **fields):
        request = messages.ProcessingRequest(**fields)
        if self.is_first and self.told:
            mode = Mode.Value(self.mode)
            request.protocol_config.request_body_mode = mode
            request.protocol_config.response_body_mode = mode
        self.is_first = False
        self.outgoing.put(request)

    def take(self, kind):
        answer = next(self.answers)
        refuse_unknown_fields(answer)
        found = answer.WhichOneof("response")
        if found == "immediate_response":
            raise Immediate(answer.immediate_response)
        assert found == kind, f"{found} came instead of {kind}"
        return answer

    def end(self):
        """The picker has nothing more to say."""
        self.outgoing.put(None)
        rest = list(self.answers)
        assert not rest, rest
        assert self.answers.code() == grpc.StatusCode.OK, self.answers.code()


def refuse_unknown_fields(message):
    assert len(UnknownFieldSet(message)) == 0, message
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for each in value if field.is_repeated else [value]:
            refuse_unknown_fields(each)


def header_map(pairs):
    headers = [base_pb2.HeaderValue(key=key, raw_value=value.encode()) for key, value in pairs.items()]
    return base_pb2.HeaderMap(headers=headers)


def metadata(namespace, key, value):
    entry = struct_pb2.Struct()
    entry[key] = value
    return base_pb2.Metadata(filter_metadata={namespace: entry})


def destination(answer, common):
    """The endpoints, which header and metadata have to name alike."""
    mutation = common.header_mutation
    assert [each.header.key for each in mutation.set_headers] == [DESTINATION] and not mutation.remove_headers
    option = mutation.set_headers[0]
    assert option.append_action == base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD and not option.header.value
    named = option.header.raw_value.decode()
    assert answer.dynamic_metadata["envoy.lb"][DESTINATION] == named, answer
    assert common.clear_route_cache
    return named


def unchanged(common):
    assert common == messages.CommonResponse(), common


def streamed(answers):
    """The body that is sent on."""
    body, is_over = b"", False
    for answer in answers:
        common = answer.response
        assert common.body_mutation.WhichOneof("mutation") == "streamed_response" and not is_over, answer
        assert not common.HasField("header_mutation")
        piece = common.body_mutation.streamed_response
        body, is_over = body + piece.body, piece.end_of_stream
    return body, is_over


def take_body(exchange, kind, length, ends):
    """Takes pieces until the whole body has come back."""
    pieces, have = [], 0
    while have < length or (ends and not pieces[-1].response.body_mutation.streamed_response.end_of_stream):
        pieces.append(getattr(exchange.take(kind), kind))
        have += len(pieces[-1].response.body_mutation.streamed_response.body)
    body, is_over = streamed(pieces)
    assert is_over == ends and len(body) == length
    return body


def whole_request(exchange, request):
    mode, chunks = exchange.mode, [chunk.encode() for chunk in request.get("chunks", [])]
    has_trailers, body = request.get("trailers", False), b"".join(chunks)
    subset = request.get("subset")
    hint = None if subset is None else metadata("envoy.lb.subset_hint", DESTINATION + "-subset", subset)
    pairs = {":method": "POST", ":path": "/v1/chat/completions", DESTINATION: "10.66.66.66:6666", **request.get("headers", {})}
    headers = messages.HttpHeaders(headers=header_map(pairs), end_of_stream=not chunks and not has_trailers)
    exchange.send(request_headers=headers, metadata_context=hint)
    piece = lambda at: messages.HttpBody(body=chunks[at], end_of_stream=at + 1 == len(chunks) and not has_trailers)
    if mode == "FULL_DUPLEX_STREAMED" and (chunks or has_trailers):
        for at in range(len(chunks)):
            exchange.send(request_body=piece(at))
        if has_trailers:
            exchange.send(request_trailers=messages.HttpTrailers())
        answer = exchange.take("request_headers")
        named = destination(answer, answer.request_headers.response)
        assert take_body(exchange, "request_body", len(body), bool(chunks) and not has_trailers) == body
    else:
        answer = exchange.take("request_headers")
        if mode in ("BUFFERED", "BUFFERED_PARTIAL") and chunks:
            unchanged(answer.request_headers.response)
            exchange.send(request_body=messages.HttpBody(body=body, end_of_stream=not has_trailers))
            answer = exchange.take("request_body")
            assert not answer.request_body.response.HasField("body_mutation")
            named = destination(answer, answer.request_body.response)
        else:
            named = destination(answer, answer.request_headers.response)
            for at in range(len(chunks)):
                exchange.send(request_body=piece(at))
                answer = exchange.take("request_body").request_body
                if mode == "GRPC":
                    assert streamed([answer])[0] == chunks[at]
                else:
                    unchanged(answer.response)
        if has_trailers:
            exchange.send(request_trailers=messages.HttpTrailers())
    if has_trailers:
        exchange.take("request_trailers")
    return named


def whole_response(exchange, response):
    pairs = {":status": str(response.get("status", 200))}
    served = response.get("served")
    hint = None if served is None else metadata("envoy.lb", DESTINATION + "-served", served)
    chunks = [chunk.encode() for chunk in response.get("chunks", [])]
    headers = messages.HttpHeaders(headers=header_map(pairs), end_of_stream=not chunks)
    exchange.send(response_headers=headers, metadata_context=hint)
    unchanged(exchange.take("response_headers").response_headers.response)
    for at, chunk in enumerate(chunks):
        is_last = at + 1 == len(chunks)
        exchange.send(response_body=messages.HttpBody(body=chunk, end_of_stream=is_last))
        if exchange.mode in STREAMS_BOTH_WAYS:
            assert take_body(exchange, "response_body", len(chunk), is_last) == chunk
        else:
            unchanged(exchange.take("response_body").response_body.response)


def played(stub, request):
    exchange = Exchange(stub, request.get("mode"))
    try:
        named = whole_request(exchange, request)
        if "response" in request:
            whole_response(exchange, request["response"])
        exchange.end()
        return {"destination": named}
    except Immediate as raised:
        answer = raised.args[0]
        exchange.end()
        return {"status": answer.status.code, "body": answer.body.decode(), "details": answer.details}


def raw(channel, text):
    """One message that is none, or of a kind that no protocol has yet."""
    method = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
    call = channel.stream_stream(method, lambda message: message, lambda message: message)(iter([bytes.fromhex(text)]), timeout=WITHIN)
    try:
        return {"answers": len(list(call))}
    except grpc.RpcError as error:
        return {"error": error.code().name, "message": error.details()}


def endless(stub, mebibytes):
    exchange = Exchange(stub, None)
    exchange.send(request_headers=messages.HttpHeaders(headers=header_map({":path": "/"})))
    chunk, back = b"x" * 1024 * 1024, 0
    # What is sent before the choice comes back with it, so that there is a first answer by then.
    for number in range(mebibytes):
        exchange.send(request_body=messages.HttpBody(body=chunk))
        if number == 32:
            answer = exchange.take("request_headers")
            destination(answer, answer.request_headers.response)
        if number >= 32:
            while back < (number - 16) * len(chunk):
                back += len(exchange.take("request_body").request_body.response.body_mutation.streamed_response.body)
    exchange.answers.cancel()
    exchange.outgoing.put(None)
    return {"back": back}


def health(channel, service):
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=WITHIN)
        return {"health": health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}
    except grpc.RpcError as error:
        return {"error": error.code().name}


def open_channel(address, is_plain):
    options = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]
    if is_plain:
        return grpc.insecure_channel(address, options)
    host, port = address.rsplit(":", 1)
    certificate = ssl.get_server_certificate((host, int(port))).encode()
    options.append(("grpc.ssl_target_name_override", "localhost"))
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(certificate), options)


def main():
    address, is_plain = sys.argv[1], sys.argv[2] == "plaintext"
    with open_channel(address, is_plain) as channel:
        stub = services.ExternalProcessorStub(channel)
        for line in sys.stdin:
            request = json.loads(line)
            if "raw" in request:
                came = raw(channel, request["raw"])
            elif "endless" in request:
                came = endless(stub, request["endless"])
            elif "health" in request:
                came = health(channel, request["health"])
            else:
                came = played(stub, request)
            print(json.dumps(came), flush=True)


main()
