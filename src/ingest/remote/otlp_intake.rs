//! From points of OTLP to the series that Prometheus has for them.
//!
//! Source of the mapping: OpenTelemetry, `compatibility/prometheus_and_openmetrics.md`. Sums that may fall are rejected
//! where they are told by increments, as it says: what they rose from is not known.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::KeyValue;

use super::{
    agent_rule::AgentRule,
    classic::{push_classic, push_summary},
    intake::{Intake, NAME_LABEL, Refusal, Series, Temporality, TooMuch},
    otlp_labels::{labels_of, text_of},
    otlp_names::{Suffix, metric_name},
    otlp_point::{Data, ExponentialPoint, Head, Point, PointKind},
    received::{DeltaHistogram, ReceivedMetrics},
};
use crate::{
    ingest::{BodyError, SAMPLES_PER_BODY_MAX, shown::Shown},
    model::{Limits, MetricKind, MetricMetadata, STALE_MARKER, Timestamp},
};

/// Attributes of a resource that name the agent whatever the rule says, the first there is.
const AGENT_ATTRIBUTES: [&str; 3] = ["agent.id", "gen_ai.agent.id", "agent_id"];

/// Attributes of a resource that make the labels `job` and `instance`.
const SERVICE_NAME: &str = "service.name";
const SERVICE_NAMESPACE: &str = "service.namespace";
const SERVICE_INSTANCE: &str = "service.instance.id";

const TARGET_INFO: &str = "target_info";

impl From<TooMuch> for BodyError {
    fn from(TooMuch(why): TooMuch) -> Self {
        Self::Limit(why)
    }
}

/// A body on its way to samples.
pub(super) struct OtlpIntake<'l> {
    intake: Intake<'l>,
    resource: Resource,
    /// Labels that all points of the scope have.
    fixed: Vec<(&'static str, String)>,
    /// Points met so far, rejected ones included.
    met: usize,
}

/// What sent the points.
#[derive(Default)]
struct Resource {
    attributes: Vec<KeyValue>,
    agent: Option<String>,
    job: String,
    instance: String,
    /// The latest of its points that were taken.
    latest: Option<Timestamp>,
}

/// A metric under its name of Prometheus.
pub(super) struct Metric<'a> {
    head: &'a Head,
    name: String,
    unit: String,
    kind: MetricKind,
    /// Whether its points say what was added, or why none of them can be taken.
    is_delta: Result<bool, &'static str>,
}

impl<'l> OtlpIntake<'l> {
    pub(super) fn new(rule: &'l AgentRule, limits: &'l Limits) -> Self {
        Self {
            intake: Intake::new(rule, limits),
            resource: Resource::default(),
            fixed: Vec::new(),
            met: 0,
        }
    }

    /// Whether the reason of one more rejection is kept. Where in the body it stands is costly to say.
    pub(super) fn keeps_reasons(&self) -> bool {
        self.intake.received.reasons.len() < super::received::REASONS_MAX
    }

