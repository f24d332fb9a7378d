//! Messages of OTLP in JSON as SDKs write it, to compare with protobuf.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value as OtlpValue},
    metrics::v1::{
        Exemplar, Metric, exponential_histogram_data_point::Buckets, metric::Data,
        number_data_point,
    },
};
use serde_json::{Value, json};

/// The request in JSON. `loose` is the form that few writers use and readers must take all the same.
pub(super) fn to_json(request: &ExportMetricsServiceRequest, loose: bool) -> Value {
    let groups = request.resource_metrics.iter().map(|group| {
        let scopes = group.scope_metrics.iter().map(|scoped| {
            let metrics = scoped.metrics.iter().map(|told| metric(told, loose));
            json!({
                "scope": scoped.scope.as_ref().map(|scope| json!({"name": scope.name, "version": scope.version})),
                "metrics": metrics.collect::<Value>(),
            })
        });
        json!({
            "resource": group.resource.as_ref().map(|resource| json!({"attributes": pairs(&resource.attributes, loose)})),
            if loose { "scope_metrics" } else { "scopeMetrics" }: scopes.collect::<Value>(),
        })
    });
    json!({"resourceMetrics": groups.collect::<Value>(), "unknown": [{}, null]})
}

fn pairs(attributes: &[KeyValue], loose: bool) -> Value {
    if attributes.is_empty() && loose {
        return Value::Null;
    }
    let pairs = attributes.iter().map(|pair| {
        let value = pair.value.as_ref().map(|value| any(value, loose));
        json!({"key": pair.key, "value": value})
    });
    pairs.collect()
}

fn any(value: &AnyValue, loose: bool) -> Value {
    match &value.value {
        None => json!({}),
        Some(OtlpValue::StringValue(text)) => json!({"stringValue": text}),
        Some(OtlpValue::BoolValue(is)) => json!({"boolValue": is}),
        Some(OtlpValue::IntValue(number)) => json!({"intValue": whole(*number, loose)}),
        Some(OtlpValue::DoubleValue(number)) => json!({"doubleValue": double(*number)}),
        Some(OtlpValue::ArrayValue(list)) => {
            let values = list.values.iter().map(|value| any(value, loose));
            json!({"arrayValue": {"values": values.collect::<Value>()}})
        }
        Some(other) => unreachable!("{other:?} is not made"),
    }
}

fn whole(number: impl Into<i128>, loose: bool) -> Value {
    let number: i128 = number.into();
    match (loose, u64::try_from(number), i64::try_from(number)) {
        (true, Ok(number), _) => json!(number),
        (true, _, Ok(number)) => json!(number),
        _ => json!(number.to_string()),
    }
}

fn double(number: f64) -> Value {
    if number.is_nan() {
        json!("NaN")
    } else if number.is_infinite() {
        json!(if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        })
    } else {
        json!(number)
    }
}

fn doubles(numbers: &[f64]) -> Value {
    numbers.iter().map(|number| double(*number)).collect()
}

fn wholes(numbers: &[u64], loose: bool) -> Value {
    numbers.iter().map(|number| whole(*number, loose)).collect()
}

fn temporality(number: i32, loose: bool) -> Value {
    match (loose, number) {
        (true, 1) => json!("AGGREGATION_TEMPORALITY_DELTA"),
        (true, 2) => json!("AGGREGATION_TEMPORALITY_CUMULATIVE"),
        _ => json!(number),
    }
}

fn exemplars(told: &[Exemplar]) -> Value {
    let exemplars = told
        .iter()
        .map(|_| json!({"traceId": "5B8EFFF798038103D269B633813FC60C"}));
    exemplars.collect()
}

fn buckets(told: Option<&Buckets>, loose: bool) -> Value {
    told.map_or(
        Value::Null,
        |told| json!({"offset": told.offset, "bucketCounts": wholes(&told.bucket_counts, loose)}),
    )
}

