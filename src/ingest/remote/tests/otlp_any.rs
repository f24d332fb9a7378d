//! Random requests of OTLP metrics.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
        HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
        SummaryDataPoint, exponential_histogram_data_point::Buckets, metric::Data,
        number_data_point::Value, summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
};
use proptest::prelude::*;

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c._]{0,4}", "\\PC{0,4}"]
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let scalar = prop_oneof![
        any_text().prop_map(any_value::Value::StringValue),
        any::<bool>().prop_map(any_value::Value::BoolValue),
        any::<i64>().prop_map(any_value::Value::IntValue),
        any_double().prop_map(any_value::Value::DoubleValue),
    ];
    let scalar = prop::option::of(scalar).prop_map(|value| AnyValue { value });
    scalar.prop_recursive(2, 6, 3, |inner| {
        prop::collection::vec(inner, 0..3).prop_map(|values| AnyValue {
            value: Some(any_value::Value::ArrayValue(ArrayValue { values })),
        })
    })
}

/// Any number; one `NaN`, since JSON has no more, and no minus before zero, which prost does not write.
fn any_double() -> impl Strategy<Value = f64> {
    let number = prop_oneof![-9.0..9.0, any::<f64>()];
    number.prop_map(|number: f64| {
        if number.is_nan() {
            f64::NAN
        } else {
            number + 0.0
        }
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = (any_text(), prop::option::of(any_value()));
    let pair = pair.prop_map(|(key, value)| KeyValue {
        key,
        value,
        ..KeyValue::default()
    });
    prop::collection::vec(pair, 0..3)
}

/// Attributes, start, time, flags, number of exemplars.
fn any_head() -> impl Strategy<Value = (Vec<KeyValue>, u64, u64, u32, usize)> {
    let time = prop_oneof![0..3_000_000u64, any::<u64>()];
    let flags = prop_oneof![4 => Just(0u32), 1 => any::<u32>()];
    (attributes(), time.clone(), time, flags, 0..3usize)
}

fn numbers() -> impl Strategy<Value = Vec<NumberDataPoint>> {
    let value = prop_oneof![
        any_double().prop_map(Value::AsDouble),
        any::<i64>().prop_map(Value::AsInt),
    ];
    let point = (any_head(), prop::option::of(value)).prop_map(
        |((attributes, start, time, flags, exemplars), value)| NumberDataPoint {
            attributes,
            start_time_unix_nano: start,
            time_unix_nano: time,
            flags,
            exemplars: vec![Exemplar::default(); exemplars],
            value,
        },
    );
    prop::collection::vec(point, 0..3)
}

fn histograms() -> impl Strategy<Value = Vec<HistogramDataPoint>> {
    let counts = prop_oneof![
        (0..4usize).prop_flat_map(|n| (
            prop::collection::vec(0..5u64, n + 1),
            Just((0..n).map(|i| i as f64).collect::<Vec<_>>()),
        )),
        (
            prop::collection::vec(any::<u64>(), 0..4),
            prop::collection::vec(any_double(), 0..4)
        ),
    ];
    let point = (any_head(), counts, prop::option::of(any_double()), 0..30u64).prop_map(
        |(
            (attributes, start, time, flags, exemplars),
            (bucket_counts, explicit_bounds),
            sum,
            count,
        )| {
            HistogramDataPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: time,
                flags,
                exemplars: vec![Exemplar::default(); exemplars],
                count,
                sum,
                bucket_counts,
                explicit_bounds,
                min: sum,
                max: None,
            }
        },
    );
    prop::collection::vec(point, 0..3)
}

fn exponentials() -> impl Strategy<Value = Vec<ExponentialHistogramDataPoint>> {
    let side = (
        any::<i32>(),
        -3..3i32,
        any::<bool>(),
        prop::collection::vec(0..4u64, 0..4),
    );
    let side = side.prop_map(|(wild, offset, is_wild, bucket_counts)| Buckets {
        offset: if is_wild { wild } else { offset },
        bucket_counts,
    });
    let sides = (prop::option::of(side.clone()), prop::option::of(side));
    let scale = prop_oneof![-3..9i32, any::<i32>()];
    let zero = (0..3u64, prop_oneof![Just(0.0), any_double()]);
    let point = (
        any_head(),
        sides,
        scale,
        prop::option::of(any_double()),
        zero,
        0..40u64,
    )
        .prop_map(
            |(
                (attributes, start, time, flags, exemplars),
                (positive, negative),
                scale,
                sum,
                zero,
                count,
            )| {
                ExponentialHistogramDataPoint {
                    attributes,
                    start_time_unix_nano: start,
                    time_unix_nano: time,
                    flags,
                    exemplars: vec![Exemplar::default(); exemplars],
                    count,
                    sum,
                    scale,
                    zero_count: zero.0,
                    zero_threshold: zero.1,
                    positive,
                    negative,
                    min: None,
                    max: sum,
                }
            },
        );
    prop::collection::vec(point, 0..3)
}

fn summaries() -> impl Strategy<Value = Vec<SummaryDataPoint>> {
    let quantile = (any_double(), any_double());
    let quantile = quantile.prop_map(|(quantile, value)| ValueAtQuantile { quantile, value });
    let quantiles = prop::collection::vec(quantile, 0..3);
    let point = (any_head(), any::<u64>(), any_double(), quantiles).prop_map(
        |((attributes, start, time, flags, _), count, sum, quantile_values)| SummaryDataPoint {
            attributes,
            start_time_unix_nano: start,
            time_unix_nano: time,
            flags,
            count,
            sum,
            quantile_values,
        },
    );
    prop::collection::vec(point, 0..3)
}

fn any_metric() -> impl Strategy<Value = Metric> {
    let temporality = 0..3i32;
    let data = prop_oneof![
        numbers().prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        (numbers(), temporality.clone(), any::<bool>()).prop_map(
            |(data_points, aggregation_temporality, is_monotonic)| Data::Sum(Sum {
                data_points,
                aggregation_temporality,
                is_monotonic,
            })
        ),
        (histograms(), temporality.clone()).prop_map(|(data_points, aggregation_temporality)| {
            Data::Histogram(Histogram {
                data_points,
                aggregation_temporality,
            })
        }),
        (exponentials(), temporality).prop_map(|(data_points, aggregation_temporality)| {
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points,
                aggregation_temporality,
            })
        }),
        summaries().prop_map(|data_points| Data::Summary(Summary { data_points })),
    ];
    let unit = prop_oneof![Just("1"), Just("ms"), Just("By/s"), Just("{x}")];
    (any_text(), unit, prop::option::of(data)).prop_map(|(name, unit, data)| Metric {
        name,
        description: "Help".to_owned(),
        unit: unit.to_owned(),
        metadata: Vec::new(),
        data,
    })
}

pub(super) fn any_request() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let resource = attributes().prop_map(|mut attributes| {
        attributes.push(KeyValue {
            key: "service.name".to_owned(),
            value: Some(AnyValue {
                value: Some(any_value::Value::StringValue("s".to_owned())),
            }),
            ..KeyValue::default()
        });
        Resource {
            attributes,
            ..Resource::default()
        }
    });
    let scope = (any_text(), any_text()).prop_map(|(name, version)| InstrumentationScope {
        name,
        version,
        ..InstrumentationScope::default()
    });
    let metrics = prop::collection::vec(any_metric(), 0..4);
    let scoped = (prop::option::of(scope), metrics);
    let scoped = scoped.prop_map(|(scope, metrics)| ScopeMetrics {
        scope,
        metrics,
        schema_url: String::new(),
    });
    let group = (
        prop::option::of(resource),
        prop::collection::vec(scoped, 0..3),
    );
    let group = group.prop_map(|(resource, scope_metrics)| ResourceMetrics {
        resource,
        scope_metrics,
        schema_url: String::new(),
    });
    let groups = prop::collection::vec(group, 0..3);
    groups.prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics })
}
