//! Remote write 1.0 as longwatch sends it on.

use crate::model::{MetricKind, MetricMetadata};

/// A `prometheus.WriteRequest`. Each series comes with its labels, sorted by name with `__name__` among them, with the
/// times in milliseconds and with the values; the shorter of the two counts. Compress it with [`super::snappy`].
pub fn write_request_v1<'a, L>(
    series: impl IntoIterator<Item = (L, &'a [i64], &'a [f64])>,
) -> Vec<u8>
where
    L: IntoIterator<Item = (&'a str, &'a str)>,
{
    let mut request = Vec::new();
    let (mut message, mut inner) = (Vec::new(), Vec::new());
    for (labels, times, values) in series {
        message.clear();
        for (name, value) in labels {
            inner.clear();
            put_bytes(&mut inner, 1, name.as_bytes());
            put_bytes(&mut inner, 2, value.as_bytes());
            put_message(&mut message, 1, &inner);
        }
        for (time, value) in times.iter().zip(values) {
            inner.clear();
            put_sample(&mut inner, *time, *value);
            put_message(&mut message, 2, &inner);
        }
        put_message(&mut request, 1, &message);
    }
    request
}

/// Adds metadata to a `prometheus.WriteRequest`.
pub fn write_metadata_v1(request: &mut Vec<u8>, metadata: &[MetricMetadata]) {
    let mut message = Vec::new();
    for MetricMetadata {
        name,
        kind,
        help,
        unit,
    } in metadata
    {
        message.clear();
        let kind = match kind {
            MetricKind::Unknown => 0,
            MetricKind::Counter => 1,
            MetricKind::Gauge => 2,
            MetricKind::Histogram => 3,
            MetricKind::GaugeHistogram => 4,
            MetricKind::Summary => 5,
            MetricKind::Info => 6,
            MetricKind::StateSet => 7,
        };
        if kind != 0 {
            message.extend([1 << 3, kind]);
        }
        put_bytes(&mut message, 2, name.as_bytes());
        put_bytes(&mut message, 4, help.as_bytes());
        put_bytes(&mut message, 5, unit.as_bytes());
        put_message(request, 3, &message);
    }
}

/// A `Sample`. Fields that are zero to the bit are left out, as protobuf does.
fn put_sample(out: &mut Vec<u8>, time_ms: i64, value: f64) {
    if value.to_bits() != 0 {
        out.push(1 << 3 | 1);
        out.extend_from_slice(&value.to_le_bytes());
    }
    if time_ms != 0 {
        out.push(2 << 3);
        put_varint(out, time_ms as u64);
    }
}

fn put_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_message(out, number, bytes);
    }
}

fn put_message(out: &mut Vec<u8>, number: u8, message: &[u8]) {
    out.push(number << 3 | 2);
    put_varint(out, message.len() as u64);
    out.extend_from_slice(message);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