fn metric(told: &Metric, loose: bool) -> Value {
    let mut metric = json!({"name": told.name, "description": told.description, "unit": told.unit});
    let (key, data) = match &told.data {
        None => return metric,
        Some(Data::Gauge(gauge)) => {
            let points = gauge.data_points.iter().map(|point| number(point, loose));
            ("gauge", json!({"dataPoints": points.collect::<Value>()}))
        }
        Some(Data::Sum(sum)) => {
            let points = sum.data_points.iter().map(|point| number(point, loose));
            let data = json!({
                "dataPoints": points.collect::<Value>(),
                "aggregationTemporality": temporality(sum.aggregation_temporality, loose),
                "isMonotonic": sum.is_monotonic,
            });
            ("sum", data)
        }
        Some(Data::Histogram(histogram)) => {
            let points = histogram.data_points.iter().map(|point| {
                json!({
                    "attributes": pairs(&point.attributes, loose),
                    "startTimeUnixNano": whole(point.start_time_unix_nano, loose),
                    "timeUnixNano": whole(point.time_unix_nano, loose),
                    "count": whole(point.count, loose),
                    "sum": point.sum.map(double),
                    "bucketCounts": wholes(&point.bucket_counts, loose),
                    "explicitBounds": doubles(&point.explicit_bounds),
                    "exemplars": exemplars(&point.exemplars),
                    "flags": point.flags,
                })
            });
            let data = json!({
                if loose { "data_points" } else { "dataPoints" }: points.collect::<Value>(),
                "aggregationTemporality": temporality(histogram.aggregation_temporality, loose),
            });
            ("histogram", data)
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            let points = histogram.data_points.iter().map(|point| {
                json!({
                    "attributes": pairs(&point.attributes, loose),
                    "startTimeUnixNano": whole(point.start_time_unix_nano, loose),
                    "timeUnixNano": whole(point.time_unix_nano, loose),
                    "count": whole(point.count, loose),
                    "sum": point.sum.map(double),
                    "scale": point.scale,
                    "zeroCount": whole(point.zero_count, loose),
                    "zeroThreshold": double(point.zero_threshold),
                    "positive": buckets(point.positive.as_ref(), loose),
                    "negative": buckets(point.negative.as_ref(), loose),
                    "exemplars": exemplars(&point.exemplars),
                    "flags": point.flags,
                })
            });
            let data = json!({
                "dataPoints": points.collect::<Value>(),
                "aggregationTemporality": temporality(histogram.aggregation_temporality, loose),
            });
            (
                if loose {
                    "exponential_histogram"
                } else {
                    "exponentialHistogram"
                },
                data,
            )
        }
        Some(Data::Summary(summary)) => {
            let points = summary.data_points.iter().map(|point| {
                let quantiles = point.quantile_values.iter();
                let quantiles = quantiles.map(
                    |pair| json!({"quantile": double(pair.quantile), "value": double(pair.value)}),
                );
                json!({
                    "attributes": pairs(&point.attributes, loose),
                    "timeUnixNano": whole(point.time_unix_nano, loose),
                    "count": whole(point.count, loose),
                    "sum": double(point.sum),
                    "quantileValues": quantiles.collect::<Value>(),
                    "flags": point.flags,
                })
            });
            ("summary", json!({"dataPoints": points.collect::<Value>()}))
        }
    };
    metric[key] = data;
    metric
}

fn number(point: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint, loose: bool) -> Value {
    let mut told = json!({
        "attributes": pairs(&point.attributes, loose),
        "startTimeUnixNano": whole(point.start_time_unix_nano, loose),
        "timeUnixNano": whole(point.time_unix_nano, loose),
        "exemplars": exemplars(&point.exemplars),
        "flags": point.flags,
    });
    match point.value {
        Some(number_data_point::Value::AsDouble(number)) => told["asDouble"] = double(number),
        Some(number_data_point::Value::AsInt(number)) => told["asInt"] = whole(number, loose),
        None => {}
    }
    told
}
