//! `io.prometheus.write.v2.Request`: texts are told once and referred to by number.
//! <https://github.com/prometheus/prometheus/blob/main/prompb/io/prometheus/write/v2/types.proto>

use super::{
    intake::{Intake, Series, TooMuch},
    remote_write::{BadRemoteWrite, Labels, Numbers, take_series},
    wire::{Damage, Message},
    write_v1::kind,
};
use crate::model::{Limits, MetricKind, MetricMetadata};

const NUMBERS: Numbers = Numbers {
    samples: 2,
    histograms: 3,
    exemplars: 4,
};

/// Symbols of one request. An empty one takes two bytes of the body and sixteen of memory.
const SYMBOLS_MAX: usize = 1 << 20;

/// Texts of a request by number; `None` for one that is no UTF-8.
type Symbols<'a> = [Option<&'a str>];

/// Reads a request.
pub(super) fn read(request: Message<'_>, intake: &mut Intake<'_>) -> Result<(), BadRemoteWrite> {
    // Fields may come in any order, so the symbols are sought first.
    let symbols = read_symbols(request)?;
    let mut labels = Labels::default();
    let mut fields = request;
    while let Some(field) = fields.field()? {
        if field.number == 5 {
            let series = field.message()?;
            labels.clear();
            let metadata = read_labels(series, &symbols, &mut labels, intake.limits)?;
            let taken = take_series(intake, &mut labels, series, &NUMBERS)?;
            if let (Some(series), Some(metadata)) = (taken, metadata) {
                tell(intake, series, metadata, &symbols)?;
            }
        }
    }
    Ok(())
}

fn read_symbols(mut request: Message<'_>) -> Result<Vec<Option<&str>>, BadRemoteWrite> {
    let mut symbols = Vec::new();
    while let Some(field) = request.field()? {
        // Reserved, so that nothing is taken for what it is not.
        if matches!(field.number, 1..=3) {
            return Err(field.damage("the request is one of version 1.0").into());
        }
        if field.number == 4 {
            if symbols.len() == SYMBOLS_MAX {
                return Err(BadRemoteWrite::Limit(format!(
                    "the request has more than {SYMBOLS_MAX} symbols; send it in parts"
                )));
            }
            symbols.push(std::str::from_utf8(field.message()?.bytes()).ok());
        }
    }
    Ok(symbols)
}

/// What is told of a series' metric, by numbers.
#[derive(Clone, Copy)]
struct Metadata {
    kind: MetricKind,
    help: u64,
    unit: u64,
}

/// Reads the labels of a `TimeSeries`, and its metadata if there is any.
fn read_labels<'a>(
    mut series: Message<'_>,
    symbols: &Symbols<'a>,
    labels: &mut Labels<'a>,
    limits: &Limits,
) -> Result<Option<Metadata>, Damage> {
    let mut metadata = None;
    let mut name = None;
    while let Some(field) = series.field()? {
        match field.number {
            1 => field.varints(|number| match name.take() {
                None => name = Some(number),
                Some(name) => {
                    let pair =
                        symbol(symbols, name).and_then(|name| Ok((name, symbol(symbols, number)?)));
                    labels.push(
                        pair.map_err(|number| move || no_symbol(symbols, number)),
                        limits,
                    );
                }
            })?,
            5 => metadata = Some(read_metadata(field.message()?)?),
            _ => {}
        }
    }
    if name.is_some() {
        labels.push(Err(|| "a label has a name and no value".to_owned()), limits);
    }
    Ok(metadata)
}

/// The text, or the number of one that there is not.
fn symbol<'a>(symbols: &Symbols<'a>, number: u64) -> Result<&'a str, u64> {
    let place = usize::try_from(number).ok();
    let text = place.and_then(|place| symbols.get(place).copied().flatten());
    text.ok_or(number)
}

fn no_symbol(symbols: &Symbols<'_>, number: u64) -> String {
    if number < symbols.len() as u64 {
        format!("symbol {number} is no UTF-8")
    } else {
        let count = symbols.len();
        format!("a label refers to symbol {number}, and there are {count}")
    }
}

fn read_metadata(mut message: Message<'_>) -> Result<Metadata, Damage> {
    let mut metadata = Metadata {
        kind: MetricKind::Unknown,
        help: 0,
        unit: 0,
    };
    while let Some(field) = message.field()? {
        match field.number {
            1 => metadata.kind = kind(field.varint()?),
            3 => metadata.help = field.varint()?,
            4 => metadata.unit = field.varint()?,
            _ => {}
        }
    }
    Ok(metadata)
}

/// Takes what is told of the series' metric.
fn tell(
    intake: &mut Intake<'_>,
    series: Series<'_>,
    Metadata { kind, help, unit }: Metadata,
    symbols: &Symbols<'_>,
) -> Result<(), TooMuch> {
    let text = |number| symbol(symbols, number).unwrap_or_default();
    if kind == MetricKind::Unknown && text(help).is_empty() && text(unit).is_empty() {
        return Ok(());
    }
    let name = family(series.name, kind);
    intake.tell(series, name, || MetricMetadata {
        name: name.to_owned(),
        kind,
        help: text(help).to_owned(),
        unit: text(unit).to_owned(),
    })
}

/// The name of the metric that a series is part of.
fn family(name: &str, kind: MetricKind) -> &str {
    let suffixes: &[&str] = match kind {
        MetricKind::Histogram => &["_bucket", "_count", "_sum"],
        MetricKind::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
        MetricKind::Summary => &["_count", "_sum"],
        _ => &[],
    };
    let found = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
    found.filter(|family| !family.is_empty()).unwrap_or(name)
}
