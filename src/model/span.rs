//! A span as it was told: one piece of work of an agent within a trace.

use std::{borrow::Cow, fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use sha2::{Digest, Sha256};

use super::AgentId;

/// Name of a trace: 16 bytes, never all zero (W3C Trace Context).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(u128);

/// Name of a span within its trace: 8 bytes, never all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(u64);

/// The number of an id in hexadecimal digits; `None` for other text and for zero.
fn hexadecimal(text: &str) -> Option<u128> {
    let is_hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    let number = is_hex.then(|| u128::from_str_radix(text, 16).ok())??;
    (number != 0).then_some(number)
}

/// The first bytes of the digest of a text, never zero.
fn digest<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&Sha256::digest(text.as_bytes())[..N]);
    if bytes == [0; N] {
        bytes[N - 1] = 1;
    }
    bytes
}

impl TraceId {
    /// The id of this number; `None` for zero.
    pub const fn new(number: u128) -> Option<Self> {
        if number == 0 {
            None
        } else {
            Some(Self(number))
        }
    }

    /// The id of 16 bytes, or of the 8 lower ones.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            16 => Self::new(u128::from_be_bytes(bytes.try_into().ok()?)),
            8 => Self::new(u128::from(u64::from_be_bytes(bytes.try_into().ok()?))),
            _ => None,
        }
    }

    /// The id of 32 or 16 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        matches!(text.len(), 16 | 32)
            .then(|| hexadecimal(text).map(Self))
            .flatten()
    }

    /// The id that any text stands for: its digits where it is an id, else 16 bytes of its SHA-256. The second says
    /// whether the text is the id itself.
    pub fn of_text(text: &str) -> (Self, bool) {
        Self::from_hex(text).map_or_else(
            || (Self(u128::from_be_bytes(digest(text))), false),
            |id| (id, true),
        )
    }

    /// The id as a number.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl SpanId {
    /// The id of this number; `None` for zero.
    pub const fn new(number: u64) -> Option<Self> {
        if number == 0 {
            None
        } else {
            Some(Self(number))
        }
    }

    /// The id of 8 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::new(u64::from_be_bytes(bytes.try_into().ok()?))
    }

    /// The id of 16 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let number = (text.len() == 16).then(|| hexadecimal(text))??;
        u64::try_from(number).ok().map(Self)
    }

    /// The id that any text stands for, as [`TraceId::of_text`].
    pub fn of_text(text: &str) -> (Self, bool) {
        Self::from_hex(text).map_or_else(
            || (Self(u64::from_be_bytes(digest(text))), false),
            |id| (id, true),
        )
    }

    /// The id as a number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As hexadecimal digits.
impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

/// As hexadecimal digits.
impl Serialize for SpanId {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        Self::from_hex(&text).ok_or_else(|| D::Error::custom("no id of a trace"))
    }
}

impl<'de> Deserialize<'de> for SpanId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        Self::from_hex(&text).ok_or_else(|| D::Error::custom("no id of a span"))
    }
}

/// Names of attributes that longwatch itself gives.
pub mod own_attributes {
    /// The text that a client called the trace by, where that is no id.
    pub const TRACE_NAME: &str = "longwatch.trace_id";
    /// The text that a client called the span by, where that is no id.
    pub const SPAN_NAME: &str = "longwatch.span_id";
    /// In OTLP: true for the server's half of a span that has the client's id.
    pub const SHARED: &str = "longwatch.shared";
    /// In OTLP: how the span ended, in a word that OTLP does not have.
    pub const STATUS: &str = "longwatch.status";
    /// In OTLP: the agent, where nothing else of the span names it.
    pub const AGENT: &str = "longwatch.agent_id";
    /// The version of the table of prices that the cost was worked out by.
    pub const PRICES: &str = "longwatch.prices";
}

/// Value of an attribute, as OpenTelemetry has them.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// There, without a value.
    Empty,
    /// Text.
    Text(Arc<str>),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// Values in order.
    List(Vec<AttributeValue>),
    /// Values by name, in the order given.
    Map(Attributes),
}

impl AttributeValue {
    /// The text, of a text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, also of a text or another number that is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Float(number) if number.fract() == 0.0 && number.abs() < 9.0e15 => {
                Some(*number as i64)
            }
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The number, of a number or a text that is one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// For people, and what a search compares: text bare, bytes in Base64, lists and maps as JSON.
impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::Text(text) => f.write_str(text),
            Self::Bool(is) => write!(f, "{is}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bytes(bytes) => f.write_str(&BASE64.encode(bytes)),
            Self::List(_) | Self::Map(_) => write!(f, "{}", self.to_json()),
        }
    }
}

