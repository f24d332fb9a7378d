//! OTLP metrics in protobuf: an `ExportMetricsServiceRequest`, or a `MetricsData`, which looks the same.
//! <https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/metrics/v1/metrics.proto>
//!
//! Points are read one by one in place: a tree of the message would make hundreds of bytes of two.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use prost::Message as _;

use super::{
    agent_rule::AgentRule,
    otlp_intake::{Metric, OtlpIntake},
    otlp_point::{
        Data, Explicit, ExponentialPoint, Head, PART_BYTES_MAX, Point, PointKind, Summary,
    },
    received::ReceivedMetrics,
    wire::{Damage, Field, Message},
};
use crate::{ingest::BodyError, model::Limits};

/// Reads a body of `application/x-protobuf`. Points that cannot be taken are counted and the others kept; see
/// [`ReceivedMetrics`].
///
/// # Errors
/// [`BodyError::Refused`] when the body is no such message or none of its points can be taken, [`BodyError::Limit`]
/// when it has too many.
pub fn parse_otlp_metrics_protobuf(
    body: &[u8],
    rule: &AgentRule,
    limits: &Limits,
) -> Result<ReceivedMetrics, BodyError> {
    let mut reader = Reader {
        intake: OtlpIntake::new(rule, limits),
        limits,
    };
    let mut request = Message::new(body);
    while let Some(field) = request.field()? {
        if field.number == 1 {
            reader.resource_metrics(field.message()?)?;
        }
    }
    reader.intake.finish()
}

impl From<Damage> for BodyError {
    fn from(damage: Damage) -> Self {
        Self::Refused(format!("the body is no OTLP in protobuf: {damage}"))
    }
}

struct Reader<'l> {
    intake: OtlpIntake<'l>,
    limits: &'l Limits,
}

impl Reader<'_> {
    fn resource_metrics(&mut self, message: Message<'_>) -> Result<(), BodyError> {
        // Fields may come in any order, so the resource is sought first.
        let mut attributes = Vec::new();
        let mut fields = message;
        while let Some(field) = fields.field()? {
            if field.number == 1 {
                let mut resource = part(field.message()?)?;
                while let Some(field) = resource.field()? {
                    if field.number == 1 {
                        attributes.push(attribute(&field).map_err(BodyError::Refused)?);
                    }
                }
            }
        }
        self.intake.begin_resource(attributes);
        let mut fields = message;
        while let Some(field) = fields.field()? {
            if field.number == 2 {
                self.scope_metrics(field.message()?)?;
            }
        }
        self.intake.end_resource()
    }

    fn scope_metrics(&mut self, message: Message<'_>) -> Result<(), BodyError> {
        let (mut name, mut version) = (String::new(), String::new());
        let mut fields = message;
        while let Some(field) = fields.field()? {
            if field.number == 1 {
                let mut scope = part(field.message()?)?;
                while let Some(field) = scope.field()? {
                    match field.number {
                        1 => name = text(&field)?,
                        2 => version = text(&field)?,
                        _ => {}
                    }
                }
            }
        }
        self.intake.begin_scope(name, version);
        let mut fields = message;
        while let Some(field) = fields.field()? {
            if field.number == 2 {
                self.metric(field.message()?)?;
            }
        }
        Ok(())
    }

    fn metric(&mut self, mut message: Message<'_>) -> Result<(), BodyError> {
        let (mut name, mut description, mut unit) = Default::default();
        let mut data = None;
        while let Some(field) = message.field()? {
            match field.number {
                1 => name = text(&field)?,
                2 => description = text(&field)?,
                3 => unit = text(&field)?,
                5 => data = Some((PointKind::Gauge, field.message()?)),
                7 => data = Some((PointKind::Sum, field.message()?)),
                9 => data = Some((PointKind::Histogram, field.message()?)),
                10 => data = Some((PointKind::Exponential, field.message()?)),
                11 => data = Some((PointKind::Summary, field.message()?)),
                _ => {}
            }
        }
        // A metric without data says nothing.
        let Some((kind, data)) = data else {
            return Ok(());
        };
        let mut head = Head {
            name,
            description,
            unit,
            kind,
            temporality: 0,
            is_monotonic: false,
        };
        let mut fields = data;
        while let Some(field) = fields.field()? {
            match field.number {
                2 => head.temporality = field.varint()? as i32,
                3 => head.is_monotonic = field.varint()? != 0,
                _ => {}
            }
        }
        let metric = Metric::new(&head);
        let mut fields = data;
        while let Some(field) = fields.field()? {
            if field.number == 1 {
                let point = read_point(kind, field.message()?, self.limits);
                self.intake.point(&metric, point)?;
            }
        }
        Ok(())
    }
}