    /// Begins with what one resource sent.
    pub(super) fn begin_resource(&mut self, attributes: Vec<KeyValue>) {
        let text = |key: &str| {
            let found = attributes.iter().find(|pair| pair.key == key)?;
            let text = text_of(found.value.as_ref()?).into_owned();
            (!text.is_empty()).then_some(text)
        };
        let name = text(SERVICE_NAME);
        let job = match (text(SERVICE_NAMESPACE), name) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (_, name) => name.unwrap_or_default(),
        };
        self.resource = Resource {
            agent: AGENT_ATTRIBUTES.iter().find_map(|key| text(key)),
            job,
            instance: text(SERVICE_INSTANCE).unwrap_or_default(),
            attributes,
            latest: None,
        };
    }

    /// Begins with what one library measured.
    pub(super) fn begin_scope(&mut self, name: String, version: String) {
        self.fixed = vec![
            ("instance", self.resource.instance.clone()),
            ("job", self.resource.job.clone()),
            ("otel_scope_name", name),
            ("otel_scope_version", version),
        ];
        self.fixed.retain(|(_, value)| !value.is_empty());
    }

    /// Takes a point that was read, or the reason why it was not.
    pub(super) fn point(
        &mut self,
        metric: &Metric<'_>,
        point: Result<Point, String>,
    ) -> Result<(), BodyError> {
        self.met += 1;
        if self.met > SAMPLES_PER_BODY_MAX {
            return Err(BodyError::Limit(format!(
                "the body has more than {SAMPLES_PER_BODY_MAX} points; send it in parts"
            )));
        }
        let taken = point
            .map_err(Refusal::One)
            .and_then(|point| self.take(metric, &point));
        match taken {
            Ok(()) => Ok(()),
            Err(Refusal::Body(error)) => Err(error.into()),
            Err(Refusal::One(reason)) => {
                let name = Shown(&metric.head.name);
                let reason = || format!("metric {name}: {reason}");
                self.intake.received.reject(1, reason);
                Ok(())
            }
        }
    }

    fn take(&mut self, metric: &Metric<'_>, point: &Point) -> Result<(), Refusal> {
        let one = |why: &str| Refusal::One(why.to_owned());
        let is_delta = metric.is_delta.map_err(one)?;
        if metric.name.is_empty() {
            return Err(one("its name has no letter or digit"));
        }
        if point.time_ns == 0 {
            return Err(one("a point has no time"));
        }
        let time = milliseconds(point.time_ns);
        let temporality = match point.start_ns {
            _ if !is_delta || point.is_end() => Temporality::Cumulative,
            0 => Temporality::Delta {
                start: Timestamp::MIN,
            },
            start => Temporality::Delta {
                start: milliseconds(start),
            },
        };
        let fixed = &self.fixed;
        let is_fixed = |name: &str| fixed.iter().any(|(known, _)| *known == name);
        let own = labels_of(&point.attributes, is_fixed).map_err(Refusal::One)?;
        let mut labels = refs(&metric.name, fixed, &own);
        let agent = self.resource.agent.as_deref();
        let series = self.intake.series(&mut labels, agent);
        let series = series.map_err(Refusal::One)?;
        push(
            &mut self.intake,
            series,
            &mut labels,
            temporality,
            time,
            point,
        )?;
        self.intake
            .tell(series, &metric.name, || metric.metadata())?;
        let received = &mut self.intake.received;
        received.exemplars += point.exemplars;
        match &point.data {
            Data::Number(_) | Data::Summary(_) => received.samples += 1,
            Data::Histogram(_) | Data::Exponential(_) => received.histograms += 1,
        }
        self.resource.latest = self.resource.latest.max(Some(time));
        Ok(())
    }

    /// Ends what the resource sent with what it says of itself, if any of its points were taken: the series
    /// `target_info` of its attributes, at the time of the latest point. Attributes that are longer than a label may be,
    /// as the arguments of a process often are, are left out, and so are more than a series may have.
    pub(super) fn end_resource(&mut self) -> Result<(), BodyError> {
        let resource = std::mem::take(&mut self.resource);
        let Some(time) = resource.latest else {
            return Ok(());
        };
        if resource.job.is_empty() && resource.instance.is_empty() {
            return Ok(());
        }
        let is_other = |pair: &&KeyValue| {
            !matches!(
                &*pair.key,
                SERVICE_NAME | SERVICE_NAMESPACE | SERVICE_INSTANCE
            )
        };
        let attributes: Vec<_> = resource
            .attributes
            .iter()
            .filter(is_other)
            .cloned()
            .collect();
        let fixed = [("instance", resource.instance), ("job", resource.job)];
        let is_fixed = |name: &str| fixed.iter().any(|(known, _)| *known == name);
        let limits = self.intake.limits;
        let told = labels_of(&attributes, is_fixed).and_then(|mut own| {
            own.retain(|(name, value)| {
                name.len() <= limits.label_name_bytes && value.len() <= limits.label_value_bytes
            });
            own.truncate(limits.labels_per_series.saturating_sub(fixed.len()));
            if own.is_empty() {
                return Ok(Ok(()));
            }
            let mut labels = refs(TARGET_INFO, &fixed, &own);
            let series = self.intake.series(&mut labels, resource.agent.as_deref())?;
            Ok(self.tell_target(series, &mut labels, time))
        });
        match told {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Refusal::Body(error))) => Err(error.into()),
            Ok(Err(Refusal::One(reason))) | Err(reason) => {
                let reason = || format!("metric `{TARGET_INFO}` of the resource: {reason}");
                self.intake.received.reject(0, reason);
                Ok(())
            }
        }
    }

    fn tell_target(
        &mut self,
        series: Series<'_>,
        labels: &mut [(&str, &str)],
        time: Timestamp,
    ) -> Result<(), Refusal> {
        let total = Temporality::Cumulative;
        self.intake
            .push(series, TARGET_INFO, labels, total, (time, 1.0))?;
        self.intake.tell(series, TARGET_INFO, || MetricMetadata {
            name: TARGET_INFO.to_owned(),
            kind: MetricKind::Info,
            help: "Attributes of the resource that sent the metrics".to_owned(),
            unit: String::new(),
        })?;
        Ok(())
    }

    /// What came of the body; a body of which no point could be taken is refused as a whole.
    pub(super) fn finish(self) -> Result<ReceivedMetrics, BodyError> {
        let received = self.intake.finish();
        if received.rejected > 0 && received.samples + received.histograms == 0 {
            return Err(BodyError::Refused(format!(
                "no point of the body can be taken: {}",
                received.message()
            )));
        }
        Ok(received)
    }
}

