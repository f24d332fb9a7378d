//! OTLP metrics in JSON: what protobuf has, as lenient as other readers of that mapping are.
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>

use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, KeyValue},
    resource::v1::Resource,
};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    agent_rule::AgentRule,
    otlp_intake::{Metric, OtlpIntake},
    otlp_metrics::{part_too_large, too_large},
    otlp_point::{
        Data, Explicit, ExponentialPoint, Head, PART_BYTES_MAX, Point, PointKind, Summary,
    },
    received::ReceivedMetrics,
};
use crate::{
    ingest::{
        BodyError,
        traces::{
            json_body::JsonBody,
            json_fields::{Double, Enumeration, attributes, list, text, whole},
            otlp_json::{JsonResource, JsonScope},
        },
    },
    model::Limits,
};

/// Reads a body of `application/json`, as [`super::parse_otlp_metrics_protobuf`] reads protobuf. Names are taken in
/// both spellings (`dataPoints`, `data_points`), unknown ones are passed over.
///
/// # Errors
/// [`BodyError::Syntax`] when the body is no JSON of that form, else as [`super::parse_otlp_metrics_protobuf`].
pub fn parse_otlp_metrics_json(
    body: &[u8],
    rule: &AgentRule,
    limits: &Limits,
) -> Result<ReceivedMetrics, BodyError> {
    let body = JsonBody::new(body);
    let document: Metrics<'_> = body.read(b'{')?;
    let mut intake = OtlpIntake::new(rule, limits);
    for group in document.resource_metrics {
        let resource: Option<JsonResource> = part(body, group.resource)?;
        let resource = resource.map(Resource::from).unwrap_or_default();
        intake.begin_resource(resource.attributes);
        for scoped in group.scope_metrics {
            let scope: Option<JsonScope> = part(body, scoped.scope)?;
            let scope = scope.map(InstrumentationScope::from).unwrap_or_default();
            intake.begin_scope(scope.name, scope.version);
            for metric in scoped.metrics {
                take_metric(body, &mut intake, metric, limits)?;
            }
        }
        intake.end_resource()?;
    }
    intake.finish()
}

/// A resource or scope, which is read whole; without it nothing of its points has a meaning.
fn part<'a, T: Deserialize<'a>>(
    body: JsonBody<'a>,
    part: Option<&'a RawValue>,
) -> Result<Option<T>, BodyError> {
    let Some(part) = part else {
        return Ok(None);
    };
    let bytes = part.get().len();
    if bytes > PART_BYTES_MAX {
        return Err(part_too_large(bytes));
    }
    body.part(part, true).map(Some).map_err(BodyError::Refused)
}

fn take_metric<'a>(
    body: JsonBody<'a>,
    intake: &mut OtlpIntake<'_>,
    told: JsonMetric<'a>,
    limits: &Limits,
) -> Result<(), BodyError> {
    let data = [
        (PointKind::Gauge, told.gauge),
        (PointKind::Sum, told.sum),
        (PointKind::Histogram, told.histogram),
        (PointKind::Exponential, told.exponential_histogram),
        (PointKind::Summary, told.summary),
    ];
    let mut data = data.into_iter().rev();
    let Some((kind, data)) = data.find_map(|(kind, data)| Some((kind, data?))) else {
        return Ok(());
    };
    let head = Head {
        name: told.name,
        description: told.description,
        unit: told.unit,
        kind,
        temporality: data.aggregation_temporality,
        is_monotonic: data.is_monotonic.unwrap_or_default(),
    };
    let metric = Metric::new(&head);
    for raw in data.data_points {
        let bytes = raw.get().len();
        let point = if bytes > PART_BYTES_MAX {
            Err(too_large(bytes))
        } else {
            let point = body.part::<JsonPoint>(raw, intake.keeps_reasons());
            point.and_then(|point| point.of_kind(kind, limits))
        };
        intake.point(&metric, point)?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Metrics<'a> {
    #[serde(borrow, default, deserialize_with = "list")]
    #[serde(rename = "resourceMetrics", alias = "resource_metrics")]
    resource_metrics: Vec<ResourceMetrics<'a>>,
}

#[derive(Deserialize)]
struct ResourceMetrics<'a> {
    #[serde(borrow, default)]
    resource: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "list")]
    #[serde(rename = "scopeMetrics", alias = "scope_metrics")]
    scope_metrics: Vec<ScopeMetrics<'a>>,
}

#[derive(Deserialize)]
struct ScopeMetrics<'a> {
    #[serde(borrow, default)]
    scope: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "list")]
    metrics: Vec<JsonMetric<'a>>,
}

#[derive(Deserialize)]
struct JsonMetric<'a> {
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    description: String,
    #[serde(default, deserialize_with = "text")]
    unit: String,
    #[serde(borrow, default)]
    gauge: Option<JsonData<'a>>,
    #[serde(borrow, default)]
    sum: Option<JsonData<'a>>,
    #[serde(borrow, default)]
    histogram: Option<JsonData<'a>>,
    #[serde(borrow, default)]
    #[serde(rename = "exponentialHistogram", alias = "exponential_histogram")]
    exponential_histogram: Option<JsonData<'a>>,
    #[serde(borrow, default)]
    summary: Option<JsonData<'a>>,
}