impl AttributeValue {
    /// As plain JSON: numbers that JSON does not have are texts, bytes are Base64.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Empty => Value::Null,
            Self::Text(text) => Value::from(&**text),
            Self::Bool(is) => Value::from(*is),
            Self::Int(number) => Value::from(*number),
            Self::Float(number) => serde_json::Number::from_f64(*number)
                .map_or_else(|| Value::from(number.to_string()), Value::Number),
            Self::Bytes(bytes) => Value::from(BASE64.encode(bytes)),
            Self::List(values) => values.iter().map(Self::to_json).collect(),
            Self::Map(map) => map.to_json(),
        }
    }

    /// A value of plain JSON.
    pub fn of_json(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::Empty,
            Value::Bool(is) => Self::Bool(*is),
            Value::Number(number) => number.as_i64().map_or_else(
                || Self::Float(number.as_f64().unwrap_or(f64::NAN)),
                Self::Int,
            ),
            Value::String(text) => Self::Text(text.as_str().into()),
            Value::Array(values) => Self::List(values.iter().map(Self::of_json).collect()),
            Value::Object(map) => Self::Map(
                map.iter()
                    .map(|(key, value)| (Arc::from(key.as_str()), Self::of_json(value)))
                    .collect(),
            ),
        }
    }
}

/// Attributes in the order given. A key that comes twice counts once, with its first value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(Vec<(Arc<str>, AttributeValue)>);

impl Attributes {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&AttributeValue> {
        self.0.iter().find(|(k, _)| **k == *key).map(|(_, v)| v)
    }

    /// The text of a key, where it has one that is not empty.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text().filter(|text| !text.is_empty())
    }

    /// Sets a key to a value, in its place if it is there.
    pub fn set(&mut self, key: &str, value: AttributeValue) {
        if let Some((_, before)) = self.0.iter_mut().find(|(k, _)| **k == *key) {
            *before = value;
        } else {
            self.0.push((key.into(), value));
        }
    }

    /// Takes a key out, each time that it is there; its first value.
    pub fn remove(&mut self, key: &str) -> Option<AttributeValue> {
        let at = self.0.iter().position(|(k, _)| **k == *key)?;
        let (_, value) = self.0.remove(at);
        self.0.retain(|(k, _)| **k != *key);
        Some(value)
    }

    /// Adds at the end, whether the key is there or not.
    pub fn push(&mut self, key: Arc<str>, value: AttributeValue) {
        self.0.push((key, value));
    }

    /// All, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &AttributeValue)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// How many.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a JSON object.
    pub fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        for (key, value) in self.iter() {
            object.entry(&**key).or_insert_with(|| value.to_json());
        }
        serde_json::Value::Object(object)
    }
}

impl FromIterator<(Arc<str>, AttributeValue)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, AttributeValue)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// What part a span has in a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpanKind {
    /// Not told.
    #[default]
    Unspecified,
    /// Within one agent.
    Internal,
    /// Answers a call.
    Server,
    /// Makes a call.
    Client,
    /// Sends a message.
    Producer,
    /// Works on a message.
    Consumer,
}

impl SpanKind {
    /// All, in the order of OpenTelemetry's numbers.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::Internal,
        Self::Server,
        Self::Client,
        Self::Producer,
        Self::Consumer,
    ];

    /// In lower case, as Jaeger writes them.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    /// The kind of this name, in any case.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// OpenTelemetry's number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kind of OpenTelemetry's number.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// How a span ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SpanStatus {
    /// Not told: taken for completed.
    #[default]
    Unset,
    /// Told to be well.
    Ok,
    /// Failed.
    Error,
    /// In the client's own word, e.g. `cancelled`.
    Other(Arc<str>),
}

impl SpanStatus {
    /// The status of a native call's word.
    pub fn of_word(word: &str) -> Self {
        match word {
            "completed" | "ok" => Self::Ok,
            "unset" => Self::Unset,
            "failed" | "error" => Self::Error,
            other => Self::Other(other.into()),
        }
    }

    /// `completed`, `failed` or the client's word.
    pub fn word(&self) -> &str {
        match self {
            Self::Unset | Self::Ok => "completed",
            Self::Error => "failed",
            Self::Other(word) => word,
        }
    }
}

/// Something that happened within a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanEvent {
    /// When, nanoseconds since the epoch.
    pub time_ns: i64,
    /// What.
    pub name: Arc<str>,
    /// More about it.
    pub attributes: Attributes,
    /// Attributes that the client left out.
    pub dropped_attributes: u32,
}