impl<'a> Metric<'a> {
    /// The metric that its head describes.
    pub(super) fn new(head: &'a Head) -> Self {
        let is_counter = head.kind == PointKind::Sum && head.is_monotonic;
        let suffix = match head.kind {
            PointKind::Sum if is_counter => Suffix::Total,
            PointKind::Gauge if head.unit == "1" => Suffix::Ratio,
            _ => Suffix::None,
        };
        let (name, unit) = metric_name(&head.name, &head.unit, suffix);
        let kind = match head.kind {
            PointKind::Sum if is_counter => MetricKind::Counter,
            PointKind::Gauge | PointKind::Sum => MetricKind::Gauge,
            PointKind::Histogram | PointKind::Exponential => MetricKind::Histogram,
            PointKind::Summary => MetricKind::Summary,
        };
        Self {
            head,
            name,
            unit,
            kind,
            is_delta: is_delta(head),
        }
    }

    fn metadata(&self) -> MetricMetadata {
        MetricMetadata {
            name: self.name.clone(),
            kind: self.kind,
            help: self.head.description.clone(),
            unit: self.unit.clone(),
        }
    }
}

fn is_delta(head: &Head) -> Result<bool, &'static str> {
    match (head.kind, head.temporality) {
        (PointKind::Gauge | PointKind::Summary, _) | (_, 2) => Ok(false),
        (PointKind::Sum, 1) if !head.is_monotonic => {
            Err("a sum that may fall needs cumulative temporality")
        }
        (_, 1) => Ok(true),
        _ => Err("its aggregation temporality is neither delta nor cumulative"),
    }
}

fn milliseconds(nanoseconds: u64) -> Timestamp {
    // 64 bits of nanoseconds end in the year 2554.
    Timestamp::from_millis((nanoseconds / 1_000_000) as i64)
}

/// All labels of a series.
fn refs<'a>(
    name: &'a str,
    fixed: &'a [(&'static str, String)],
    own: &'a [(Cow<'_, str>, Cow<'_, str>)],
) -> Vec<(&'a str, &'a str)> {
    let mut labels = Vec::with_capacity(1 + fixed.len() + own.len());
    labels.push((NAME_LABEL, name));
    labels.extend(fixed.iter().map(|(k, v)| (*k, v.as_str())));
    labels.extend(own.iter().map(|(k, v)| (&**k, &**v)));
    labels
}

/// Adds the samples of a point.
fn push(
    intake: &mut Intake<'_>,
    series: Series<'_>,
    labels: &mut [(&str, &str)],
    temporality: Temporality,
    time: Timestamp,
    point: &Point,
) -> Result<(), Refusal> {
    let is_end = point.is_end();
    let classic = match &point.data {
        Data::Number(value) => {
            let value = if is_end { Some(STALE_MARKER) } else { *value };
            let value = value.ok_or_else(|| Refusal::One("a point has no value".to_owned()))?;
            return intake.push(series, series.name, labels, temporality, (time, value));
        }
        Data::Summary(summary) => {
            return push_summary(intake, series, labels, time, summary, is_end);
        }
        Data::Histogram(told) => told.classic(),
        Data::Exponential(told) => match temporality {
            Temporality::Cumulative => told.classic(),
            Temporality::Delta { start } => {
                return push_delta(intake, series, labels, (start, time), told);
            }
        },
    };
    let mut classic = classic.map_err(Refusal::One)?;
    if is_end {
        classic = classic.stale();
    }
    push_classic(intake, series, labels, temporality, time, &classic)
}

/// Adds the increment of a histogram with exponential buckets.
fn push_delta(
    intake: &mut Intake<'_>,
    series: Series<'_>,
    labels: &mut [(&str, &str)],
    (start, time): (Timestamp, Timestamp),
    told: &ExponentialPoint,
) -> Result<(), Refusal> {
    let mut buckets = told.buckets().map_err(Refusal::One)?;
    buckets.shrink();
    buckets.positive.shrink_to_fit();
    buckets.negative.shrink_to_fit();
    intake.push_delta(series, labels, |key| DeltaHistogram {
        key,
        start,
        time,
        count: told.count as f64,
        sum: told.sum,
        buckets,
    })
}