/// Points of any kind; what a kind does not have is passed over.
#[derive(Deserialize)]
struct JsonData<'a> {
    #[serde(borrow, default, deserialize_with = "list")]
    #[serde(rename = "dataPoints", alias = "data_points")]
    data_points: Vec<&'a RawValue>,
    #[serde(default, deserialize_with = "temporality")]
    #[serde(rename = "aggregationTemporality", alias = "aggregation_temporality")]
    aggregation_temporality: i32,
    #[serde(default, rename = "isMonotonic", alias = "is_monotonic")]
    is_monotonic: Option<bool>,
}

/// A point of any kind.
#[derive(Deserialize)]
struct JsonPoint {
    #[serde(default, deserialize_with = "attributes")]
    attributes: Vec<KeyValue>,
    #[serde(default, deserialize_with = "whole")]
    #[serde(rename = "startTimeUnixNano", alias = "start_time_unix_nano")]
    start_time_unix_nano: u64,
    #[serde(default, deserialize_with = "whole")]
    #[serde(rename = "timeUnixNano", alias = "time_unix_nano")]
    time_unix_nano: u64,
    #[serde(default, deserialize_with = "whole")]
    flags: u32,
    #[serde(default, deserialize_with = "length")]
    exemplars: u64,
    #[serde(default, rename = "asDouble", alias = "as_double")]
    as_double: Option<Double>,
    #[serde(default, rename = "asInt", alias = "as_int")]
    as_int: Option<Signed>,
    #[serde(default, deserialize_with = "whole")]
    count: u64,
    #[serde(default)]
    sum: Option<Double>,
    #[serde(default, deserialize_with = "list")]
    #[serde(rename = "bucketCounts", alias = "bucket_counts")]
    bucket_counts: Vec<Unsigned>,
    #[serde(default, deserialize_with = "list")]
    #[serde(rename = "explicitBounds", alias = "explicit_bounds")]
    explicit_bounds: Vec<Double>,
    #[serde(default, deserialize_with = "whole")]
    scale: i32,
    #[serde(default, deserialize_with = "whole")]
    #[serde(rename = "zeroCount", alias = "zero_count")]
    zero_count: u64,
    #[serde(default, rename = "zeroThreshold", alias = "zero_threshold")]
    zero_threshold: Option<Double>,
    #[serde(default)]
    positive: Option<JsonBuckets>,
    #[serde(default)]
    negative: Option<JsonBuckets>,
    #[serde(default, deserialize_with = "list")]
    #[serde(rename = "quantileValues", alias = "quantile_values")]
    quantile_values: Vec<JsonQuantile>,
}

#[derive(Default, Deserialize)]
struct JsonBuckets {
    #[serde(default, deserialize_with = "whole")]
    offset: i32,
    #[serde(default, deserialize_with = "list")]
    #[serde(rename = "bucketCounts", alias = "bucket_counts")]
    bucket_counts: Vec<Unsigned>,
}

#[derive(Deserialize)]
struct JsonQuantile {
    #[serde(default)]
    quantile: Option<Double>,
    #[serde(default)]
    value: Option<Double>,
}

#[derive(Deserialize)]
struct Unsigned(#[serde(deserialize_with = "whole")] u64);

#[derive(Deserialize)]
struct Signed(#[serde(deserialize_with = "whole")] i64);

impl JsonPoint {
    fn of_kind(self, kind: PointKind, limits: &Limits) -> Result<Point, String> {
        if self.attributes.len() > limits.labels_per_series {
            return Err(super::intake::too_many_labels(limits));
        }
        let double = |number: Option<Double>| number.map_or(0.0, |number| number.0);
        let sum = self.sum.as_ref().map(|sum| sum.0);
        let wholes = |list: Vec<Unsigned>| list.into_iter().map(|n| n.0).collect();
        let side = |side: Option<JsonBuckets>| {
            let side = side.unwrap_or_default();
            (side.offset, wholes(side.bucket_counts))
        };
        let data = match kind {
            PointKind::Gauge | PointKind::Sum => {
                let whole = self.as_int.map(|n| n.0 as f64);
                Data::Number(whole.or(self.as_double.map(|n| n.0)))
            }
            PointKind::Histogram => Data::Histogram(Explicit {
                count: self.count,
                sum,
                counts: wholes(self.bucket_counts),
                bounds: self.explicit_bounds.into_iter().map(|n| n.0).collect(),
            }),
            PointKind::Exponential => Data::Exponential(ExponentialPoint {
                count: self.count,
                sum,
                scale: self.scale,
                zero_count: self.zero_count,
                zero_threshold: double(self.zero_threshold),
                positive: side(self.positive),
                negative: side(self.negative),
            }),
            PointKind::Summary => {
                let pairs = self.quantile_values.into_iter();
                let pairs = pairs.map(|pair| (double(pair.quantile), double(pair.value)));
                Data::Summary(Summary {
                    count: self.count,
                    sum: double(self.sum),
                    quantiles: pairs.collect(),
                })
            }
        };
        Ok(Point {
            attributes: self.attributes,
            start_ns: self.start_time_unix_nano,
            time_ns: self.time_unix_nano,
            flags: self.flags,
            exemplars: self.exemplars,
            data,
        })
    }
}

/// `AggregationTemporality`.
fn temporality<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    const NAMES: [&str; 3] = ["UNSPECIFIED", "DELTA", "CUMULATIVE"];
    deserializer.deserialize_any(Enumeration("AGGREGATION_TEMPORALITY_", &NAMES))
}

/// The length of a list; null is an empty one.
fn length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    list::<D, IgnoredAny>(deserializer).map(|list| list.len() as u64)
}