/// A resource or scope, which is read whole; without it nothing of its points has a meaning.
fn part(message: Message<'_>) -> Result<Message<'_>, BodyError> {
    let bytes = message.bytes().len();
    if bytes > PART_BYTES_MAX {
        return Err(part_too_large(bytes));
    }
    Ok(message)
}

pub(super) fn part_too_large(bytes: usize) -> BodyError {
    let why = too_large(bytes);
    BodyError::Limit(format!("a resource or scope is too large: {why}"))
}

/// A text; one that is no UTF-8 damages the message.
fn text(field: &Field<'_>) -> Result<String, BodyError> {
    let text = std::str::from_utf8(field.message()?.bytes());
    let text = text
        .map_err(|error| BodyError::Refused(format!("the body is no OTLP in protobuf: {error}")))?;
    Ok(text.to_owned())
}

/// A `KeyValue`. Prost stops at a nesting of about 100.
fn attribute(field: &Field<'_>) -> Result<KeyValue, String> {
    let message = field.message().map_err(|damage| damage.to_string())?;
    let bytes = message.bytes();
    KeyValue::decode(bytes).map_err(|error| format!("an attribute is damaged: {error}"))
}

pub(super) fn too_large(bytes: usize) -> String {
    format!("it has {bytes} bytes, at most {PART_BYTES_MAX} are taken")
}

/// Numbers of the fields of a point that all kinds have, but not in the same place.
struct Numbers {
    attributes: u32,
    exemplars: u32,
    flags: u32,
}

const fn numbers(kind: PointKind) -> Numbers {
    let (attributes, exemplars, flags) = match kind {
        PointKind::Gauge | PointKind::Sum => (7, 5, 8),
        PointKind::Histogram => (9, 8, 10),
        PointKind::Exponential => (1, 11, 10),
        // A summary has no exemplars, and no field of this number.
        PointKind::Summary => (7, u32::MAX, 8),
    };
    Numbers {
        attributes,
        exemplars,
        flags,
    }
}

/// Reads a point, or says why it alone is rejected.
fn read_point(kind: PointKind, mut message: Message<'_>, limits: &Limits) -> Result<Point, String> {
    let bytes = message.bytes().len();
    if bytes > PART_BYTES_MAX {
        return Err(too_large(bytes));
    }
    let numbers = numbers(kind);
    let mut point = Point {
        attributes: Vec::new(),
        start_ns: 0,
        time_ns: 0,
        flags: 0,
        exemplars: 0,
        data: empty(kind),
    };
    let damaged = |damage: Damage| damage.to_string();
    while let Some(field) = message.field().map_err(damaged)? {
        let number = field.number;
        if number == numbers.attributes {
            if point.attributes.len() >= limits.labels_per_series {
                return Err(super::intake::too_many_labels(limits));
            }
            point.attributes.push(attribute(&field)?);
        } else if number == numbers.exemplars {
            point.exemplars += 1;
        } else {
            match number {
                2 => point.start_ns = field.fixed64().map_err(damaged)?,
                3 => point.time_ns = field.fixed64().map_err(damaged)?,
                _ if number == numbers.flags => {
                    point.flags = field.varint().map_err(damaged)? as u32;
                }
                _ => read_data(&mut point.data, &field).map_err(damaged)?,
            }
        }
    }
    Ok(point)
}

fn empty(kind: PointKind) -> Data {
    match kind {
        PointKind::Gauge | PointKind::Sum => Data::Number(None),
        PointKind::Histogram => Data::Histogram(Explicit::default()),
        PointKind::Exponential => Data::Exponential(ExponentialPoint::default()),
        PointKind::Summary => Data::Summary(Summary::default()),
    }
}

/// Reads a field that only points of the kind have.
fn read_data(data: &mut Data, field: &Field<'_>) -> Result<(), Damage> {
    match (data, field.number) {
        (Data::Number(value), 4) => *value = Some(field.double()?),
        (Data::Number(value), 6) => *value = Some(field.fixed64()? as i64 as f64),
        (Data::Histogram(histogram), 4) => histogram.count = field.fixed64()?,
        (Data::Histogram(histogram), 5) => histogram.sum = Some(field.double()?),
        (Data::Histogram(histogram), 6) => field.fixed64s(|n| histogram.counts.push(n))?,
        (Data::Histogram(histogram), 7) => {
            field.fixed64s(|n| histogram.bounds.push(f64::from_bits(n)))?;
        }
        (Data::Exponential(histogram), 4) => histogram.count = field.fixed64()?,
        (Data::Exponential(histogram), 5) => histogram.sum = Some(field.double()?),
        (Data::Exponential(histogram), 6) => histogram.scale = field.zigzag()? as i32,
        (Data::Exponential(histogram), 7) => histogram.zero_count = field.fixed64()?,
        (Data::Exponential(histogram), 8) => read_buckets(field, &mut histogram.positive)?,
        (Data::Exponential(histogram), 9) => read_buckets(field, &mut histogram.negative)?,
        (Data::Exponential(histogram), 14) => histogram.zero_threshold = field.double()?,
        (Data::Summary(summary), 4) => summary.count = field.fixed64()?,
        (Data::Summary(summary), 5) => summary.sum = field.double()?,
        (Data::Summary(summary), 6) => {
            let mut message = field.message()?;
            let (mut quantile, mut value) = (0.0, 0.0);
            while let Some(field) = message.field()? {
                match field.number {
                    1 => quantile = field.double()?,
                    2 => value = field.double()?,
                    _ => {}
                }
            }
            summary.quantiles.push((quantile, value));
        }
        _ => {}
    }
    Ok(())
}

fn read_buckets(field: &Field<'_>, side: &mut (i32, Vec<u64>)) -> Result<(), Damage> {
    let mut message = field.message()?;
    while let Some(field) = message.field()? {
        match field.number {
            1 => side.0 = field.zigzag()? as i32,
            2 => field.varints(|n| side.1.push(n))?,
            _ => {}
        }
    }
    Ok(())
}
