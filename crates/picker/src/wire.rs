//! The messages of Envoy's external processing (`envoy.service.ext_proc.v3`) and of gRPC's health checks, with the fields that
//! an endpoint picker reads or writes. What is not listed here is skipped when it is read. The numbers are those of Envoy's
//! `external_processor.proto` and `base.proto`; `tests/envoy/client.py` speaks with Envoy's own generated messages.

use std::collections::HashMap;

use bytes::Bytes;

/// What the proxy sends.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ProcessingRequest {
    #[prost(oneof = "Sent", tags = "2, 3, 4, 5, 6, 7")]
    pub request: Option<Sent>,
    #[prost(message, optional, tag = "8")]
    pub metadata_context: Option<Metadata>,
    /// Nothing is to be answered.
    #[prost(bool, tag = "10")]
    pub observability_mode: bool,
    #[prost(message, optional, tag = "11")]
    pub protocol_config: Option<ProtocolConfiguration>,
}

/// The part of an exchange that a message is about.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Sent {
    #[prost(message, tag = "2")]
    RequestHeaders(HttpHeaders),
    #[prost(message, tag = "3")]
    ResponseHeaders(HttpHeaders),
    #[prost(message, tag = "4")]
    RequestBody(HttpBody),
    #[prost(message, tag = "5")]
    ResponseBody(HttpBody),
    #[prost(message, tag = "6")]
    RequestTrailers(HttpTrailers),
    #[prost(message, tag = "7")]
    ResponseTrailers(HttpTrailers),
}

/// How the proxy sends bodies; in the first message of a stream.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct ProtocolConfiguration {
    #[prost(enumeration = "BodyMode", tag = "1")]
    pub request_body_mode: i32,
    #[prost(enumeration = "BodyMode", tag = "2")]
    pub response_body_mode: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum BodyMode {
    None = 0,
    Streamed = 1,
    Buffered = 2,
    BufferedPartial = 3,
    FullDuplexStreamed = 4,
    Grpc = 5,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HttpHeaders {
    #[prost(message, optional, tag = "1")]
    pub headers: Option<HeaderMap>,
    #[prost(bool, tag = "3")]
    pub end_of_stream: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HeaderMap {
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderValue>,
}

/// A header; its value is in one of the two fields.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct HeaderValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub raw_value: Bytes,
}

/// A piece of a body, from the proxy and to it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct HttpBody {
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
    #[prost(bool, tag = "2")]
    pub end_of_stream: bool,
    #[prost(bool, tag = "3")]
    pub end_of_stream_without_message: bool,
    #[prost(bool, tag = "4")]
    pub grpc_message_compressed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct HttpTrailers {}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Metadata {
    #[prost(map = "string, message", tag = "1")]
    pub filter_metadata: HashMap<String, Struct>,
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Struct {
    #[prost(map = "string, message", tag = "1")]
    pub fields: HashMap<String, Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Value {
    #[prost(oneof = "ValueKind", tags = "3, 5, 6")]
    pub kind: Option<ValueKind>,
}

/// Numbers, booleans and null are skipped: no entry that is read has them.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum ValueKind {
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(ListValue),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ListValue {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// What the proxy is sent.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ProcessingResponse {
    #[prost(oneof = "Reply", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub response: Option<Reply>,
    #[prost(message, optional, tag = "8")]
    pub dynamic_metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Reply {
    #[prost(message, tag = "1")]
    RequestHeaders(PartResponse),
    #[prost(message, tag = "2")]
    ResponseHeaders(PartResponse),
    #[prost(message, tag = "3")]
    RequestBody(PartResponse),
    #[prost(message, tag = "4")]
    ResponseBody(PartResponse),
    #[prost(message, tag = "5")]
    RequestTrailers(TrailersResponse),
    #[prost(message, tag = "6")]
    ResponseTrailers(TrailersResponse),
    #[prost(message, tag = "7")]
    Immediate(ImmediateResponse),
}

/// `HeadersResponse` and `BodyResponse`, which have the same field.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PartResponse {
    #[prost(message, optional, tag = "1")]
    pub response: Option<CommonResponse>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CommonResponse {
    #[prost(message, optional, tag = "2")]
    pub header_mutation: Option<HeaderMutation>,
    #[prost(message, optional, tag = "3")]
    pub body_mutation: Option<BodyMutation>,
    #[prost(bool, tag = "5")]
    pub clear_route_cache: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HeaderMutation {
    #[prost(message, repeated, tag = "1")]
    pub set_headers: Vec<HeaderValueOption>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HeaderValueOption {
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
    /// 2: what the client sent under that name is replaced.
    #[prost(int32, tag = "3")]
    pub append_action: i32,
}

/// `OVERWRITE_IF_EXISTS_OR_ADD`.
pub(crate) const OVERWRITE: i32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BodyMutation {
    /// `StreamedBodyResponse`, whose fields are those of `HttpBody`.
    #[prost(message, optional, tag = "3")]
    pub streamed_response: Option<HttpBody>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct TrailersResponse {}

/// An answer to the client instead of the server's.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ImmediateResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    #[prost(bytes = "bytes", tag = "3")]
    pub body: Bytes,
    #[prost(string, tag = "5")]
    pub details: String,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct HealthCheckResponse {
    /// 1 is `SERVING`, 2 is `NOT_SERVING`.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

impl HeaderMap {
    /// The first value of a header, if it is text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|header| header.key.eq_ignore_ascii_case(name))?;
        if header.raw_value.is_empty() { Some(&header.value) } else { str::from_utf8(&header.raw_value).ok() }
    }
}

impl Metadata {
    /// An entry of a namespace.
    pub(crate) fn entry(&self, namespace: &str, key: &str) -> Option<&Value> {
        self.filter_metadata.get(namespace)?.fields.get(key)
    }
}

impl Value {
    pub(crate) fn of_text(text: &str) -> Self {
        Self { kind: Some(ValueKind::Text(text.to_owned())) }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Some(ValueKind::Text(text)) => Some(text),
            _ => None,
        }
    }
}

impl Struct {
    /// One entry within one namespace.
    pub(crate) fn nested(namespace: &str, key: &str, value: &str) -> Self {
        let inner = Self { fields: HashMap::from([(key.to_owned(), Value::of_text(value))]) };
        let outer = Value { kind: Some(ValueKind::Struct(inner)) };
        Self { fields: HashMap::from([(namespace.to_owned(), outer)]) }
    }
}
