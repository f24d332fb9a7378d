//! The part of a draft that is about what detectors found in traces.

use super::Draft;
use crate::{
    model::{Alert, AlertEventKind, AlertSource, Evidence, OccurrenceNo},
    store::alerting::{DETECTED_MAX, Detection},
};

impl Draft<'_> {
    /// Raises what was found and brings up to date what fires already, as far as there is room; how many of them.
    pub(super) fn detect_all(&mut self, detections: Vec<Detection>) -> usize {
        let open = self.catalog.book.open.values().flatten();
        let known = open.filter(|alert| alert.source == AlertSource::Detector);
        let has_room = known.count() + detections.len() <= DETECTED_MAX;
        if !has_room {
            tracing::error!("more than {DETECTED_MAX} alerts of detectors: new ones are not taken");
        }
        let taken = detections.into_iter().filter(|d| self.detect(d, has_room));
        taken.count()
    }

    fn detect(&mut self, detection: &Detection, has_room: bool) -> bool {
        let entry = self.catalog.agent(detection.agent);
        if entry.is_none_or(|entry| entry.registration().is_none()) {
            return false;
        }
        let (agent, id) = (detection.agent, detection.alert_id.as_str());
        if let Some(open) = self.open_alert(agent, id, AlertSource::Detector) {
            let again = Alert {
                description: detection.description.clone(),
                value: Some(detection.value),
                ends_at: detection.ends_at,
                ..Alert::clone(&open)
            };
            let has_changed = again != *open;
            if has_changed {
                self.keep_alert(again);
            }
            return has_changed;
        }
        if !has_room || detection.ends_at.is_some_and(|end| end <= self.now) {
            return false;
        }
        let (name, severity) = (detection.name.clone(), detection.severity);
        let occurrence = OccurrenceNo(self.catalog.next_occurrence);
        let alert = Alert {
            source: AlertSource::Detector,
            description: detection.description.clone(),
            labels: detection.labels.clone(),
            value: Some(detection.value),
            ends_at: detection.ends_at,
            ..Alert::fired(occurrence, agent, id, name, severity, self.now)
        };
        let evidence = Evidence {
            time: self.now,
            kind: AlertEventKind::Fired,
            rule: String::new(),
            threshold: Some(detection.threshold),
            value: Some(detection.value),
            samples: Vec::new(),
            spans: detection.spans.clone(),
            traces: Vec::new(),
        };
        self.alerting.evidence.push((occurrence, evidence));
        let reason = "found in traces".to_owned();
        self.put_alert(alert, AlertEventKind::Fired, reason, String::new());
        true
    }

    /// Ends alerts of detectors whose condition is over; how many.
    pub(super) fn end_detected(&mut self, occurrences: &[OccurrenceNo]) -> usize {
        let mut ended = 0;
        for occurrence in occurrences {
            let alert = self.catalog.alert(*occurrence).cloned();
            let is_open = |alert: &Alert| alert.is_open() && alert.source == AlertSource::Detector;
            if let Some(alert) = alert.filter(|alert| is_open(alert)) {
                self.end(&alert, "it is no longer the case", String::new());
                ended += 1;
            }
        }
        ended
    }
}