impl Default for TraceId {
    /// The smallest id; for building values in steps.
    fn default() -> Self {
        Self(1)
    }
}

impl Default for SpanId {
    /// The smallest id; for building values in steps.
    fn default() -> Self {
        Self(1)
    }
}

/// A span, mostly of another trace, that this one has to do with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanLink {
    /// The other span's trace.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
    /// W3C `tracestate` of the other.
    pub trace_state: Arc<str>,
    /// What the link is about.
    pub attributes: Attributes,
    /// Attributes that the client left out.
    pub dropped_attributes: u32,
    /// W3C flags.
    pub flags: u32,
}

/// What sent the spans: process, host, service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// Its attributes.
    pub attributes: Attributes,
    /// Attributes that the client left out.
    pub dropped_attributes: u32,
    /// URL of the schema that they follow.
    pub schema_url: Arc<str>,
}

impl Resource {
    /// `service.name`, where there is one.
    pub fn service(&self) -> Option<&str> {
        self.attributes.text("service.name")
    }
}

/// The library that made the spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Its attributes.
    pub attributes: Attributes,
    /// Attributes that the client left out.
    pub dropped_attributes: u32,
    /// URL of the schema that its spans follow.
    pub schema_url: Arc<str>,
}

/// How the agent of a span is known, strongest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentOrigin {
    /// The span names it.
    Own,
    /// An ancestor names it.
    Inherited,
    /// The service stands for it.
    Service,
    /// Nothing tells.
    #[default]
    Unknown,
}

impl AgentOrigin {
    /// All, strongest first.
    pub const ALL: [Self; 4] = [Self::Own, Self::Inherited, Self::Service, Self::Unknown];
}

/// Tokens of one inference, and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenUsage {
    /// Tokens of the prompt, cached ones included.
    pub input: u64,
    /// Tokens of the answer, reasoning included.
    pub output: u64,
    /// Tokens of the prompt that were read from a cache; part of `input`.
    pub cache_read: u64,
    /// Tokens of the prompt that were put into a cache; part of `input`.
    pub cache_creation: u64,
    /// Tokens of reasoning; part of `output`.
    pub reasoning: u64,
    /// Cost by the price table that held, where the table has the model; in the table's currency.
    pub cost: Option<f64>,
}

impl TokenUsage {
    /// Tokens of both directions.
    pub const fn total(&self) -> u64 {
        self.input + self.output
    }

    /// Adds another's; a cost that is known counts as it is.
    pub fn add(&mut self, other: &Self) {
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.cache_creation += other.cache_creation;
        self.reasoning += other.reasoning;
        if let Some(cost) = other.cost {
            *self.cost.get_or_insert(0.0) += cost;
        }
    }
}

/// One piece of work of an agent within a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace.
    pub trace_id: TraceId,
    /// The span within the trace.
    pub span_id: SpanId,
    /// The span that it is part of; it may never arrive.
    pub parent_id: Option<SpanId>,
    /// Who did it.
    pub agent: AgentId,
    /// How that is known.
    pub agent_origin: AgentOrigin,
    /// The operation.
    pub name: Arc<str>,
    /// Its part in a call.
    pub kind: SpanKind,
    /// When it began, nanoseconds since the epoch.
    pub start_ns: i64,
    /// When it ended; `None` while it is open. May lie before the start, as some clients send it.
    pub end_ns: Option<i64>,
    /// How it ended.
    pub status: SpanStatus,
    /// Why, in words.
    pub status_message: Arc<str>,
    /// Its attributes.
    pub attributes: Attributes,
    /// Attributes that the client left out.
    pub dropped_attributes: u32,
    /// What happened within it.
    pub events: Vec<SpanEvent>,
    /// Events that the client left out.
    pub dropped_events: u32,
    /// Spans that it has to do with.
    pub links: Vec<SpanLink>,
    /// Links that the client left out.
    pub dropped_links: u32,
    /// W3C `tracestate`.
    pub trace_state: Arc<str>,
    /// W3C flags, with OpenTelemetry's bits for remote parents.
    pub flags: u32,
    /// Zipkin: the server's half of a span that has the client's id.
    pub is_shared: bool,
    /// Tokens, of a span that is an inference.
    pub usage: Option<TokenUsage>,
    /// What sent it.
    pub resource: Arc<Resource>,
    /// The library that made it.
    pub scope: Arc<Scope>,
}

impl Span {
    /// An open span without anything more.
    pub fn new(
        trace_id: TraceId,
        span_id: SpanId,
        agent: AgentId,
        name: &str,
        start_ns: i64,
    ) -> Self {
        Self {
            trace_id,
            span_id,
            parent_id: None,
            agent,
            agent_origin: AgentOrigin::Own,
            name: name.into(),
            kind: SpanKind::Unspecified,
            start_ns,
            end_ns: None,
            status: SpanStatus::Unset,
            status_message: Arc::default(),
            attributes: Attributes::default(),
            dropped_attributes: 0,
            events: Vec::new(),
            dropped_events: 0,
            links: Vec::new(),
            dropped_links: 0,
            trace_state: Arc::default(),
            flags: 0,
            is_shared: false,
            usage: None,
            resource: Arc::default(),
            scope: Arc::default(),
        }
    }

    /// The service that it ran in: `service.name` of what sent it, else its agent.
    pub fn service(&self) -> &str {
        self.resource
            .service()
            .unwrap_or_else(|| self.agent.as_str())
    }

    /// Whether it has not ended.
    pub const fn is_open(&self) -> bool {
        self.end_ns.is_none()
    }

    /// Nanoseconds from start to end, 0 where the end lies before; `None` while it is open.
    pub fn duration_ns(&self) -> Option<i64> {
        self.end_ns
            .map(|end| end.saturating_sub(self.start_ns).max(0))
    }

    /// Whether it failed.
    pub fn is_failed(&self) -> bool {
        self.status == SpanStatus::Error
    }

    /// `open` while it has not ended, then the word of its status.
    pub fn status_word(&self) -> &str {
        if self.is_open() {
            "open"
        } else {
            self.status.word()
        }
    }

    /// Whether it ended well.
    pub fn is_completed(&self) -> bool {
        !self.is_open() && matches!(self.status, SpanStatus::Unset | SpanStatus::Ok)
    }

    /// The span as a client called it.
    pub fn shown_id(&self) -> String {
        self.attributes
            .text(own_attributes::SPAN_NAME)
            .map_or_else(|| self.span_id.to_string(), str::to_owned)
    }

    /// Hands over every text that tells of an error: the message of a failed span, `error.type`, and type and message of
    /// exceptions.
    pub fn each_error_text(&self, mut tell: impl FnMut(&str)) {
        if self.is_failed() {
            tell(&self.status_message);
        }
        if let Some(kind) = self.attributes.text("error.type") {
            tell(kind);
        }
        for event in &self.events {
            for key in ["exception.message", "exception.type"] {
                if let Some(text) = event.attributes.text(key) {
                    tell(text);
                }
            }
        }
    }

    /// An attribute of the span, else of its scope, else of what sent it.
    pub fn attribute(&self, key: &str) -> Option<&AttributeValue> {
        self.attributes
            .get(key)
            .or_else(|| self.scope.attributes.get(key))
            .or_else(|| self.resource.attributes.get(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal_or_stand_for_a_text() {
        let id = TraceId::from_hex("0AF7651916CD43DD8448EB211C80319C").unwrap();
        assert_eq!(id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(TraceId::from_hex("00000000000000000000000000000000"), None);
        assert_eq!(TraceId::from_hex("+f7651916cd43dd8"), None);
        assert_eq!(
            TraceId::from_hex("b7ad6b7169203331").unwrap().as_u128(),
            0xb7ad_6b71_6920_3331
        );
        let (named, is_id) = TraceId::of_text("run 7");
        assert!(!is_id);
        assert_eq!(TraceId::of_text("run 7").0, named);
        assert_ne!(TraceId::of_text("run 8").0, named);
        assert_eq!(
            SpanId::from_hex("00f067aa0ba902b7").unwrap().to_string(),
            "00f067aa0ba902b7"
        );
        assert_eq!(SpanId::from_hex("0"), None);
        assert_eq!(SpanId::from_bytes(&[0; 8]), None);
    }

    #[test]
    fn values_are_shown_as_they_are_compared() {
        let bytes = AttributeValue::Bytes([0u8, 0, 0x30, 0x39].as_slice().into());
        assert_eq!(bytes.to_string(), "AAAwOQ==");
        assert_eq!(AttributeValue::Float(72.5).to_string(), "72.5");
        assert_eq!(AttributeValue::Float(f64::NAN).to_json(), "NaN");
        let list = AttributeValue::of_json(&serde_json::json!([1, "a", {"b": null}]));
        assert_eq!(list.to_string(), r#"[1,"a",{"b":null}]"#);
    }
}
